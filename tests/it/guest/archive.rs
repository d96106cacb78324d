//! Trees out of a guest and into it, and what GNU tar makes of the same streams.

use std::collections::BTreeMap;
use std::ffi::{CString, OsStr};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, UNIX_EPOCH};

use bivouac::archive::{Kind, Member, begin, end, padding};
use bivouac::protocol::{ByteString, Entry, FileKind, TarOptions};
use bivouac::session::Session;
use bivouac::sys;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{Agent, at};

fn with_owners() -> TarOptions {
    TarOptions {
        owners: nix::unistd::geteuid().is_root(),
        ..TarOptions::default()
    }
}

/// Everything that a tree can hold, but devices.
pub fn plant(top: &Path) {
    let long = "long-name-".repeat(12);
    fs::create_dir_all(top.join("dir/sub").join(&long)).unwrap();
    fs::write(top.join("dir/sub").join(&long).join("leaf"), "leaf").unwrap();
    fs::write(top.join("plain"), vec![b'x'; 100_000]).unwrap();
    fs::write(top.join("empty"), "").unwrap();
    fs::write(top.join(OsStr::from_bytes(b"not utf-8 \xff\n")), "odd").unwrap();
    fs::hard_link(top.join("plain"), top.join("dir/other name of plain")).unwrap();
    symlink("../plain", top.join("dir/link")).unwrap();
    symlink(format!("/{long}/{long}"), top.join("dangling")).unwrap();
    nix::unistd::mkfifo(&top.join("fifo"), nix::sys::stat::Mode::S_IRUSR).unwrap();
    let sparse = fs::File::create(top.join("sparse")).unwrap();
    sparse.set_len(10 << 30).unwrap();
    sparse.write_all_at(b"start", 0).unwrap();
    sparse.write_all_at(&[7; 10_000], 5 << 30).unwrap();
    fs::File::create(top.join("hole"))
        .unwrap()
        .set_len(1 << 20)
        .unwrap();
    // Anybody but root could neither write into such a directory again nor take it away.
    let closed = match nix::unistd::geteuid().is_root() {
        true => 0o500,
        false => 0o700,
    };
    for (name, mode) in [("plain", 0o4755), ("dir", closed), ("empty", 0o000)] {
        fs::set_permissions(top.join(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    let name = |name: &str| CString::new(top.join(name).into_os_string().into_encoded_bytes());
    let value = b"binary \0\n= value";
    sys::set_attribute(&name("plain").unwrap(), c"user.one", value).unwrap();
    sys::set_attribute(&name("dir/sub").unwrap(), c"user.two", b"").unwrap();
    for (name, time) in [
        (
            "plain",
            UNIX_EPOCH + Duration::new(1_000_000_000, 123_456_789),
        ),
        ("empty", UNIX_EPOCH - Duration::from_millis(1500)),
        ("sparse", UNIX_EPOCH + Duration::from_secs(9_000_000_000)),
    ] {
        let file = match name {
            // Its mode forbids it, but not to its owner.
            "empty" => {
                fs::set_permissions(top.join(name), fs::Permissions::from_mode(0o600)).unwrap();
                fs::File::options()
                    .write(true)
                    .open(top.join(name))
                    .unwrap()
            }
            name => fs::File::options()
                .write(true)
                .open(top.join(name))
                .unwrap(),
        };
        file.set_modified(time).unwrap();
    }
}

/// All that must be equal, by name. `whole` is false where the format has no nanoseconds.
pub async fn look(session: &Session, top: &Path, whole: bool) -> BTreeMap<ByteString, String> {
    let mut entries = session.walk(at(top, "/"), false).await.unwrap();
    let mut found = BTreeMap::new();
    while let Some(Entry {
        path,
        stat,
        link,
        error,
    }) = entries.next().await.unwrap()
    {
        assert_eq!(error, None, "{path}");
        let stat = stat.unwrap();
        let place = top.join(path.as_path());
        let attributes: Vec<_> = ["user.one", "user.two"]
            .iter()
            .filter(|_| whole)
            .map(|name| sys::extended_attribute(&place, name))
            .collect();
        let holes = stat.kind == FileKind::File && stat.blocks * 512 < stat.size / 2;
        // Each filesystem has its own idea of the size of a directory.
        let size = (stat.kind != FileKind::Directory).then_some(stat.size);
        let links = (stat.kind != FileKind::Directory).then_some(stat.links);
        let time = (stat.modified.0, if whole { stat.modified.1 } else { 0 });
        let owner = (stat.uid, stat.gid);
        let mode = stat.mode;
        let kind = stat.kind;
        // A link has no attributes of its own, and this call follows it.
        let attributes = if kind == FileKind::Link {
            vec![]
        } else {
            attributes
        };
        let all = format!(
            "{kind:?} {mode:o} {size:?} {links:?} {owner:?} {time:?} {link:?} {holes} {attributes:?}"
        );
        found.insert(path, all);
    }
    found
}

fn same_contents(left: &Path, right: &Path) {
    for name in ["plain", "dir/other name of plain", "empty"] {
        assert!(fs::read(left.join(name)).unwrap() == fs::read(right.join(name)).unwrap());
    }
    let odd = OsStr::from_bytes(b"not utf-8 \xff\n");
    assert_eq!(fs::read(right.join(odd)).unwrap(), b"odd");
    let sparse = fs::File::open(right.join("sparse")).unwrap();
    let mut part = vec![0; 20_000];
    sparse.read_exact_at(&mut part, (5 << 30) - 5000).unwrap();
    assert!(part[..5000].iter().all(|&byte| byte == 0));
    assert!(part[5000..15_000].iter().all(|&byte| byte == 7));
    assert!(part[15_000..].iter().all(|&byte| byte == 0));
    sparse.read_exact_at(&mut part[..6], 0).unwrap();
    assert_eq!(&part[..6], b"start\0");
}

fn gnu_tar(args: &[&str], input: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut child = Command::new("tar")
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("GNU tar");
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success(), "tar {args:?}");
    output.stdout
}

/// Unpacks a stream of bytes, and says how it went.
async fn unpack(session: &Session, root: &Path, path: &str, stream: &[u8]) -> Result<u64, String> {
    let (mut writer, unpacking) = session
        .tar_in(at(root, path), with_owners())
        .await
        .map_err(|error| error.to_string())?;
    // A stream that is no tar is not read to its end.
    let _ = writer.write_all(stream).await;
    drop(writer);
    unpacking.wait().await.map_err(|error| error.to_string())
}

#[tokio::test]
async fn a_tree_copied_out_and_in_is_the_same() {
    let (agent, session) = Agent::with_session().await;
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    plant(from.path());
    let mut out = session
        .tar_out(at(from.path(), "/"), TarOptions::default())
        .await
        .unwrap();
    let (mut into, unpacking) = session
        .tar_in(at(to.path(), "/"), with_owners())
        .await
        .unwrap();
    let bytes = tokio::io::copy(&mut out, &mut into).await.unwrap();
    drop(into);
    assert_eq!(unpacking.wait().await.unwrap(), 14);
    assert!(bytes < 1 << 20, "holes were sent: {bytes}");
    let expected = look(&session, from.path(), true).await;
    assert_eq!(expected.len(), 14);
    assert_eq!(look(&session, to.path(), true).await, expected);
    same_contents(from.path(), to.path());
    // Again, over what is there.
    let mut out = session
        .tar_out(at(from.path(), "/"), TarOptions::default())
        .await
        .unwrap();
    let mut stream = Vec::new();
    out.read_to_end(&mut stream).await.unwrap();
    assert_eq!(unpack(&session, to.path(), "/", &stream).await, Ok(14));
    assert_eq!(look(&session, to.path(), true).await, expected);
    assert!(
        agent.peak() < 16 << 10,
        "the agent had {} KiB",
        agent.peak()
    );
}

#[tokio::test]
async fn gnu_tar_reads_what_the_agent_writes() {
    let (_agent, session) = Agent::with_session().await;
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    plant(from.path());
    let mut out = session
        .tar_out(at(from.path(), "/"), TarOptions::default())
        .await
        .unwrap();
    let mut stream = Vec::new();
    out.read_to_end(&mut stream).await.unwrap();
    let directory = to.path().to_str().unwrap();
    gnu_tar(&["--xattrs", "-xpC", directory], &stream);
    let expected = look(&session, from.path(), true).await;
    assert_eq!(look(&session, to.path(), true).await, expected);
    same_contents(from.path(), to.path());
}

#[tokio::test]
async fn the_agent_reads_what_gnu_tar_writes() {
    let (_agent, session) = Agent::with_session().await;
    let from = tempfile::tempdir().unwrap();
    plant(from.path());
    let directory = from.path().to_str().unwrap();
    let pax = gnu_tar(
        &[
            "--format=pax",
            "-S",
            "--sparse-version=1.0",
            "--xattrs",
            "-cC",
            directory,
            ".",
        ],
        b"",
    );
    let to = tempfile::tempdir().unwrap();
    assert_eq!(unpack(&session, to.path(), "/", &pax).await, Ok(14));
    let expected = look(&session, from.path(), true).await;
    assert_eq!(look(&session, to.path(), true).await, expected);
    same_contents(from.path(), to.path());
    // Without holes, nanoseconds and attributes, but with long names and early years.
    let others = ["--exclude=./sparse", "--exclude=./hole"];
    let gnu = [&["--format=gnu"], &others[..], &["-cC", directory, "."]].concat();
    let gnu = gnu_tar(&gnu, b"");
    let to = tempfile::tempdir().unwrap();
    assert_eq!(unpack(&session, to.path(), "/", &gnu).await, Ok(12));
    let mut expected = look(&session, from.path(), false).await;
    expected.remove(&"sparse".into());
    expected.remove(&"hole".into());
    assert_eq!(look(&session, to.path(), false).await, expected);
}

#[tokio::test]
async fn one_file_has_the_name_that_was_asked_for() {
    let (_agent, session) = Agent::with_session().await;
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::write(from.path().join("a"), "text").unwrap();
    let options = TarOptions {
        name: Some("b".into()),
        ..TarOptions::default()
    };
    let mut out = session
        .tar_out(at(from.path(), "a"), options)
        .await
        .unwrap();
    let mut stream = Vec::new();
    out.read_to_end(&mut stream).await.unwrap();
    assert_eq!(gnu_tar(&["-t"], &stream), b"b\n");
    assert_eq!(unpack(&session, to.path(), "/", &stream).await, Ok(1));
    assert_eq!(fs::read(to.path().join("b")).unwrap(), b"text");
}

/// A stream of files with these names and contents, and links with these targets.
fn stream(members: &[(&str, Kind, &str)]) -> Vec<u8> {
    let mut stream = Vec::new();
    for (path, kind, text) in members {
        let mut member = Member::new(path.as_bytes().to_owned(), *kind);
        match kind {
            Kind::File => member.size = text.len() as u64,
            _ => member.target = text.as_bytes().to_owned(),
        }
        member.mode = if *kind == Kind::Directory {
            0o755
        } else {
            0o644
        };
        begin(&mut stream, &member).unwrap();
        if *kind == Kind::File {
            stream.extend(text.as_bytes());
            stream.extend(padding(member.size));
        }
    }
    end(&mut stream).unwrap();
    stream
}

#[tokio::test]
async fn no_stream_writes_outside_the_root() {
    let (_agent, session) = Agent::with_session().await;
    let top = tempfile::tempdir().unwrap();
    let root = top.path().join("root");
    fs::create_dir_all(root.join("base/real")).unwrap();
    fs::create_dir(root.join("usr")).unwrap();
    symlink("/usr", root.join("base/inside")).unwrap();
    let outside = top.path().join("outside");
    fs::write(&outside, "untouched").unwrap();
    let outside = outside.to_str().unwrap();
    let hostile = stream(&[
        ("../up", Kind::File, "x"),
        ("a/../../up", Kind::File, "x"),
        ("escape", Kind::Link, top.path().to_str().unwrap()),
        ("escape/file", Kind::File, "x"),
        ("real/far", Kind::Link, "../../.."),
        ("real/far/file", Kind::File, "x"),
        ("victim", Kind::Link, outside),
        ("victim", Kind::File, "replaced"),
        ("name", Kind::HardLink, "../../outside"),
        ("name2", Kind::HardLink, outside),
        ("inside/kept", Kind::File, "x"),
        ("/absolute/new", Kind::File, "x"),
    ]);
    let error = unpack(&session, &root, "base", &hostile).await.unwrap_err();
    let text = "../up: Invalid cross-device link (and 4 more)";
    assert_eq!(error, text);
    assert_eq!(fs::read_to_string(outside).unwrap(), "untouched");
    let mut beside: Vec<_> = fs::read_dir(top.path())
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    beside.sort();
    assert_eq!(beside, ["outside", "root"]);
    // A link that was there leads where it leads in the image.
    assert_eq!(fs::read(root.join("usr/kept")).unwrap(), b"x");
    assert_eq!(fs::read(root.join("base/absolute/new")).unwrap(), b"x");
    assert_eq!(fs::read(root.join("base/victim")).unwrap(), b"replaced");
}

#[tokio::test]
async fn what_is_no_tar_stream_is_told() {
    let (_agent, session) = Agent::with_session().await;
    let to = tempfile::tempdir().unwrap();
    let mut short = stream(&[("file", Kind::File, "text")]);
    short.truncate(700);
    let noise = unpack(&session, to.path(), "/", &[b'x'; 1 << 20]).await;
    let cut = unpack(&session, to.path(), "/", &short).await;
    let none = unpack(&session, to.path(), "no/such", &short).await;
    let error = |result: Result<u64, String>| result.unwrap_err();
    assert_eq!(error(noise), "not a tar stream: a header with a wrong sum");
    assert_eq!(error(cut), "the tar stream ends too early");
    assert_eq!(error(none), "no/such: No such file or directory");
}
