//! The recipes in `docs/` do what they say: every command of every page is typed into a shell, in
//! the page's order, in a directory with the images that it names.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::architecture::root;
use crate::docs::examples::fenced;
use crate::env::guests::guest;
use crate::env::wait::output;

/// A directory with the images that the pages name. A machine is saved by the path of its image: pages in
/// one directory share it.
fn work() -> TempDir {
    let work = tempfile::tempdir_in("/var/tmp").unwrap();
    for name in ["debian12.qcow2", "debian12.raw", "tiny-initrd"] {
        symlink(guest(name), work.path().join(name)).unwrap();
    }
    fs::create_dir(work.path().join("tmp")).unwrap();
    work
}

/// Types the commands of a page. All of them must succeed.
fn follow(page: &str, work: &Path) -> Vec<(String, String)> {
    let text = fs::read_to_string(root().join("docs").join(page)).unwrap();
    let lines = fenced(&text);
    assert!(lines.len() >= 4, "{page}: {lines:?}");
    let bivouac = Path::new(env!("CARGO_BIN_EXE_bivouac")).parent().unwrap();
    let mut path = bivouac.display().to_string();
    for example in ["autopkgtest", "gitlab", "shell", "slurm"] {
        path = format!("{path}:{}", root().join("examples").join(example).display());
    }
    let path = format!("{path}:{}", std::env::var("PATH").unwrap());
    let typed = |line: String| {
        println!("$ {line}");
        let output = output(
            Command::new("bash")
                .args(["-o", "pipefail", "-c", &line])
                .current_dir(work)
                .env("PATH", &path)
                .env("TMPDIR", work.join("tmp"))
                // The images are links here.
                .env(
                    "BIVOUAC_IMAGE_PATH",
                    guest("debian12.qcow2").parent().unwrap(),
                )
                .env("BIVOUAC_ACCEL", "tcg")
                .env("BIVOUAC_TEMPLATES_MAX", "2G")
                .env(
                    "XDG_CACHE_HOME",
                    concat!(env!("CARGO_TARGET_TMPDIR"), "/cache"),
                ),
        );
        let output = output.unwrap();
        assert!(output.status.success(), "{page}: {line}: {output:?}");
        (line, String::from_utf8(output.stdout).unwrap())
    };
    let said = lines.into_iter().map(typed).collect();
    let left = fs::read_dir(work.join("tmp")).unwrap().count();
    assert_eq!(left, 0, "{page}: files are left");
    said
}

/// What the command that begins so has printed.
fn answer<'a>(said: &'a [(String, String)], begin: &str) -> &'a str {
    let found = said.iter().find(|(line, _)| line.starts_with(begin));
    &found.unwrap_or_else(|| panic!("{begin}: {said:?}")).1
}

#[test]
fn the_recipes_of_images_do_what_they_say() {
    let work = work();
    symlink(guest("debian12.qcow2"), work.path().join("stranger.qcow2")).unwrap();
    let said = follow("inspect-a-disk.md", work.path());
    assert!(answer(&said, "bivouac inspect").contains("Debian GNU/Linux 12"));
    assert_eq!(answer(&said, "bivouac diff"), "");
    assert_eq!(answer(&said, "sha256sum --check"), "stranger.qcow2: OK\n");
}

/// A history whose kernel is cut off from one commit on.
const HISTORY: &str = r#"
git init -q linux && cd linux
git config user.name me && git config user.email me@example.org
printf 'bzImage: limit\n\thead -c $$(cat limit) %s > bzImage\n' "$1" > Makefile
echo bzImage > .gitignore
for commit in 1 2 3 4 5 6 7; do
    echo 999M > limit
    [ $commit -lt 5 ] || echo 200K > limit
    echo $commit > version
    git add -A && git commit -q -m "commit $commit"
done
"#;

#[test]
fn a_kernel_is_bisected_as_the_recipe_says() {
    let work = work();
    let kernel = guest("tiny-kernel").display().to_string();
    let mut command = Command::new("bash");
    command.args(["-ec", HISTORY, "history", &kernel]);
    let made = output(command.current_dir(work.path())).unwrap();
    assert!(made.status.success(), "{made:?}");
    let said = follow("bisect-a-kernel.md", work.path());
    let found = answer(&said, "cd linux && git bisect log");
    assert!(found.contains("commit 5"), "{found}");
}

#[test]
fn the_recipes_of_machines_do_what_they_say() {
    let work = work();
    // In one test, since they share the machine that is saved by the first.
    let said = follow("fleets.md", work.path());
    assert_eq!(answer(&said, "seq 3"), "web-1\nweb-2\nweb-3\n");
    let said = follow("rescue-a-file.md", work.path());
    assert_eq!(answer(&said, "cat report"), "42\n");
    assert_eq!(answer(&said, "bivouac cat changed"), "42\n");
    let said = follow("test-a-package.md", work.path());
    assert!(answer(&said, "bivouac test").contains("3 passed"));
    assert!(answer(&said, "cat changes.txt").contains("/usr/bin/hello-test"));
    let said = follow("ci.md", work.path());
    assert_eq!(answer(&said, "grep -c"), "2\n");
}
