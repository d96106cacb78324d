//! Entries as GNU `ls` and `ls -l` print them, in the C locale and in UTC.

use super::accounts::AccountNames;
use super::extras::{Extras, attributes};
use crate::protocol::{Details, Entry, FileKind, Stat};
use crate::text::escape::{Plain, as_path};
use crate::text::{table, time};

#[derive(Clone, Debug)]
pub struct Style<'a> {
    pub names: &'a AccountNames,
    /// The time now, in seconds since 1970.
    pub now: i64,
    pub escaped: bool,
    pub extras: Extras,
}

impl Style<'_> {
    /// A file name, escaped if it has to be.
    pub fn name(&self, name: &[u8]) -> Vec<u8> {
        match self.escaped {
            true => Plain(as_path(name)).to_string().into_bytes(),
            false => name.to_vec(),
        }
    }

    /// `details` has one for each entry.
    pub fn short(&self, entries: &[Entry], details: &[Details]) -> Vec<u8> {
        let mut out = Vec::new();
        for (entry, details) in entries.iter().zip(details) {
            out.extend(self.digest(details).into_bytes());
            out.extend(self.name(&entry.path.0));
            out.push(b'\n');
            self.attributes(details, &mut out);
        }
        out
    }

    /// The digest and a space, if digests are wanted.
    fn digest(&self, details: &Details) -> String {
        match self.extras.checksum {
            true => format!("{:64} ", details.digest.as_deref().unwrap_or("-")),
            false => String::new(),
        }
    }

    /// A line for each attribute, if they are wanted.
    fn attributes(&self, details: &Details, out: &mut Vec<u8>) {
        if self.extras.xattrs {
            let lines = attributes(details).map(|line| format!("    {line}\n"));
            out.extend(lines.collect::<String>().into_bytes());
        }
    }

    pub fn long(&self, entries: &[Entry], details: &[Details]) -> Vec<u8> {
        let rows = entries
            .iter()
            .map(|entry| self.columns(entry.stat.as_ref()));
        let lines = table::align(&rows.collect::<Vec<_>>(), &[OWNER, GROUP]);
        let mut out = Vec::new();
        for ((entry, details), line) in entries.iter().zip(details).zip(lines) {
            out.extend_from_slice(line.as_bytes());
            out.push(b' ');
            out.extend(self.digest(details).into_bytes());
            out.extend(self.name(&entry.path.0));
            if let Some(target) = &entry.link {
                out.extend_from_slice(b" -> ");
                out.extend(self.name(&target.0));
            }
            out.push(b'\n');
            self.attributes(details, &mut out);
        }
        out
    }

    fn columns(&self, stat: Option<&Stat>) -> [String; 6] {
        let Some(stat) = stat else {
            return ["??????????", "?", "?", "?", "?", "?"].map(str::to_owned);
        };
        let size = match stat.special {
            Some((major, minor)) => format!("{major}, {minor:>3}"),
            None => stat.size.to_string(),
        };
        [
            mode(stat.kind, stat.mode),
            stat.links.to_string(),
            self.names.user(stat.uid),
            self.names.group(stat.gid),
            size,
            self.times(stat),
        ]
    }
}

impl Style<'_> {
    /// The time of modification; or all times, of modification, access and change.
    fn times(&self, stat: &Stat) -> String {
        let all = [stat.modified, stat.accessed, stat.changed];
        match self.extras.times {
            true => all.map(time::as_rfc3339).join(" "),
            false => time::as_ls(stat.modified.0, self.now),
        }
    }
}

const OWNER: usize = 2;
const GROUP: usize = 3;

/// The line before a directory's entries: the sum of their disk usage in KiB.
pub fn total(entries: &[Entry]) -> String {
    let blocks = entries.iter().filter_map(|entry| entry.stat.as_ref());
    let blocks = blocks.fold(0_u64, |sum, stat| sum.saturating_add(stat.blocks));
    format!("total {}\n", blocks.div_ceil(2))
}

/// The ten characters of a mode.
pub fn mode(kind: FileKind, mode: u32) -> String {
    let kind = match kind {
        FileKind::File => '-',
        FileKind::Directory => 'd',
        FileKind::Link => 'l',
        FileKind::Block => 'b',
        FileKind::Character => 'c',
        FileKind::Fifo => 'p',
        FileKind::Socket => 's',
        FileKind::Other => '?',
    };
    let mut out = String::from(kind);
    // The set-id and sticky bits replace the `x` of their class.
    for (shift, special, letter) in [(6, 0o4000, 's'), (3, 0o2000, 's'), (0, 0o1000, 't')] {
        let rights = mode >> shift & 0o7;
        out.push(if rights & 4 > 0 { 'r' } else { '-' });
        out.push(if rights & 2 > 0 { 'w' } else { '-' });
        out.push(match (mode & special > 0, rights & 1 > 0) {
            (true, true) => letter,
            (true, false) => letter.to_ascii_uppercase(),
            (false, true) => 'x',
            (false, false) => '-',
        });
    }
    out
}
