//! One file of a stream: everything but its data.

/// What a member is, in the order of ustar's typeflags from `0` to `6`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    #[default]
    File,
    /// Another name of an earlier member.
    HardLink,
    Link,
    Character,
    Block,
    Directory,
    Fifo,
}

impl Kind {
    /// ustar's typeflag (pax, "ustar Header Block").
    pub(super) fn letter(self) -> u8 {
        b'0' + self as u8
    }

    pub(super) fn of_letter(letter: u8) -> Option<Self> {
        Some(match letter {
            // Unix V7 wrote a NUL; 7 is a contiguous file.
            b'0' | 0 | b'7' => Self::File,
            b'1' => Self::HardLink,
            b'2' => Self::Link,
            b'3' => Self::Character,
            b'4' => Self::Block,
            b'5' => Self::Directory,
            b'6' => Self::Fifo,
            _ => return None,
        })
    }
}

/// Extended attributes: name and value.
pub type Attributes = Vec<(Vec<u8>, Vec<u8>)>;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Member {
    /// Its name as it is in the stream: not checked, any bytes but NUL. That of a directory is without
    /// the slash at its end.
    pub path: Vec<u8>,
    pub kind: Kind,
    /// Permission, set-id and sticky bits.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// The size of a file in bytes, holes included; 0 for other kinds.
    pub size: u64,
    /// Time of the last change: seconds since 1970, and nanoseconds.
    pub modified: (i64, u32),
    pub target: Vec<u8>,
    /// Major and minor number of a device.
    pub device: (u32, u32),
    pub attributes: Attributes,
    /// Where there is data: offset and length, ascending. `None` if there are no holes.
    pub segments: Option<Vec<(u64, u64)>>,
}

impl Member {
    /// An empty member with mode 0644, of root.
    pub fn new(path: Vec<u8>, kind: Kind) -> Self {
        Self {
            path,
            kind,
            mode: 0o644,
            ..Self::default()
        }
    }

    /// Whether a link leads out of the directory that the stream is unpacked to, by its target's
    /// words alone.
    pub(super) fn leads_out(&self) -> bool {
        let named = |path: &[u8]| {
            let parts = path.split(|&byte| byte == b'/').map(<[u8]>::to_vec);
            parts
                .filter(|part| !matches!(&part[..], b"" | b"."))
                .collect::<Vec<_>>()
        };
        let mut depth = named(&self.path).len().saturating_sub(1);
        self.target.starts_with(b"/")
            || named(&self.target).iter().any(|part| {
                let up = part == b"..";
                let out = up && depth == 0;
                depth = if up {
                    depth.saturating_sub(1)
                } else {
                    depth + 1
                };
                out
            })
    }

    /// How many bytes of data follow the headers.
    pub fn data(&self) -> u64 {
        match &self.segments {
            Some(segments) => segments.iter().map(|(_, length)| length).sum(),
            None => self.size,
        }
    }
}
