//! Files: looking, listing, walking, reading, and never outside the root.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

use bivouac::protocol::{ByteString, Entry, FileKind, MAX_CONTROL};
use bivouac::session::{Session, SessionError};
use tokio::io::AsyncReadExt;

use super::{Agent, at};

/// A directory that plays an image's root, beside a secret that is not in it.
fn tree() -> tempfile::TempDir {
    let top = tempfile::tempdir().unwrap();
    fs::write(top.path().join("secret"), "outside").unwrap();
    let root = top.path().join("root");
    fs::create_dir_all(root.join("etc/deep/er")).unwrap();
    fs::create_dir(root.join("links")).unwrap();
    fs::write(root.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\n").unwrap();
    fs::write(root.join("etc/deep/er/file"), "12345").unwrap();
    let link = |name: &str, target: &str| symlink(target, root.join("links").join(name)).unwrap();
    link("up", "../../secret");
    link("many-up", "../../../../../../../../../etc/passwd");
    link("absolute", "/etc/passwd");
    link("chain", "absolute");
    link("loop", "loop");
    link("dangling", "/nowhere");
    link("directory", "/etc/deep");
    link("secret", top.path().join("secret").to_str().unwrap());
    top
}

async fn text(session: &Session, root: &Path, path: &str) -> Result<String, SessionError> {
    let (_, mut stream) = session.read(at(root, path), 0, None).await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    Ok(text)
}

async fn all(session: &Session, root: &Path, path: &str) -> BTreeMap<ByteString, Entry> {
    let mut entries = session.walk(at(root, path), false).await.unwrap();
    let mut found = BTreeMap::new();
    while let Some(entry) = entries.next().await.unwrap() {
        assert!(found.insert(entry.path.clone(), entry).is_none());
    }
    found
}

#[tokio::test]
async fn links_stay_within_the_root() {
    let (_agent, session) = Agent::with_session().await;
    let top = tree();
    let root = top.path().join("root");
    let passwd = "root:x:0:0::/root:/bin/sh\n";
    for path in [
        "etc/passwd",
        "/etc/passwd",
        "links/many-up",
        "links/absolute",
        "links/chain",
        "../../../etc/passwd",
        "links/directory/../passwd",
    ] {
        let read = text(&session, &root, path).await;
        assert_eq!(read.unwrap(), passwd, "{path}");
    }
    for (path, errno) in [
        ("links/up", 2),
        ("links/secret", 2),
        ("../secret", 2),
        ("links/dangling", 2),
        ("links/loop", 40),
        ("etc/passwd/x", 20),
        ("etc", 21),
    ] {
        let error = text(&session, &root, path).await.unwrap_err();
        assert_eq!(error.errno(), Some(errno), "{path}: {error}");
    }
}

#[tokio::test]
async fn stat_and_read_link_say_what_the_system_says() {
    let (_agent, session) = Agent::with_session().await;
    let top = tree();
    let root = top.path().join("root");
    let stat = session.stat(at(&root, "etc/passwd"), true).await.unwrap();
    let real = fs::metadata(root.join("etc/passwd")).unwrap();
    assert_eq!((stat.kind, stat.size), (FileKind::File, real.len()));
    assert_eq!(stat.mode, real.mode() & 0o7777);
    assert_eq!((stat.uid, stat.inode), (real.uid(), real.ino()));
    assert_eq!(stat.modified, (real.mtime(), real.mtime_nsec() as u32));
    let link = session.stat(at(&root, "links/chain"), false).await.unwrap();
    assert_eq!(link.kind, FileKind::Link);
    let target = session.read_link(at(&root, "links/chain")).await.unwrap();
    assert_eq!(target, "absolute".into());
    let error = session.read_link(at(&root, "etc")).await.unwrap_err();
    assert_eq!(error.errno(), Some(22));
    let device = session.stat(at(Path::new("/"), "dev/null"), true).await;
    assert_eq!(device.unwrap().special, Some((1, 3)));
    let filesystem = session.statfs(at(&root, "etc")).await.unwrap();
    let real = nix::sys::statvfs::statvfs(&root).unwrap();
    assert_eq!(filesystem.blocks, real.blocks());
    assert_eq!(filesystem.block_size, real.fragment_size());
}

#[tokio::test]
async fn list_and_walk_find_everything_once() {
    let (_agent, session) = Agent::with_session().await;
    let top = tree();
    let root = top.path().join("root");
    let odd = std::ffi::OsStr::new("new\nline \u{e9}");
    fs::write(root.join(odd), "").unwrap();
    let mut names = Vec::new();
    let mut entries = session.list(at(&root, "/")).await.unwrap();
    while let Some(entry) = entries.next().await.unwrap() {
        names.push(entry.path);
    }
    names.sort();
    assert_eq!(names, ["etc", "links", "new\nline \u{e9}"].map(Into::into));
    let found = all(&session, &root, "/").await;
    // Itself, 3 names, and what is below them.
    assert_eq!(found.len(), 1 + 3 + 4 + 8, "{:?}", found.keys());
    assert_eq!(
        found[&"".into()].stat.as_ref().unwrap().kind,
        FileKind::Directory
    );
    assert_eq!(
        found[&"etc/deep/er/file".into()]
            .stat
            .as_ref()
            .unwrap()
            .size,
        5
    );
    assert_eq!(found[&"links/up".into()].link, Some("../../secret".into()));
    assert!(found.values().all(|entry| entry.error.is_none()));
    // A walk that begins at a link is the link, and one at a file is the file.
    assert_eq!(all(&session, &root, "links/directory").await.len(), 1);
    assert_eq!(all(&session, &root, "etc/passwd").await.len(), 1);
}

#[tokio::test]
async fn a_tree_of_many_files_and_many_levels_is_walked_in_constant_memory() {
    let (agent, session) = Agent::with_session().await;
    let top = tempfile::tempdir().unwrap();
    for nth in 0..10_000 {
        fs::write(top.path().join(format!("file-{nth}")), "").unwrap();
    }
    let mut deep = top.path().to_owned();
    for _ in 0..450 {
        deep.push("d");
        fs::create_dir(&deep).unwrap();
    }
    let mut count = 0;
    let mut errors = Vec::new();
    let mut entries = session.walk(at(top.path(), "/"), false).await.unwrap();
    while let Some(entry) = entries.next().await.unwrap() {
        count += 1;
        errors.extend(entry.error);
    }
    // Too deep is told, once.
    assert_eq!(count, 1 + 10_000 + 400 + 1);
    assert_eq!(errors.len(), 1);
    assert!(
        agent.peak() < 16 << 10,
        "the agent had {} KiB",
        agent.peak()
    );
}

#[tokio::test]
async fn a_file_larger_than_all_memory_allowed_is_read_in_parts_and_whole() {
    let (agent, session) = Agent::with_session().await;
    let top = tempfile::tempdir().unwrap();
    let file = fs::File::create(top.path().join("large")).unwrap();
    file.set_len(200 << 20).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"here", 150 << 20).unwrap();
    let (stat, mut stream) = session
        .read(at(top.path(), "large"), 0, None)
        .await
        .unwrap();
    assert_eq!(stat.size, 200 << 20);
    let (mut total, mut buffer) = (0, vec![0; 1 << 18]);
    while let n @ 1.. = stream.read(&mut buffer).await.unwrap() {
        total += n as u64;
    }
    assert_eq!(total, 200 << 20);
    let read = session.read(at(top.path(), "large"), 150 << 20, Some(4));
    let (_, mut stream) = read.await.unwrap();
    let mut part = Vec::new();
    stream.read_to_end(&mut part).await.unwrap();
    assert_eq!(part, b"here");
    let (_, mut stream) = session
        .read(at(top.path(), "large"), 1 << 40, None)
        .await
        .unwrap();
    assert_eq!(stream.read(&mut buffer).await.unwrap(), 0);
    assert!(
        agent.peak() < 16 << 10,
        "the agent had {} KiB",
        agent.peak()
    );
}

#[tokio::test]
async fn what_is_no_file_is_not_read_and_does_not_block() {
    let (_agent, session) = Agent::with_session().await;
    let top = tempfile::tempdir().unwrap();
    nix::unistd::mkfifo(&top.path().join("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let error = text(&session, top.path(), "fifo").await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "\"fifo\": neither a file nor a block device"
    );
    let error = session.list(at(top.path(), "fifo")).await.unwrap_err();
    assert_eq!(error.errno(), Some(20));
    let error = text(&session, Path::new("relative"), "x")
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), "the root must be absolute");
}

#[tokio::test]
async fn a_reader_that_leaves_ends_the_job() {
    let (_agent, session) = Agent::with_session().await;
    // Far more than the number of jobs that there may be at once.
    for _ in 0..150 {
        let read = session.read(at(Path::new("/"), "proc/self/status"), 0, None);
        drop(read.await.unwrap());
        let entries = session.walk(at(Path::new("/"), "usr"), true).await.unwrap();
        drop(entries);
    }
}

#[tokio::test]
async fn a_host_computer_is_not_powered_off_by_an_agent_without_a_port() {
    let (_agent, session) = Agent::with_session().await;
    for result in [
        session.shutdown().await,
        session.reboot().await,
        session.set_clock().await,
    ] {
        assert_eq!(result.unwrap_err().errno(), Some(1));
    }
    session.sync().await.unwrap();
}

#[tokio::test]
async fn an_answer_too_long_to_be_sent_is_told_and_not_waited_for() {
    let (_agent, session) = Agent::with_session().await;
    // In JSON six bytes each: the request just fits, and the answer repeats it with more words.
    let overhead = r#"{"id":1,"op":{"stat":{"at":{"root":"/","path":""},"follow":true}}}"#;
    let path = "\u{1}".repeat((MAX_CONTROL - overhead.len()) / 6);
    let stat = session.stat(at(Path::new("/"), &path), true);
    let error = tokio::time::timeout(super::DEADLINE, stat).await.unwrap();
    let error = error.unwrap_err().to_string();
    assert_eq!(error, "the response is too long to be sent");
    assert!(session.stat(at(Path::new("/"), "/"), true).await.is_ok());
}
