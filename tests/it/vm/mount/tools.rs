//! Ordinary programs on a mounted image, by an ordinary user too.

use std::fs;
use std::os::unix::fs::chown;
use std::process::Command;

use super::Mounted;
use crate::env::filesystems::{filesystem, run, tree};
use crate::env::guests::guest;

#[test]
fn find_tar_rsync_grep_and_sha256sum_see_the_files() {
    let dir = tempfile::tempdir().unwrap();
    let mut files: Vec<(String, String)> = (0..300)
        .map(|number| {
            (
                format!("d{}/f{number}", number % 20),
                format!("text {number}\n"),
            )
        })
        .collect();
    files.push(("needle".to_owned(), "needle in it\n".repeat(100_000)));
    let files: Vec<_> = files
        .iter()
        .map(|(path, text)| (&path[..], &text[..]))
        .collect();
    let made = tree(dir.path(), "tree", &files);
    let options = ["-q", "-d", made.to_str().unwrap()];
    let image = filesystem(dir.path(), "image", 32, "mkfs.ext4", &options);
    let mount = Mounted::new(&image, &[]);
    let (top, copies) = (mount.place.path(), dir.path().join("copies"));
    fs::create_dir(&copies).unwrap();
    let line = "set -e
        [ $(find \"$1\" -type f | wc -l) = 301 ]
        grep -rlc needle \"$1\" | grep -q '/needle$'
        tar -cf - -C \"$1\" --exclude lost+found . | tar -xf - -C \"$2\"
        diff -r \"$2\" \"$3\"
        rsync -a --exclude lost+found \"$1\"/ \"$2\"/rsync
        rsync -anc --out-format=%n --delete --exclude lost+found \"$1\"/ \"$2\"/rsync
        cd \"$3\"; find . -type f -exec sha256sum {} + >\"$2\"/sums
        cd \"$1\"; sha256sum --quiet -c \"$2\"/sums; du -s . >/dev/null; df . >/dev/null";
    let paths = [top, &copies, &made].map(|path| path.to_str().unwrap());
    let said = run("bash", &[&["-c", line, "bash"], &paths[..]].concat());
    assert_eq!(said, "");
    assert_eq!(mount.end().code(), Some(0));
}

#[test]
fn an_ordinary_user_mounts_for_a_command_and_at_a_directory() {
    let home = tempfile::tempdir().unwrap();
    let path = |name: &str| home.path().join(name);
    fs::copy(env!("CARGO_BIN_EXE_bivouac"), path("bivouac")).unwrap();
    fs::copy(guest("box.qcow2"), path("box.qcow2")).unwrap();
    fs::create_dir(path("place")).unwrap();
    for name in ["", "place"] {
        chown(path(name), Some(65_534), Some(65_534)).unwrap();
    }
    let line = "./bivouac mount box.qcow2 -- cat {}/etc/hostname
        ./bivouac mount --quiet box.qcow2 place & pid=$!
        until [ -e place/etc ]; do sleep 0.1; done
        cat place/etc/hostname; stat -c %u:%g place/etc
        kill -KILL $pid; wait $pid; until [ ! -e place/etc ]; do sleep 0.1; done; ls place";
    let output = Command::new("setpriv")
        .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
        .args(["timeout", "120", "bash", "-c", line])
        .current_dir(home.path())
        .env("BIVOUAC_ACCEL", "tcg")
        .env("HOME", home.path())
        .env("TMPDIR", home.path())
        .env_remove("XDG_CACHE_HOME")
        .env_remove("XDG_RUNTIME_DIR")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "box\nbox\n0:0\n",
        "{said}"
    );
    let mounts = fs::read_to_string("/proc/mounts").unwrap();
    assert!(!mounts.contains(home.path().to_str().unwrap()), "{mounts}");
}
