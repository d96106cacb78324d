//! The package manager and the installed packages.
//!
//! No program of the image is run: its databases are read here.

mod apk;
mod dpkg;
mod package;
mod pacman;
pub mod rpm;

use serde::Serialize;

use super::image_files::{ImageFiles, name};
use crate::session::SessionError;
pub use package::{Listing, Package};

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Packages {
    /// The format: deb, rpm, apk or pacman.
    pub format: &'static str,
    /// The program that downloads them.
    pub manager: &'static str,
    /// Their number; `None` if the database could not be read, or not all of it.
    pub installed: Option<u64>,
    /// Sorted by name. Only if it was asked for, and could be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub list: Option<Vec<Package>>,
    /// What is missing in the list and why, for a warning.
    #[serde(skip)]
    pub problem: Option<String>,
}

/// The most that is read of a database. Debian's has 1 MiB for 700 packages.
const DATABASE: u64 = 32 << 20;
/// The most that is read of the record of one package.
const RECORD: u64 = 1 << 20;

/// Finds the database, and its packages if `wants_list`.
pub async fn packages(
    files: ImageFiles<'_>,
    wants_list: bool,
) -> Result<Option<Packages>, SessionError> {
    let found = |format, manager, listing: Listing| {
        let complete = listing.packages.as_ref();
        let complete = complete.filter(|_| listing.problem.is_none());
        let installed = complete.map(|list| list.len() as u64);
        let problem = match (&listing.packages, listing.problem) {
            (Some(_), problem) => problem.map(|why| format!("not all packages are listed: {why}")),
            // Without a list it is said that their number is unknown.
            (None, problem) => problem
                .filter(|_| wants_list)
                .map(|why| format!("the packages are not listed: {why}")),
        };
        let list = listing.packages.filter(|_| wants_list);
        let list = list.map(|mut list| {
            list.sort_by(Package::order);
            list
        });
        Ok(Some(Packages {
            format,
            manager,
            installed,
            list,
            problem,
        }))
    };
    if let Some(list) = debian(files).await? {
        return found("deb", "apt", list);
    }
    for path in ["/lib/apk/db/installed", "/usr/lib/apk/db/installed"] {
        if let Some(list) = database(files, path, apk::packages).await? {
            return found("apk", "apk", list);
        }
    }
    let directories = pacman::directories(files).await?;
    if !directories.is_empty() {
        let list = match wants_list {
            true => pacman::packages(files, directories).await?,
            // Their number is all that is asked for.
            false => vec![Package::default(); directories.len()],
        };
        return found("pacman", "pacman", list.into());
    }
    if let Some(listing) = rpm::listing(files).await? {
        let manager = rpm::manager(files).await?;
        return found("rpm", manager, listing);
    }
    Ok(None)
}

/// The packages of a database in one file, if it is there.
async fn database(
    files: ImageFiles<'_>,
    path: &str,
    read: fn(&[u8]) -> Vec<Package>,
) -> Result<Option<Listing>, SessionError> {
    let bytes = files.bytes(path, DATABASE + 1).await?;
    Ok(bytes.map(|bytes| match bytes.len() as u64 <= DATABASE {
        true => read(&bytes).into(),
        false => Listing::unread("their database is too large"),
    }))
}

/// dpkg's packages, and those of images that were put together without dpkg, as [`database`] has them.
async fn debian(files: ImageFiles<'_>) -> Result<Option<Listing>, SessionError> {
    let list = database(files, "/var/lib/dpkg/status", dpkg::packages).await?;
    if list.is_some() {
        return Ok(list);
    }
    let entries = files.list("/var/lib/dpkg/status.d").await?;
    let mut list = Vec::new();
    for name in entries.iter().filter_map(name) {
        // Lists of digests, which have no record.
        if name.ends_with(".md5sums") {
            continue;
        }
        let path = format!("/var/lib/dpkg/status.d/{name}");
        let record = files.bytes(&path, RECORD).await?;
        list.extend(dpkg::packages(&record.unwrap_or_default()));
    }
    Ok((!list.is_empty()).then(|| list.into()))
}
