//! The local database of pacman: a directory for each package, with a file `desc` of `%FIELD%` lines,
//! each followed by its values.

use futures_util::{StreamExt, TryStreamExt, stream};

use super::package::{Package, records, text};
use crate::inspect::image_files::{ImageFiles, name};
use crate::protocol::FileKind;
use crate::session::SessionError;

const DATABASE: &str = "/var/lib/pacman/local";
/// The most that is read of a `desc`.
const DESC: u64 = 1 << 20;
/// How many are requested at a time.
const AT_A_TIME: usize = 16;

/// The names of the directories; none if there is no database.
pub async fn directories(files: ImageFiles<'_>) -> Result<Vec<String>, SessionError> {
    let entries = files.list(DATABASE).await?;
    let directories = entries.iter().filter(|entry| {
        let stat = entry.stat.as_ref();
        stat.is_some_and(|stat| stat.kind == FileKind::Directory)
    });
    Ok(directories.filter_map(name).map(str::to_owned).collect())
}

/// The packages of these directories. One without a readable `desc` is as its directory is named.
pub async fn packages(
    files: ImageFiles<'_>,
    directories: Vec<String>,
) -> Result<Vec<Package>, SessionError> {
    let described = stream::iter(directories).map(|directory| async move {
        let path = format!("{DATABASE}/{directory}/desc");
        let desc = files.bytes(&path, DESC).await?;
        let package = desc.as_deref().and_then(package);
        Ok::<_, SessionError>(package.unwrap_or_else(|| by_directory(&directory)))
    });
    described.buffered(AT_A_TIME).try_collect().await
}

fn package(desc: &[u8]) -> Option<Package> {
    let mut package = Package::default();
    for mut record in records(desc) {
        let (field, value) = (record.next()?, record.next().unwrap_or_default());
        match field {
            b"%NAME%" => package.name = text(value)?,
            b"%VERSION%" => package.version = text(value).unwrap_or_default(),
            b"%ARCH%" => package.architecture = text(value),
            b"%BASE%" => package.source = text(value),
            b"%PACKAGER%" => package.vendor = text(value),
            b"%LICENSE%" => {
                let all = std::iter::once(value).chain(record).filter_map(text);
                package.license = Some(all.collect::<Vec<_>>().join(" AND "));
            }
            _ => {}
        }
    }
    (!package.name.is_empty()).then_some(package)
}

/// Directories are named NAME-VERSION-RELEASE.
fn by_directory(directory: &str) -> Package {
    let mut dashes = directory.rmatch_indices('-').map(|(at, _)| at);
    let (name, version) = match dashes.nth(1) {
        Some(at) => (&directory[..at], &directory[at + 1..]),
        None => (directory, ""),
    };
    Package {
        name: name.to_owned(),
        version: version.to_owned(),
        ..Package::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_desc_gives_what_pacman_lists() {
        let desc = b"%NAME%\nbash\n\n%VERSION%\n5.2.026-2\n\n%BASE%\nbash\n\n%ARCH%\nx86_64\n\n\
            %LICENSE%\nGPL\nMIT\n\n%PACKAGER%\nMe <me@x>\n\n";
        let found = package(desc).unwrap();
        assert_eq!((&*found.name, &*found.version), ("bash", "5.2.026-2"));
        assert_eq!(found.license.as_deref(), Some("GPL AND MIT"));
        assert_eq!(found.vendor.as_deref(), Some("Me <me@x>"));
        assert_eq!(package(b"%VERSION%\n1\n"), None);
    }

    #[test]
    fn a_directory_is_named_by_name_version_and_release() {
        let found = by_directory("gcc-libs-1:13.2.1-3");
        assert_eq!((&*found.name, &*found.version), ("gcc-libs", "1:13.2.1-3"));
        assert_eq!(by_directory("odd").name, "odd");
    }
}
