//! The database of rpm, in one of three formats. NDB and Berkeley DB are read here, with all their lengths
//! checked; SQLite is read by the image's own `rpm`, which is run in the appliance.

pub mod bdb;
mod command;
pub mod header;
pub mod ndb;
pub mod source;
#[cfg(test)]
mod tests;

use super::package::Listing;
use crate::inspect::image_files::{ImageFiles, name};
use crate::session::SessionError;
use source::{Contents, DatabaseError, ImageFile};

/// Where rpm keeps its database, the last one in an OSTree deployment.
const DIRECTORIES: [&str; 3] = ["/var/lib/rpm", "/usr/lib/sysimage/rpm", "/usr/share/rpm"];
/// The files that are one, the newest format first.
const DATABASES: [(&str, Format); 3] = [
    ("rpmdb.sqlite", Format::Sqlite),
    ("Packages.db", Format::Ndb),
    ("Packages", Format::BerkeleyDb),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Sqlite,
    Ndb,
    BerkeleyDb,
}

/// A database that is there.
#[derive(Clone, Debug)]
pub struct Database {
    pub format: Format,
    directory: &'static str,
    path: String,
    /// A log of Berkeley DB, whose changes the file may lack.
    log: Option<String>,
}

/// The database of an image, if it has one.
pub async fn database(files: ImageFiles<'_>) -> Result<Option<Database>, SessionError> {
    for directory in DIRECTORIES {
        let entries = files.list(directory).await?;
        let names: Vec<_> = entries.iter().filter_map(name).collect();
        let found = DATABASES.iter().find(|(file, _)| names.contains(file));
        if let Some((file, format)) = found {
            let log = names.iter().find(|name| is_log(name));
            return Ok(Some(Database {
                format: *format,
                directory,
                path: format!("{directory}/{file}"),
                log: log.map(|name| format!("{directory}/{name}")),
            }));
        }
    }
    Ok(None)
}

/// Berkeley DB's log files are named `log.` and ten digits.
fn is_log(name: &str) -> bool {
    let digits = name.strip_prefix("log.");
    digits.is_some_and(|digits| digits.len() == 10 && digits.bytes().all(|b| b.is_ascii_digit()))
}

/// The program that downloads packages.
pub async fn manager(files: ImageFiles<'_>) -> Result<&'static str, SessionError> {
    for program in ["zypper", "dnf", "dnf5", "microdnf", "tdnf", "yum"] {
        if files.stat(&format!("/usr/bin/{program}")).await?.is_some() {
            return Ok(program);
        }
    }
    Ok("rpm")
}

/// The packages of a database. SQLite needs a writable root with /proc and /dev.
pub async fn packages(files: ImageFiles<'_>, database: &Database) -> Result<Listing, SessionError> {
    if database.format == Format::Sqlite {
        return command::packages(files, database.directory).await;
    }
    let contents = match ImageFile::open(files, database.path.clone()).await {
        Ok(mut file) if database.format == Format::Ndb => {
            ndb::records(&mut file, header::package).await?
        }
        Ok(mut file) => bdb::records(&mut file, header::package).await?,
        Err(DatabaseError::Session(error)) => return Err(error),
        Err(error) => {
            let mut contents = Contents::new();
            contents.add(Err(error))?;
            contents
        }
    };
    let path = &database.path;
    let problem = match (&contents.fault, contents.faults, &database.log) {
        (Some(fault), 1, _) => Some(format!("{path}: {fault}")),
        (Some(fault), faults, _) => Some(format!("{path}: {fault}, and {} more", faults - 1)),
        (None, _, Some(log)) if database.format == Format::BerkeleyDb => {
            Some(format!("{path}: it may lack changes that are in {log}"))
        }
        (None, ..) => None,
    };
    Ok(Listing {
        packages: Some(contents.found),
        problem,
    })
}
