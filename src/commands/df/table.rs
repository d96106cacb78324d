//! The usage of filesystems as a table, JSON and CSV.

use serde::Serialize;

use crate::inspect::filesystems::Found;
use crate::protocol::disks::Usage;
use crate::protocol::{ByteString, FileSystem};
use crate::text::escape::{Plain, as_path};
use crate::text::table::align;
use crate::text::{csv, size};

/// The columns of CSV, and the keys in JSON.
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

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct FsUsage {
    pub image: ByteString,
    pub device: String,
    /// Unknown for what is not recognised, or not there.
    #[serde(rename = "type")]
    pub kind: Option<&'static str>,
    /// As `UUID=` names it.
    pub uuid: Option<String>,
    /// As `LABEL=` names it.
    pub label: Option<String>,
    /// Size of the device in bytes.
    pub device_size: u64,
    /// Bytes that the filesystem has for files.
    pub size: Option<u64>,
    pub used: Option<u64>,
    /// Bytes that an ordinary user can still write.
    pub available: Option<u64>,
    /// The most files that it can have; `None` if it has no such limit.
    pub inodes: Option<u64>,
    /// The files that it has.
    pub inodes_used: Option<u64>,
    /// Another process was writing to the image.
    pub in_use: bool,
    /// Why it was not read, or what it lacks.
    pub error: Option<String>,
}

impl FsUsage {
    /// A device, before it is known how full it is.
    pub fn of(found: &Found<'_>) -> Self {
        Self {
            device: found.device.to_owned(),
            kind: Some(found.content.kind.name()),
            uuid: found.content.uuid.clone(),
            label: found.content.label.clone(),
            device_size: found.bytes,
            ..Self::default()
        }
    }

    /// Adds the result of statvfs(3). A hostile filesystem may state any numbers.
    pub fn fill(&mut self, found: &FileSystem) {
        let bytes = |blocks: u64| blocks.saturating_mul(found.block_size);
        self.size = Some(bytes(found.blocks));
        self.used = Some(bytes(found.blocks.saturating_sub(found.free)));
        self.available = Some(bytes(found.available));
        if found.inodes > 0 {
            self.inodes = Some(found.inodes);
            self.inodes_used = Some(found.inodes.saturating_sub(found.inodes_free));
        }
    }

    /// As GNU df: what is used of what an ordinary user could use, rounded up.
    fn percent(&self) -> Option<u64> {
        let (used, available) = (u128::from(self.used?), u128::from(self.available?));
        let all = used + available;
        (all > 0).then(|| (used * 100).div_ceil(all) as u64)
    }

    pub fn usage(&self) -> Usage {
        Usage {
            size: self.size,
            used: self.used,
            available: self.available,
            error: self.error.clone(),
        }
    }

    pub fn json(&self) -> serde_json::Result<Vec<u8>> {
        let mut line = serde_json::to_vec(self)?;
        line.push(b'\n');
        Ok(line)
    }

    pub fn csv(&self) -> Vec<u8> {
        let text = |text: &Option<String>| text.clone().unwrap_or_default().into_bytes();
        let number = |number: Option<u64>| number.map_or_else(Vec::new, |n| n.to_string().into());
        csv::line([
            self.image.0.clone(),
            self.device.clone().into(),
            self.kind.unwrap_or_default().into(),
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

/// A table as GNU df prints it, in KiB, or with sizes such as `1.5G` if `human`.
pub fn table(all: &[FsUsage], human: bool) -> Vec<u8> {
    let total = if human { "Size" } else { "1K-blocks" };
    let available = if human { "Avail" } else { "Available" };
    let head = ["Filesystem", "Type", total, "Used", available, "Use%"];
    let mut rows = vec![head.map(str::to_owned)];
    let amount = |bytes: Option<u64>| match (bytes, human) {
        (None, _) => "-".to_owned(),
        (Some(bytes), false) => bytes.div_ceil(1024).to_string(),
        (Some(bytes), true) => size::short(bytes),
    };
    rows.extend(all.iter().map(|usage| {
        let name = [&usage.image.0, b":" as &[u8], usage.device.as_bytes()].concat();
        [
            Plain(as_path(&name)).to_string(),
            usage.kind.unwrap_or("-").to_owned(),
            amount(usage.size),
            amount(usage.used),
            amount(usage.available),
            usage.percent().map_or("-".to_owned(), |p| format!("{p}%")),
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
            let mut space = FsUsage {
                image: "a".into(), device: "/dev/\x1bsda".into(), kind: Some("ext4"),
                ..FsUsage::default()
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
        let space = FsUsage {
            image: "a".into(),
            device: "x".repeat(70_000),
            kind: Some("ext4"),
            ..FsUsage::default()
        };
        let table = String::from_utf8(table(&[space], true)).unwrap();
        assert_eq!(table.lines().count(), 2);
    }
}
