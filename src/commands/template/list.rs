//! `bivouac template ls`: each template below the one that it was made from.

use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;

use crate::launch::Failure;
use crate::template::key::Key;
use crate::template::store::{EntryInfo, Store};
use crate::text::escape::printable;

/// How much of a step's command is shown, in characters.
const SHOWN: usize = 50;

/// How many of the digits of a name are shown.
const DIGITS: usize = 12;

#[derive(Debug, Serialize)]
pub struct List {
    directory: PathBuf,
    /// The one that was used last first.
    templates: Vec<EntryInfo>,
}

impl List {
    pub(super) fn of(store: &Store) -> Result<Self, Failure> {
        Ok(Self {
            directory: store.directory().to_owned(),
            templates: store.list()?,
        })
    }

    /// Writes what was made from `parent`; with None, what was made from nothing that is there.
    fn below(
        &self,
        f: &mut fmt::Formatter<'_>,
        parent: Option<&EntryInfo>,
        depth: usize,
    ) -> fmt::Result {
        let is_there = |name: &String| self.templates.iter().any(|one| one.name == *name);
        for template in &self.templates {
            let above = template.parent.as_ref().filter(|name| is_there(name));
            if above != parent.map(|parent| &parent.name) {
                continue;
            }
            let name = template.name.get(..DIGITS).unwrap_or(&template.name);
            let age = ago(age(template.used));
            let mib = template.bytes.div_ceil(1 << 20);
            let indent = "  ".repeat(depth);
            let what = what(template, above.is_some());
            writeln!(f, "{name}  {mib:>5} MiB  {age:>8}  {indent}{what}")?;
            self.below(f, Some(template), depth + 1)?;
        }
        Ok(())
    }
}

impl fmt::Display for List {
    /// A line each: name, size, when it was used, what it is.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.templates.is_empty() {
            return writeln!(f, "no templates in {}", self.directory.display());
        }
        self.below(f, None, 0)
    }
}

/// What a template is of; of one below its parent, only by what it differs from that.
fn what(template: &EntryInfo, is_below: bool) -> String {
    let mut text = match &template.key {
        None => "cannot be used".to_owned(),
        Some(key) if is_below => step(key),
        Some(key) => {
            let image = key.layers.first().and_then(|layer| layer.path.file_name());
            let image = image.map(|name| format!(" {}", name.display()));
            let machine = format!(
                "{}{}, {} MiB, {} CPU, {}",
                key.kind,
                image.unwrap_or_default(),
                key.memory_mib,
                key.cpus,
                key.accelerator
            );
            match key.steps.len() {
                0 => machine,
                1 => format!("{machine}, {}", step(key)),
                count => format!("{machine}, {count} steps, the last {}", step(key)),
            }
        }
    };
    if let Some(named) = &template.named {
        text.push_str(&format!(", named {named}"));
    }
    if template.in_use {
        text.push_str(", in use");
    }
    printable(&text)
}

/// The last step, in the words that were typed.
fn step(key: &Key) -> String {
    let step = key.steps.last();
    let words = step.and_then(|step| step.command.argv.last());
    let words = words.map(|words| String::from_utf8_lossy(&words.0).replace('\n', " "));
    let words = words.unwrap_or_default();
    match words.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("`{}...`", &words[..end]),
        None => format!("`{words}`"),
    }
}

fn age(used: u64) -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.unwrap_or_default().as_secs();
    Duration::from_secs(now.saturating_sub(used))
}

/// A time in its largest unit: `3 min`.
fn ago(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..60 => format!("{seconds} s"),
        seconds @ 60..3600 => format!("{} min", seconds / 60),
        seconds @ 3600..86_400 => format!("{} h", seconds / 3600),
        seconds => format!("{} d", seconds / 86_400),
    }
}
