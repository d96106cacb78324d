//! Listing and inspecting a tree of this host, through an agent that runs here: no machine is
//! needed for what is done with files.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bivouac::commands::cat;
use bivouac::commands::image_path::ImagePath;
use bivouac::commands::ls::Form;
use bivouac::commands::ls::extras::Extras;
use bivouac::commands::ls::list::{ListOptions, Lister};
use bivouac::commands::ls::tree::Tree;
use bivouac::commands::stdout_sink::StdoutSink;
use bivouac::exit::Status;
use bivouac::inspect::facts::{Facts, facts};
use bivouac::inspect::image_files::ImageFiles;
use bivouac::protocol::PathAt;
use bivouac::session::Session;
use tokio::sync::{mpsc, oneshot};

use crate::env::filesystems::{run, write_files};
use crate::guest::Agent;

/// Results, and what takes them.
fn results(is_terminal: bool) -> (StdoutSink, mpsc::Receiver<Vec<u8>>) {
    let (sender, taker) = mpsc::channel(1000);
    let (done, written) = oneshot::channel();
    done.send(Ok(())).unwrap();
    (StdoutSink::to(sender, written, is_terminal), taker)
}

async fn taken(results: StdoutSink, mut taker: mpsc::Receiver<Vec<u8>>) -> Vec<u8> {
    assert_eq!(results.finish().await.unwrap(), Status::Success);
    let mut bytes = Vec::new();
    while let Some(chunk) = taker.recv().await {
        bytes.extend(chunk);
    }
    bytes
}

fn wanted(form: Form) -> ListOptions {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    ListOptions {
        form,
        recursive: true,
        all: true,
        numeric: true,
        extras: Extras::default(),
        headed: false,
        now: now.as_secs() as i64,
    }
}

fn place(path: &str) -> ImagePath {
    ImagePath {
        image: "".into(),
        path: path.as_bytes().to_vec(),
        is_named: true,
    }
}

/// A tree with a bit of everything, and more directories than are asked for at once.
fn tree(root: &Path) {
    let files: Vec<_> = (0..40).map(|n| format!("many/{n}/deep/{n}/file")).collect();
    let files: Vec<_> = files.iter().map(|file| (&file[..], "text")).collect();
    write_files(root, &files);
    write_files(
        root,
        &[
            ("a b", "1"),
            (".hidden", ""),
            ("B", "22"),
            ("etc/passwd", ""),
        ],
    );
    fs::hard_link(root.join("B"), root.join("same as B")).unwrap();
    symlink("B", root.join("link")).unwrap();
    symlink("/nowhere", root.join("many/dangling")).unwrap();
    fs::File::create(root.join("sparse"))
        .unwrap()
        .set_len(1 << 33)
        .unwrap();
    let path = |name: &str| root.join(name).to_str().unwrap().to_owned();
    run("mkfifo", &["-m", "621", &path("fifo")]);
    run("chmod", &["6751", &path("B")]);
    run("touch", &["-d", "2001-02-03T04:05:06Z", &path("a b")]);
    run(
        "touch",
        &["-d", "2099-02-03T04:05:06Z", &path("etc/passwd")],
    );
}

/// All facts about the system in a directory.
async fn found_in(session: &Session, root: &Path) -> Facts {
    let files = ImageFiles::new(session, root.to_str().unwrap(), true);
    facts(files, &[], false).await.unwrap()
}

#[tokio::test]
async fn a_tree_is_listed_as_gnu_ls_does() {
    let dir = tempfile::tempdir().unwrap();
    tree(dir.path());
    let (_agent, session) = Agent::with_session().await;
    let root = dir.path().to_str().unwrap();
    for (form, options) in [(Form::Long, "-lnRa"), (Form::Short, "-1Ra")] {
        let (mut results, taker) = results(false);
        let lister = Lister::new(&session, root, wanted(form), &mut results, false, true).await;
        assert!(lister.list(&[place("/")]).await.unwrap());
        let ours = String::from_utf8(taken(results, taker).await).unwrap();
        let theirs = Command::new("ls")
            .args([options, "."])
            .env("LC_ALL", "C")
            .env("TZ", "UTC")
            .current_dir(root)
            .output()
            .unwrap();
        let theirs = String::from_utf8(theirs.stdout).unwrap();
        // The root is called by its name there, and an access list has its sign.
        let ours = ours.replace("\n:/", "\n./").replacen(":/:", ".:", 1);
        // Where the tree lies on a root directory of its own, `..` is outside of it.
        let same = |text: &str| {
            let lines = text.lines().skip_while(|line| !line.ends_with("many:"));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        assert!(same(&ours).len() > 200, "{ours}");
        assert_eq!(same(&ours), same(&theirs));
    }
}

#[tokio::test]
async fn what_cannot_be_listed_is_said_and_the_rest_is_listed() {
    let dir = tempfile::tempdir().unwrap();
    write_files(dir.path(), &[("a/file", ""), ("etc/group", "\n")]);
    let (_agent, session) = Agent::with_session().await;
    let root = dir.path().to_str().unwrap();
    let places = [place("/nope"), place("/a"), place("/a/file")];
    let (mut ours, taker) = results(false);
    let lister = Lister::new(&session, root, wanted(Form::Csv), &mut ours, false, true).await;
    assert!(!lister.list(&places).await.unwrap());
    let text = String::from_utf8(taken(ours, taker).await).unwrap();
    let paths: Vec<_> = text
        .lines()
        .map(|line| line.split(',').nth(1).unwrap())
        .collect();
    assert_eq!(paths, ["/a/file", "/a/.", "/a/..", "/a/file"]);
    // Of an image that somebody else writes to, too: what is not there is no torn read.
    let (mut ours, _taker) = results(false);
    let lister = Lister::new(&session, root, wanted(Form::Csv), &mut ours, true, true).await;
    assert!(!lister.list(&places).await.unwrap());
}

#[tokio::test]
async fn a_file_comes_as_it_is_but_never_raw_to_a_terminal() {
    let dir = tempfile::tempdir().unwrap();
    let content = b"a\x1b[2J\n\xff\xc3\xa9".repeat(50_000);
    fs::write(dir.path().join("file"), &content).unwrap();
    let (_agent, session) = Agent::with_session().await;
    let root = dir.path().to_str().unwrap();
    for is_terminal in [false, true] {
        let (mut results, taker) = results(is_terminal);
        cat::print(&session, root, b"/file", &mut results)
            .await
            .unwrap();
        let shown = taken(results, taker).await;
        match is_terminal {
            false => assert!(shown == content),
            true => assert!(shown == "a\\x1b[2J\n\\xffé".repeat(50_000).as_bytes()),
        }
    }
}

#[tokio::test]
async fn results_of_an_image_in_use_are_held_back_until_they_are_whole() {
    let (mut results, mut taker) = results(false);
    results.begin(true).unwrap();
    results.write(&[b'x'; 1 << 20]).await.unwrap();
    results.flush().await.unwrap();
    assert!(taker.try_recv().is_err());
    // Another try.
    results.begin(true).unwrap();
    results.write(b"second").await.unwrap();
    // Of another image, which does not take back what is whole.
    results.commit().await.unwrap();
    results.begin(true).unwrap();
    results.write(b", third").await.unwrap();
    assert_eq!(taken(results, taker).await, b"second, third");

    let (mut results, _taker) = self::results(false);
    results.begin(true).unwrap();
    results.write(&[b'x'; 17 << 20]).await.unwrap();
    let failure = results.begin(true).unwrap_err();
    assert!(
        failure
            .error
            .to_string()
            .contains("changed while it was read")
    );
}

#[tokio::test]
async fn a_reader_that_went_away_ends_us_as_a_signal_would() {
    let (sender, taker) = mpsc::channel(1);
    let (done, written) = oneshot::channel();
    let mut results = StdoutSink::to(sender, written, false);
    drop(taker);
    done.send(Err(std::io::ErrorKind::BrokenPipe.into()))
        .unwrap();
    results.write(b"x").await.unwrap();
    assert!(results.flush().await.is_err());
    assert_eq!(results.finish().await.unwrap(), Status::Signalled(13));
}

/// One record of wtmp: type and seconds.
fn record(kind: u8, seconds: u32) -> Vec<u8> {
    let mut record = vec![0; 384];
    record[0] = kind;
    record[340..344].copy_from_slice(&seconds.to_le_bytes());
    record
}

#[tokio::test]
async fn a_debian_like_tree_shows_what_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    write_files(
        root,
        &[
            ("etc/hostname", "core\n"),
            (
                "etc/passwd",
                "root:x:0:0::/root:/bin/bash\nd:x:1:1::/:/usr/sbin/nologin\n",
            ),
            (
                "var/lib/dpkg/status",
                "Package: a\nStatus: install ok installed\n\nPackage: b\nStatus: deinstall ok config-files\n",
            ),
            ("boot/vmlinuz-6.1.0-9", ""),
            ("usr/lib/modules/6.1.0-9/modules.dep", ""),
            ("usr/lib/systemd/systemd", ""),
        ],
    );
    fs::create_dir_all(root.join("usr/sbin")).unwrap();
    fs::create_dir_all(root.join("usr/bin")).unwrap();
    symlink("usr/sbin", root.join("sbin")).unwrap();
    symlink("usr/bin", root.join("bin")).unwrap();
    symlink("/usr/lib/systemd/systemd", root.join("usr/sbin/init")).unwrap();
    fs::copy("/proc/self/exe", root.join("usr/bin/sh")).unwrap();
    fs::create_dir_all(root.join("var/log")).unwrap();
    let wtmp = [record(2, 1_600_000_000), record(7, 1_700_000_000)].concat();
    fs::write(root.join("var/log/wtmp"), wtmp).unwrap();
    let (_agent, session) = Agent::with_session().await;
    let found = found_in(&session, root).await;
    insta::assert_json_snapshot!("debian", found);
}

#[tokio::test]
async fn an_alpine_like_tree_shows_what_it_is_and_an_empty_one_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    write_files(
        root,
        &[
            ("sbin/openrc", ""),
            ("bin/busybox", "no program"),
            ("etc/passwd", "root:x:0:0:root:/root:/bin/ash\n"),
            (
                "lib/apk/db/installed",
                "C:x\nP:musl\nV:1\n\nC:y\nP:busybox\n",
            ),
            ("lib/modules/6.6.1-0-lts/modules.dep", ""),
            ("boot/vmlinuz-lts", ""),
            ("var/log/journal/0123/system.journal", ""),
        ],
    );
    symlink("/bin/busybox", root.join("sbin/init")).unwrap();
    let journal = fs::File::open(root.join("var/log/journal/0123/system.journal")).unwrap();
    journal
        .set_modified(UNIX_EPOCH + Duration::from_secs(1_650_000_000))
        .unwrap();
    let (_agent, session) = Agent::with_session().await;
    let found = found_in(&session, root).await;
    insta::assert_json_snapshot!("alpine", found);
    let empty = tempfile::tempdir().unwrap();
    let view = ImageFiles::new(&session, empty.path().to_str().unwrap(), true);
    let found = facts(view, &[], false).await.unwrap();
    insta::assert_json_snapshot!("empty", found);
}

#[tokio::test]
async fn a_tree_that_comes_at_once_has_whole_directories_only() {
    let dir = tempfile::tempdir().unwrap();
    tree(dir.path());
    let (_agent, session) = Agent::with_session().await;
    let root = dir.path().to_str().unwrap();
    let at = |path: &str| PathAt {
        root: root.into(),
        path: path.into(),
    };
    let directories = run("find", &[root, "-type", "d", "-printf", "/%P\n"]);
    let mut cut = 0;
    for at_most in [0, 1, 7, 50, 120, 1000] {
        let mut grown = Tree::default();
        grown.grow(&session, at("/"), at_most).await.unwrap();
        let mut held = 0;
        for directory in directories.lines() {
            let Some(mut entries) = grown.take(directory.as_bytes()) else {
                cut += 1;
                assert_ne!(at_most, 1000, "{directory}");
                continue;
            };
            held += entries.len();
            let mut listed = session.list(at(directory)).await.unwrap();
            let mut expected = Vec::new();
            while let Some(entry) = listed.next().await.unwrap() {
                expected.push(entry);
            }
            for entries in [&mut entries, &mut expected] {
                entries.sort_by(|one, other| one.path.cmp(&other.path));
            }
            assert_eq!(entries, expected, "{directory} of {at_most}");
        }
        assert!(held <= at_most);
    }
    assert!(cut > 100, "{cut}");
    // What cannot be walked through is left to be asked for.
    let mut grown = Tree::default();
    for path in ["/B", "/nowhere"] {
        grown.grow(&session, at(path), 10).await.unwrap();
        assert!(!grown.has(path.as_bytes()));
    }
}
