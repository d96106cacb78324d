//! Trees from a guest to this host and back, and what a hostile guest could send instead.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use bivouac::archive::{
    ArchiveStats, BeneathDir, Kind, Member, Policy, begin, end, padding, unpack,
};
use bivouac::commands::tar_transfer::{fetch, send};
use bivouac::protocol::{ByteString, TarOptions};
use nix::errno::Errno;

use super::archive::{look, plant};
use super::{Agent, at};

fn named(name: &str) -> (TarOptions, Policy) {
    let options = TarOptions {
        name: Some(name.into()),
        ..TarOptions::default()
    };
    let policy = Policy {
        only: Some(name.into()),
        owners: nix::unistd::geteuid().is_root(),
        privileges: true,
        ..Policy::default()
    };
    (options, policy)
}

#[tokio::test]
async fn a_tree_comes_out_of_a_guest_and_goes_back_with_all_that_it_holds() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    for name in ["planted", "out", "back"] {
        fs::create_dir(path(name)).unwrap();
    }
    plant(&path("planted"));
    let (_agent, session) = Agent::with_session().await;
    let (options, policy) = named("copy");
    let place = BeneathDir::at(&path("out")).unwrap();
    let fetched = fetch(&session, at(dir.path(), "planted"), options, place, policy).await;
    fetched.unwrap().complete("planted").unwrap();
    let planted = look(&session, &path("planted"), true).await;
    assert_eq!(look(&session, &path("out/copy"), true).await, planted);

    let options = TarOptions {
        owners: nix::unistd::geteuid().is_root(),
        ..TarOptions::default()
    };
    let source = path("out/copy");
    let name = b"made/on the way".to_vec();
    let sent = send(&session, source, at(dir.path(), "back"), name, options).await;
    assert_eq!(sent.unwrap(), planted.len() as u64);
    let back = look(&session, &path("back/made/on the way"), true).await;
    assert_eq!(back, planted);
}

#[tokio::test]
async fn what_cannot_be_copied_is_told_and_the_rest_is_copied() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    fs::create_dir_all(path("from/full")).unwrap();
    fs::write(path("from/full/file"), "in the way").unwrap();
    fs::write(path("from/other"), "other").unwrap();
    fs::create_dir_all(path("to/from/other")).unwrap();
    let (_agent, session) = Agent::with_session().await;
    let (options, policy) = named("from");
    let place = BeneathDir::at(&path("to")).unwrap();
    let fetched = fetch(&session, at(dir.path(), "from"), options, place, policy).await;
    let error = fetched.unwrap().complete("/from").unwrap_err();
    let text = format!("{:#}", error.error);
    assert!(
        text.starts_with("copying /from: \"from/other\": "),
        "{text}"
    );
    assert!(path("to/from/full/file").exists());

    let (options, policy) = named("x");
    let place = BeneathDir::at(&path("to")).unwrap();
    let fetched = fetch(&session, at(dir.path(), "missing"), options, place, policy).await;
    let text = format!("{:#}", fetched.unwrap_err().error);
    assert!(text.contains("No such file"), "{text}");

    let options = TarOptions::default();
    let there = at(dir.path(), "to");
    let sent = send(&session, path("missing"), there, b"x".to_vec(), options).await;
    let text = format!("{:#}", sent.unwrap_err().error);
    assert!(text.contains("No such file"), "{text}");
}

/// A stream of members, each file with four bytes of data.
pub(super) fn stream(members: &[Member]) -> Vec<u8> {
    let mut stream = Vec::new();
    for member in members {
        begin(&mut stream, member).unwrap();
        stream.extend(vec![b'x'; member.data() as usize]);
        stream.extend(padding(member.data()));
    }
    end(&mut stream).unwrap();
    stream
}

fn member(path: &str, kind: Kind, target: &Path) -> Member {
    let mut member = Member::new(path.into(), kind);
    member.target = ByteString::from(target).0;
    member.size = if kind == Kind::File { 4 } else { 0 };
    member
}

#[test]
fn nothing_that_a_guest_sends_is_written_outside_the_destination() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let kept = |name: &str| fs::read_to_string(path(name)).unwrap();
    fs::create_dir_all(path("here/top")).unwrap();
    fs::create_dir(path("outside")).unwrap();
    fs::write(path("outside/file"), "kept").unwrap();
    fs::write(path("here/sibling"), "kept").unwrap();
    // A link of the user's own, below the destination.
    symlink(path("outside"), path("here/top/own")).unwrap();
    let policy = Policy {
        only: Some(b"top".to_vec()),
        ..Policy::default()
    };
    let outside = path("outside");
    let nowhere = Path::new("");
    let attempt = |members: &[Member]| -> ArchiveStats {
        let place = BeneathDir::at(&path("here")).unwrap();
        unpack(&place, &policy, &stream(members)[..]).unwrap()
    };
    for members in [
        vec![member("top/../../outside/file", Kind::File, nowhere)],
        vec![member("../outside/file", Kind::File, nowhere)],
        vec![member("/outside/file", Kind::File, nowhere)],
        vec![member("sibling", Kind::File, nowhere)],
        vec![member("top/own/file", Kind::File, nowhere)],
        vec![member("top/own/new/deep", Kind::Directory, nowhere)],
        vec![
            member("top/link", Kind::Link, &outside),
            member("top/link/file", Kind::File, nowhere),
        ],
        vec![
            member("top/link", Kind::Link, &outside),
            member("top/link/new", Kind::Directory, nowhere),
        ],
        vec![member("top/hard", Kind::HardLink, Path::new("sibling"))],
        vec![member(
            "top/hard",
            Kind::HardLink,
            Path::new("top/own/file"),
        )],
        vec![member(
            "top/hard",
            Kind::HardLink,
            Path::new("../outside/file"),
        )],
        vec![member("top/device", Kind::Block, nowhere)],
        vec![member(".", Kind::Directory, nowhere)],
        vec![member("", Kind::Directory, nowhere)],
    ] {
        let extracted = attempt(&members);
        assert_eq!(extracted.failed, 1, "{members:?}: {extracted:?}");
        assert_eq!(kept("outside/file"), "kept", "{members:?}");
        assert_eq!(kept("here/sibling"), "kept", "{members:?}");
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 1, "{members:?}");
        assert_eq!(fs::metadata(path("outside/file")).unwrap().nlink(), 1);
        assert_eq!(fs::read_dir(path("here")).unwrap().count(), 2);
    }

    // What is in the way is replaced, never written through.
    let extracted = attempt(&[
        member("top/link", Kind::Link, &path("outside/file")),
        member("top/link", Kind::File, nowhere),
        member("top/own", Kind::Directory, nowhere),
    ]);
    assert_eq!(extracted.failed, 0, "{extracted:?}");
    assert_eq!(kept("outside/file"), "kept");
    assert_eq!(kept("here/top/link"), "xxxx");
    let own = fs::symlink_metadata(path("here/top/own")).unwrap();
    assert!(own.is_dir() && !own.file_type().is_block_device());
}

#[test]
fn what_gives_power_is_taken_on_only_where_that_is_wanted() {
    let dir = tempfile::tempdir().unwrap();
    let mut file = member("file", Kind::File, Path::new(""));
    file.mode = 0o6755;
    (file.uid, file.gid) = (12345, 12345);
    file.attributes = vec![
        (b"user.kept".to_vec(), b"1".to_vec()),
        (b"trusted.left".to_vec(), b"2".to_vec()),
        (b"security.selinux".to_vec(), b"label".to_vec()),
    ];
    let stream = stream(&[file]);
    let place = BeneathDir::at(dir.path()).unwrap();
    let extracted = unpack(&place, &Policy::default(), &stream[..]).unwrap();
    assert_eq!(extracted.failed, 0, "{extracted:?}");
    let path = dir.path().join("file");
    let found = fs::metadata(&path).unwrap();
    assert_eq!(found.permissions().mode() & 0o7777, 0o755);
    assert_eq!(found.uid(), nix::unistd::geteuid().as_raw());
    let attribute = |name| bivouac::sys::extended_attribute(&path, name);
    assert_eq!(attribute("user.kept").as_deref(), Some(&b"1"[..]));
    assert_eq!(attribute("trusted.left"), None);
    assert_eq!(attribute("security.selinux"), None);

    if nix::unistd::geteuid().is_root() {
        let policy = Policy {
            owners: true,
            privileges: true,
            ..Policy::default()
        };
        assert_eq!(unpack(&place, &policy, &stream[..]).unwrap().first, None);
        let found = fs::metadata(&path).unwrap();
        assert_eq!((found.uid(), found.gid()), (12345, 12345));
        assert_eq!(found.permissions().mode() & 0o7777, 0o6755);
    }
    let missing = BeneathDir::at(&dir.path().join("missing")).map(drop);
    assert_eq!(missing, Err(Errno::ENOENT));
}

#[test]
fn an_attribute_that_cannot_be_set_costs_no_other_property() {
    let dir = tempfile::tempdir().unwrap();
    let mut file = member("file", Kind::File, Path::new(""));
    (file.mode, file.modified) = (0o641, (1_000_000_000, 7));
    // Over Linux's own limit.
    file.attributes = vec![(b"user.large".to_vec(), vec![1; 65537])];
    let place = BeneathDir::at(dir.path()).unwrap();
    let extracted = unpack(&place, &Policy::default(), &stream(&[file])[..]).unwrap();
    let first = extracted.first;
    assert_eq!(first, Some((b"file".to_vec(), Errno::E2BIG)));
    let found = fs::metadata(dir.path().join("file")).unwrap();
    assert_eq!(found.permissions().mode() & 0o7777, 0o641);
    assert_eq!((found.mtime(), found.mtime_nsec()), (1_000_000_000, 7));
}
