//! How the space of filesystems and the report of an image are shown.

use bivouac::commands::df::table::{COLUMNS, FsUsage, table};
use bivouac::commands::inspect::report::ImageInfo;
use bivouac::inspect::facts::Facts;
use bivouac::inspect::kernels::Kernel;
use bivouac::inspect::last_boot::{BootEvidence, LastBoot};
use bivouac::inspect::locale::Locale;
use bivouac::inspect::packages::Packages;
use bivouac::inspect::users::User;
use bivouac::protocol::FileSystem;
use bivouac::protocol::disks::{
    Content, Disk, Kind, Mount, Partition, Root, SkippedMount, Survey, System, Table, TableKind,
    Volume,
};
use bivouac::protocol::warning::{Warning, WarningCode};

fn space(device: &str, kind: &'static str, blocks: u64, free: u64) -> FsUsage {
    let mut space = FsUsage {
        image: "disk.img".into(),
        device: device.to_owned(),
        kind: Some(kind),
        uuid: Some("1234-ABCD".to_owned()),
        label: Some("a,\x1b[2J".to_owned()),
        device_size: blocks * 4096,
        ..FsUsage::default()
    };
    space.fill(&FileSystem {
        block_size: 4096,
        blocks,
        free,
        available: free / 2,
        inodes: 100,
        inodes_free: 60,
        magic: 0,
    });
    space
}

fn spaces() -> Vec<FsUsage> {
    let mut torn = space("/dev/sda3", "xfs", 0, 0);
    torn.error = Some("/dev/sda3: cannot be mounted: Structure needs cleaning".to_owned());
    (torn.size, torn.used, torn.available) = (None, None, None);
    vec![
        space("/dev/sda1", "vfat", 1000, 999),
        space("/dev/sda2", "ext4", 5 << 18, 1 << 18),
        torn,
    ]
}

#[test]
fn space_is_shown_as_df_does() {
    let text = |human| String::from_utf8(table(&spaces(), human)).unwrap();
    insta::assert_snapshot!("df", text(false) + &text(true));
    let csv: Vec<_> = spaces().iter().flat_map(FsUsage::csv).collect();
    insta::assert_snapshot!(
        "df_csv",
        csv.escape_ascii().to_string().replace("\\r\\n", "\n")
    );
    let json = spaces()[1].json().unwrap();
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    super::assert_keys(&json, &COLUMNS);
}

/// A survey with words that a hostile image would choose.
fn survey() -> (Survey, Root) {
    let content = |kind, label: &str| {
        Some(Content {
            kind,
            uuid: Some("1234-ABCD".to_owned()),
            label: Some(label.to_owned()),
            usage: None,
        })
    };
    let part = |number: u32, kind: &str, content| Partition {
        number,
        device: format!("/dev/sda{number}"),
        start: 1 << 20,
        bytes: 5 << 30,
        kind: Some(kind.to_owned()),
        label: Some("\x1b[31mname".to_owned()),
        uuid: Some("u".to_owned()),
        content,
    };
    let root = Root {
        device: "/dev/sda2".to_owned(),
        kind: Kind::Btrfs,
        subvolume: Some("@".to_owned()),
        os: System {
            id: Some("debian".to_owned()),
            version: Some("12".to_owned()),
            name: Some("Debian \x07".to_owned()),
        },
        mounts: vec![Mount {
            source: "/dev/sda2".to_owned(),
            target: "/".to_owned(),
            kind: Some(Kind::Btrfs),
            options: vec!["subvol=@".to_owned()],
            directory: None,
        }],
        left_out: vec![SkippedMount {
            missing: false,
            source: "UUID=x".to_owned(),
            target: "none".to_owned(),
            reason: "swap".to_owned(),
        }],
    };
    let survey = Survey {
        disks: vec![Disk {
            device: "/dev/sda".to_owned(),
            bytes: 1 << 40,
            serial: None,
            table: Some(Table {
                evidence: None,
                kind: TableKind::Gpt,
                id: "guid".to_owned(),
            }),
            content: None,
            partitions: vec![
                part(
                    1,
                    "c12a7328-f81f-11d2-ba4b-00a0c93ec93b",
                    content(Kind::Vfat, ""),
                ),
                part(2, "0x99", content(Kind::Btrfs, "la\nbel")),
                part(3, "0x83", None),
            ],
        }],
        volumes: vec![Volume {
            device: "/dev/mapper/vg-data".to_owned(),
            group: "vg".to_owned(),
            name: "data".to_owned(),
            bytes: 1 << 30,
            problem: Some("a disk of it is missing".to_owned()),
            content: None,
        }],
        roots: vec![root.clone()],
        pools: Vec::new(),
        warnings: vec![Warning::new(
            WarningCode::Unknown,
            "/dev/vda",
            "something \u{202e}odd",
        )],
    };
    (survey, root)
}

#[test]
fn a_report_is_shown_to_people_and_to_programs() {
    let (survey, root) = survey();
    let mut report = ImageInfo::new(&survey, &spaces(), true);
    report.image = "disk.img".into();
    let facts = Facts {
        architecture: Some("x86_64".to_owned()),
        hostname: Some("core".to_owned()),
        init: Some("systemd"),
        kernels: vec![
            Kernel {
                release: "5.10".to_owned(),
                image: None,
                modules: Some("/lib/modules/5.10".to_owned()),
            },
            Kernel {
                release: "6.1".to_owned(),
                image: Some("/boot/vmlinuz-6.1".to_owned()),
                modules: None,
            },
        ],
        packages: Some(Packages {
            format: "rpm",
            manager: "dnf",
            installed: None,
            list: None,
            problem: None,
        }),
        services: vec!["cron.service".to_owned(), "s\x1bsh.service".to_owned()],
        locale: Locale {
            language: Some("de_DE.UTF-8".to_owned()),
            languages: vec!["C".to_owned(), "de_DE.UTF-8".to_owned()],
            keyboard: Some("de".to_owned()),
            timezone: Some("Europe/Berlin".to_owned()),
        },
        users: vec![User {
            name: "me".to_owned(),
            uid: 1000,
            home: "/home/me".to_owned(),
            shell: "/bin/\x1bsh".to_owned(),
        }],
        last_boot: Some(LastBoot {
            seconds: 1_700_000_000,
            what: BootEvidence::Running,
            evidence: "/var/log/journal/x/system.journal".to_owned(),
        }),
    };
    report.add(root, facts, &[]);
    let text = report.to_string();
    assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text}");
    insta::assert_snapshot!("inspect", text);
    insta::assert_json_snapshot!("inspect_json", report);
}
