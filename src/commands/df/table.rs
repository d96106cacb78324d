//! The space of filesystems, for people and for programs.

use serde::Serialize;

use crate::commands::csv;
use crate::guest::wire::{ByteString, FileSystem};
use crate::image::printable::{Plain, as_path};

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
    let size = if human { "Size" } else { "1K-blocks" };
    let available = if human { "Avail" } else { "Available" };
    let head = ["Filesystem", "Type", size, "Used", available, "Use%"];
    let mut rows = vec![head.map(str::to_owned)];
    let amount = |bytes: Option<u64>| match (bytes, human) {
        (None, _) => "-".to_owned(),
        (Some(bytes), false) => bytes.div_ceil(1024).to_string(),
        (Some(bytes), true) => human_size(bytes),
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
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<_> = (0..head.len())
        .map(|column| width(column).unwrap_or(0))
        .collect();
    let mut out = String::new();
    for row in &rows {
        for (column, (text, width)) in row.iter().zip(&widths).enumerate() {
            // A wider column than this is a panic of format!.
            let width = (*width).min(usize::from(u16::MAX));
            let cell = match column {
                0 | 1 => format!("{text:<width$}"),
                _ => format!(" {text:>width$}"),
            };
            out.push_str(&cell);
            out.push_str(if column == 0 { " " } else { "" });
        }
        out.push('\n');
    }
    out.into_bytes()
}

/// As `df -h`: three digits at most, rounded up.
pub fn human_size(bytes: u64) -> String {
    let units = ["", "K", "M", "G", "T", "P", "E"];
    let mut unit = 0;
    let mut whole = 1_u128;
    let bytes = u128::from(bytes);
    while unit + 1 < units.len() && bytes.div_ceil(whole) >= 1024 {
        whole *= 1024;
        unit += 1;
    }
    let tenths = (bytes * 10).div_ceil(whole);
    match unit {
        0 => bytes.to_string(),
        _ if tenths < 100 => format!("{}.{}{}", tenths / 10, tenths % 10, units[unit]),
        _ => format!("{}{}", bytes.div_ceil(whole), units[unit]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes_are_rounded_up_as_df_does() {
        // numfmt --to=iec --round=up
        for (bytes, text) in [
            (0, "0"),
            (1023, "1023"),
            (1024, "1.0K"),
            (1025, "1.1K"),
            (10_240, "10K"),
            (10_241, "11K"),
            (1_048_575, "1.0M"),
            (2_147_483_648, "2.0G"),
            (u64::MAX, "16E"),
        ] {
            assert_eq!(human_size(bytes), text);
        }
    }

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
