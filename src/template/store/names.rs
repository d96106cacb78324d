//! Names that users give to templates: a file in the template's directory with the name and the
//! options by which the machine can be restored. Named templates are removed only on request.

use std::ffi::OsString;

use serde::{Deserialize, Serialize};

use super::{Store, StoreError, failed};
use crate::template::key::Key;
use crate::template::manifest::Manifest;

/// The file in a template's directory.
const NAME: &str = "name";

/// The longest name, in bytes.
const LENGTH_MAX: usize = 64;

/// A name, and how its machine was started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameRecord {
    pub name: String,
    /// The options that say what machine it is, and its image if it has one, as words of a command
    /// line; paths are absolute.
    pub words: Vec<OsString>,
}

/// A template that has a name.
#[derive(Clone, Debug)]
pub struct Named {
    pub record: NameRecord,
    /// Of the template.
    pub key: Key,
}

/// A name that a user may give.
pub fn parse_name(text: &str) -> Result<String, &'static str> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let fits = (1..=LENGTH_MAX).contains(&text.len()) && text.bytes().all(plain);
    match fits && !text.starts_with(['.', '-']) {
        true => Ok(text.to_owned()),
        false => Err("not a name of letters, digits, dots, dashes and underscores"),
    }
}

impl Store {
    /// Gives a name to the template of `key`, and takes it from any other. False if there is no such
    /// template.
    pub fn set_name(&self, key: &Key, record: &NameRecord) -> Result<bool, StoreError> {
        let (own, path) = (key.name(), self.path(&key.name()));
        let Ok(template) = self.open.templates.dir(&own) else {
            return Ok(false);
        };
        // First from the others: a process that is killed here leaves no two with one name.
        for other in self.names()?.iter().filter(|other| **other != own) {
            if self.name_of(other).is_some_and(|it| it.name == record.name) {
                self.unname(other)?;
            }
        }
        // Strings only: that never fails.
        let text = serde_json::to_string(record).unwrap_or_default();
        let written = template.replace(NAME, &text);
        written.map_err(failed("naming", &path))?;
        Ok(true)
    }

    fn unname(&self, template: &str) -> Result<(), StoreError> {
        let opened = self.open.templates.dir(template);
        let removed = opened.and_then(|directory| directory.remove_file(NAME));
        removed.map_err(failed("taking the name from", &self.path(template)))
    }

    /// The template that has the name.
    pub fn named(&self, name: &str) -> Result<Option<Named>, StoreError> {
        for template in self.names()? {
            let found = self.name_of(&template).filter(|found| found.name == name);
            let Some(record) = found else {
                continue;
            };
            let opened = self.open.templates.dir(&template);
            let text = opened.and_then(|directory| directory.read_text(super::MANIFEST));
            if let Some(manifest) = Manifest::from_text(&text.unwrap_or_default()) {
                let key = manifest.key;
                return Ok(Some(Named { record, key }));
            }
        }
        Ok(None)
    }

    /// The name that a template has. `template` is that of its directory.
    pub(super) fn name_of(&self, template: &str) -> Option<NameRecord> {
        let directory = self.open.templates.dir(template).ok()?;
        serde_json::from_str(&directory.read_text(NAME).ok()?).ok()
    }
}
