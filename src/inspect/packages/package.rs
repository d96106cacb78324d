//! One installed package, and the fields that the text databases give it by.

use std::cmp::Ordering;

use serde::Serialize;

/// An installed package. Every text is the database's, and untrusted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Package {
    pub name: String,
    /// As the package manager prints it: with epoch, where there is one, and release.
    pub version: String,
    pub architecture: Option<String>,
    /// What it was built from: the source package, of rpm the file name of that.
    pub source: Option<String>,
    /// Who made it: the maintainer, packager or vendor.
    pub vendor: Option<String>,
    pub license: Option<String>,
}

impl Package {
    /// By name, then by version and architecture, in the order of their bytes.
    pub fn order(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }

    /// Bytes of its texts.
    pub fn weight(&self) -> usize {
        let optional = [
            &self.architecture,
            &self.source,
            &self.vendor,
            &self.license,
        ];
        let optional = optional.into_iter().flatten().map(String::len);
        self.name.len() + self.version.len() + optional.sum::<usize>()
    }

    fn key(&self) -> (&str, &str, Option<&str>) {
        (&self.name, &self.version, self.architecture.as_deref())
    }
}

/// What was read of a database: packages, or `None` if it could not be read at all.
#[derive(Debug, Default)]
pub struct Listing {
    pub packages: Option<Vec<Package>>,
    /// Why these are not all.
    pub problem: Option<String>,
}

impl Listing {
    pub fn unread(problem: &str) -> Self {
        Self {
            packages: None,
            problem: Some(problem.to_owned()),
        }
    }
}

impl From<Vec<Package>> for Listing {
    fn from(packages: Vec<Package>) -> Self {
        Self {
            packages: Some(packages),
            problem: None,
        }
    }
}

/// Text of a database; `None` if it is empty.
pub fn text(bytes: &[u8]) -> Option<String> {
    let bytes = bytes.trim_ascii();
    (!bytes.is_empty()).then(|| String::from_utf8_lossy(bytes).into_owned())
}

/// The records of a text in which empty lines separate them.
pub fn records(database: &[u8]) -> impl Iterator<Item = impl Iterator<Item = &[u8]>> {
    let mut lines = database.split(|byte| *byte == b'\n').peekable();
    std::iter::from_fn(move || {
        while lines.next_if(|line| line.is_empty()).is_some() {}
        let mut record = Vec::new();
        while let Some(line) = lines.next_if(|line| !line.is_empty()) {
            record.push(line);
        }
        (!record.is_empty()).then(|| record.into_iter())
    })
}
