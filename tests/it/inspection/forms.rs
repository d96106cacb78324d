//! How entries are shown, to people and to programs.

use bivouac::commands::ls::accounts::AccountNames;
use bivouac::commands::ls::extras::Extras;
use bivouac::commands::ls::format_long::{Style, mode, total};
use bivouac::commands::ls::format_records::{COLUMNS, Record};
use bivouac::protocol::{ByteString, Details, Entry, ErrorStage, FileKind, RemoteError, Stat};

/// 2023-11-14 22:13:20.
const NOW: i64 = 1_700_000_000;

fn entry(path: &[u8], kind: FileKind, mode: u32, owner: (u32, u32), size: u64) -> Entry {
    Entry {
        path: ByteString(path.to_vec()),
        stat: Some(Stat {
            kind,
            mode,
            links: 1,
            uid: owner.0,
            gid: owner.1,
            size,
            blocks: size.div_ceil(512),
            modified: (NOW - 86_400, 5_000),
            accessed: (NOW, 0),
            changed: (NOW, 0),
            device: 1,
            inode: 77,
            special: None,
        }),
        link: None,
        error: None,
    }
}

/// One of each, with the names that a hostile image would choose.
fn entries() -> Vec<Entry> {
    let mut old = entry(b"old", FileKind::File, 0o4755, (0, 0), 1 << 40);
    let stat = old.stat.as_mut().unwrap();
    (stat.modified, stat.links) = ((0, 0), 12);
    let mut disk = entry(b"sda", FileKind::Block, 0o660, (0, 6), 0);
    disk.stat.as_mut().unwrap().special = Some((8, 0));
    let mut null = entry(b"null", FileKind::Character, 0o666, (0, 0), 0);
    null.stat.as_mut().unwrap().special = Some((1, 3));
    let mut link = entry(b"link", FileKind::Link, 0o777, (1000, 1000), 9);
    link.link = Some(ByteString(b"\x1b]0;x\x07 y".to_vec()));
    vec![
        entry(b"\x1b[2J", FileKind::File, 0o644, (0, 0), 1),
        entry(b"a,b \"c\"\n", FileKind::File, 0o600, (1000, 1000), 5),
        entry(b"not-utf8-\xff", FileKind::Fifo, 0o1777, (1000, 4), 0),
        entry(b"tmp", FileKind::Directory, 0o1777, (0, 0), 4096),
        entry(b"sock", FileKind::Socket, 0o2745, (0, 0), 0),
        old,
        disk,
        null,
        link,
        Entry {
            path: "broken".into(),
            stat: None,
            link: None,
            error: Some(RemoteError::of(
                ErrorStage::File,
                "stat",
                nix::errno::Errno::EIO,
            )),
        },
    ]
}

fn names() -> AccountNames {
    AccountNames::parse(
        b"root:x:0:0:::\nme:x:1000:1000:::\n",
        b"root:x:0:\ndisk:x:6:\n",
    )
}

#[test]
fn a_long_listing_looks_as_that_of_ls() {
    let names = names();
    for (name, escaped) in [("terminal", true), ("pipe", false)] {
        let style = Style {
            names: &names,
            now: NOW,
            escaped,
            extras: Extras::default(),
        };
        let entries = entries();
        let details = vec![Details::default(); entries.len()];
        let shown = [
            total(&entries).into_bytes(),
            style.long(&entries, &details),
            style.short(&entries, &details),
        ];
        let shown = shown.concat();
        if escaped {
            let text = std::str::from_utf8(&shown).unwrap();
            assert!(text.chars().all(|c| c == '\n' || !c.is_control()));
        }
        insta::assert_snapshot!(
            format!("long_{name}"),
            shown.escape_ascii().to_string().replace("\\n", "\n")
        );
    }
}

#[test]
fn records_have_everything_that_is_known() {
    let names = names();
    let records: Vec<_> = entries()
        .iter()
        .map(|entry| {
            let path = [b"/dir/", &entry.path.0[..]].concat();
            Record::new("disk.img".into(), path, entry, &names)
        })
        .collect();
    let json: Vec<_> = records.iter().flat_map(|r| r.json().unwrap()).collect();
    let json = String::from_utf8(json).unwrap();
    assert_eq!(json.lines().count(), records.len());
    let first: serde_json::Value = serde_json::from_str(json.lines().next().unwrap()).unwrap();
    super::assert_keys(&first, &COLUMNS);
    insta::assert_snapshot!("records_json", json);
    let csv: Vec<_> = records.iter().flat_map(Record::csv).collect();
    insta::assert_snapshot!(
        "records_csv",
        csv.escape_ascii().to_string().replace("\\r\\n", "\n")
    );
}

#[test]
fn every_mode_is_as_stat_has_it() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    for bits in (0..0o10000)
        .step_by(0o111)
        .chain([0o7777, 0o7666, 0o1000, 0o5755, 0o2610])
    {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(&file, PermissionsExt::from_mode(bits)).unwrap();
        let said = crate::env::filesystems::run("stat", &["-c", "%A", file.to_str().unwrap()]);
        assert_eq!(mode(FileKind::File, bits), said.trim(), "{bits:o}");
    }
}
