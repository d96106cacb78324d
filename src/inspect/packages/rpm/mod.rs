//! The database of rpm, in one of three formats. All are read here, with all their lengths checked: the
//! image may lack an `rpm`, or have one for another processor.

pub mod bdb;
#[cfg(test)]
mod damage_tests;
pub mod header;
pub mod ndb;
pub mod source;
pub mod sqlite;
mod sqlite_log;
#[cfg(test)]
mod tests;

use super::package::Listing;
use crate::inspect::image_files::{ImageFiles, name};
use crate::protocol::Entry;
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
enum Format {
    Sqlite,
    Ndb,
    BerkeleyDb,
}

/// A database that is there.
#[derive(Clone, Debug)]
struct Database {
    format: Format,
    path: String,
    /// SQLite's write-ahead log, which is read with it.
    log: Option<String>,
    /// A file whose changes it may lack.
    unmerged: Option<String>,
}

/// The packages of an image that has a database, or a place of one that cannot be read.
pub async fn listing(files: ImageFiles<'_>) -> Result<Option<Listing>, SessionError> {
    let mut unreadable = None;
    for directory in DIRECTORIES {
        match files.try_list(directory).await? {
            Ok(entries) => {
                if let Some(database) = database(directory, &entries) {
                    let mut listing = packages(files, &database).await?;
                    listing.problem = listing.problem.or(unreadable);
                    return Ok(Some(listing));
                }
            }
            Err(error) => {
                unreadable.get_or_insert(format!("{directory} cannot be read: {error}"));
            }
        }
    }
    Ok(unreadable.map(|why| Listing {
        packages: Some(Vec::new()),
        problem: Some(why),
    }))
}

/// The database in a directory, if there is one.
fn database(directory: &str, entries: &[Entry]) -> Option<Database> {
    let names: Vec<_> = entries.iter().filter_map(name).collect();
    let (file, format) = DATABASES.iter().find(|(file, _)| names.contains(file))?;
    let existing = |name: &str| names.contains(&name).then(|| format!("{directory}/{name}"));
    let unmerged = match format {
        Format::Sqlite => existing("rpmdb.sqlite-journal"),
        Format::Ndb => None,
        Format::BerkeleyDb => names
            .iter()
            .find(|name| is_log(name))
            .and_then(|name| existing(name)),
    };
    Some(Database {
        format: *format,
        path: format!("{directory}/{file}"),
        log: existing("rpmdb.sqlite-wal").filter(|_| *format == Format::Sqlite),
        unmerged,
    })
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

/// The packages of a database.
async fn packages(files: ImageFiles<'_>, database: &Database) -> Result<Listing, SessionError> {
    let contents = match contents(files, database).await {
        Ok(contents) => contents,
        Err(DatabaseError::Session(error)) => return Err(error),
        Err(error) => {
            let mut contents = Contents::new();
            contents.add(Err(error))?;
            contents
        }
    };
    // An empty file has no changes.
    let unmerged = match &database.unmerged {
        Some(path) => files
            .stat(path)
            .await?
            .filter(|stat| stat.size > 0)
            .map(|_| path),
        None => None,
    };
    let path = &database.path;
    let problem = match (&contents.fault, contents.faults, unmerged) {
        (Some(fault), 1, _) => Some(format!("{path}: {fault}")),
        (Some(fault), faults, _) => Some(format!("{path}: {fault}, and {} more", faults - 1)),
        (None, _, Some(unmerged)) => Some(format!(
            "{path}: it may lack changes that are in {unmerged}"
        )),
        (None, ..) => None,
    };
    Ok(Listing {
        packages: Some(contents.found),
        problem,
    })
}

async fn contents(files: ImageFiles<'_>, database: &Database) -> Result<Contents, DatabaseError> {
    let mut file = ImageFile::open(files, database.path.clone()).await?;
    let read = header::package;
    Ok(match database.format {
        Format::Ndb => ndb::records(&mut file, read).await?,
        Format::BerkeleyDb => bdb::records(&mut file, read).await?,
        Format::Sqlite => {
            let log = match &database.log {
                Some(log) => Some(ImageFile::open(files, log.clone()).await),
                None => None,
            };
            let mut log = match log.transpose() {
                Err(DatabaseError::Session(error)) => return Err(error.into()),
                log => log,
            };
            let log_file = log.as_mut().ok().and_then(Option::as_mut);
            let mut contents = sqlite::records(&mut file, log_file, read).await?;
            if log.is_err() {
                contents.add(Err(DatabaseError::Log))?;
            }
            contents
        }
    })
}
