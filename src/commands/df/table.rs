//! The space of filesystems, for people and for programs.

use serde::Serialize;

use crate::guest::wire::{ByteString, FileSystem};
use crate::text::escape::{Plain, as_path};
use crate::text::table::align;
use crate::text::{csv, size};

/// The columns of CSV, which are also the names in JSON.
pub const COLUMNS: [&str; 13] = [
    "image",
    "device",
    "type",
    "uuid",
    "label",
    "device_size",
    "size",
    "used",
    "available",
    "inodes",
    "inodes_used",
    "in_use",
    "error",
];

/// One filesystem of an image.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Space {
    /// As it was typed.
    pub image: ByteString,
    /// The node that it is on, in the appliance.
    pub device: String,
    /// Its sort.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Its UUID.
    pub uuid: Option<String>,
    /// Its label.
    pub label: Option<String>,
    /// Bytes of the device.
    pub device_size: u64,
    /// Bytes that the filesystem has for files.
    pub size: Option<u64>,
    /// Bytes that are taken.
    pub used: Option<u64>,
    /// Bytes that an ordinary user could still write.
    pub available: Option<u64>,
    /// How many files there can be; none where the filesystem has no such limit.
    pub inodes: Option<u64>,
    /// How many there are.
    pub inodes_used: Option<u64>,
    /// Another process was writing to the image.
    pub in_use: bool,
    /// Why it could not be mounted.
    pub error: Option<String>,
}

impl Space {
    /// Takes over what statvfs(3) said; a hostile filesystem says any numbers.
    pub fn fill(&mut self, said: &FileSystem) {
        let bytes = |blocks: u64| blocks.saturating_mul(said.block_size);
        self.size = Some(bytes(said.blocks));
        self.used = Some(bytes(said.blocks.saturating_sub(said.free)));
        self.available = Some(bytes(said.available));
        if said.inodes > 0 {
            self.inodes = Some(said.inodes);
            self.inodes_used = Some(said.inodes.saturating_sub(said.inodes_free));
        }
    }

    /// As GNU df has it: what is taken of what an ordinary user could have, rounded up.
    fn percent(&self) -> Option<u64> {
        let (used, available) = (u128::from(self.used?), u128::from(self.available?));
        let all = used + available;
        (all > 0).then(|| (used * 100).div_ceil(all) as u64)
    }

    /// One line of JSON.
    ///
    /// # Errors
    /// None that is known of.
    pub fn json(&self) -> serde_json::Result<Vec<u8>> {
        let mut line = serde_json::to_vec(self)?;
        line.push(b'\n');
        Ok(line)
    }

    /// One line of CSV.
    pub fn csv(&self) -> Vec<u8> {
        let text = |text: &Option<String>| text.clone().unwrap_or_default().into_bytes();
        let number = |number: Option<u64>| number.map_or_else(Vec::new, |n| n.to_string().into());
        csv::line([
            self.image.0.clone(),
            self.device.clone().into(),
            self.kind.into(),
            text(&self.uuid),
            text(&self.label),
            self.device_size.to_string().into(),
            number(self.size),
            number(self.used),
            number(self.available),
            number(self.inodes),
            number(self.inodes_used),
            self.in_use.to_string().into(),
            text(&self.error),
        ])
    }
}

/// The table that people read; in KiB, or in units of their size.
pub fn table(spaces: &[Space], human: bool) -> Vec<u8> {
    let total = if human { "Size" } else { "1K-blocks" };
    let available = if human { "Avail" } else { "Available" };
    let head = ["Filesystem", "Type", total, "Used", available, "Use%"];
    let mut rows = vec![head.map(str::to_owned)];
    let amount = |bytes: Option<u64>| match (bytes, human) {
        (None, _) => "-".to_owned(),
        (Some(bytes), false) => bytes.div_ceil(1024).to_string(),
        (Some(bytes), true) => size::short(bytes),
    };
    rows.extend(spaces.iter().map(|space| {
        let name = [&space.image.0, b":" as &[u8], space.device.as_bytes()].concat();
        [
            Plain(as_path(&name)).to_string(),
            space.kind.to_owned(),
            amount(space.size),
            amount(space.used),
            amount(space.available),
            space.percent().map_or("-".to_owned(), |p| format!("{p}%")),
        ]
    }));
    let lines = align(&rows, &[0, 1]);
    (lines.join("\n") + "\n").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_hostile_filesystem_breaks_no_table(numbers: [u64; 6]) {
            let [block_size, blocks, free, available, inodes, inodes_free] = numbers;
            let magic = 0;
            let said = FileSystem { block_size, blocks, free, available, inodes, inodes_free, magic };
            let mut space = Space {
                image: "a".into(), device: "/dev/\x1bsda".into(), kind: "ext4", uuid: None, label: None,
                device_size: 0, size: None, used: None, available: None, inodes: None,
                inodes_used: None, in_use: false, error: None,
            };
            space.fill(&said);
            for human in [true, false] {
                let table = String::from_utf8(table(std::slice::from_ref(&space), human)).unwrap();
                prop_assert_eq!(table.lines().count(), 2);
                prop_assert!(!table.contains('\x1b'));
            }
        }
    }

    #[test]
    fn a_device_with_an_endless_name_breaks_no_table() {
        let space = Space {
            image: "a".into(),
            device: "x".repeat(70_000),
            kind: "ext4",
            ..Space::default()
        };
        let table = String::from_utf8(table(&[space], true)).unwrap();
        assert_eq!(table.lines().count(), 2);
    }
}
