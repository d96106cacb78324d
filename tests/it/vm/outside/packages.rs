//! The Debian package, installed and removed by dpkg. `scripts/try-packages` does more: bare roots, apt,
//! the other packages, the program of a release. Here it is this system, under an overlay, and the
//! program of the tests.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::env::guests::{guest, tiny};

/// Makes the package of $PROGRAM, and prints its path.
const MAKE: &str = r#"
scripts/dist-files "$PROGRAM"
DEB_COMPRESSION=-Znone scripts/deb "$HERE"
"#;

/// Installs, uses and removes it in a root of its own; prints what was found.
const USE: &str = r#"
mount -t tmpfs -o size=4g tmpfs "$HERE/root"
cd "$HERE/root"
mkdir above work root
mount -t overlay -o "lowerdir=/,upperdir=$PWD/above,workdir=$PWD/work" overlay root
mount -t proc proc root/proc
mount --rbind /dev root/dev
mount -t tmpfs tmpfs root/tmp
mkdir root/tmp/in
mount --bind "$HERE/in" root/tmp/in
for file in $FILES; do
    touch "root/tmp/${file##*/}"
    mount --bind -o ro "$file" "root/tmp/${file##*/}"
done
inside() {
    chroot root env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C \
        BIVOUAC_ACCEL=tcg DEBIAN_FRONTEND=noninteractive "$@"
}
inside dpkg --purge bivouac >/dev/null 2>&1 || true
inside dpkg --install /tmp/in/bivouac.deb >/dev/null
inside bivouac --version
inside bivouac cat /tmp/box.raw:/etc/os-release | head -1
inside bivouac run --quiet $OPTIONS /tmp/box.raw -- echo done
for page in bivouac bivouac-run bivouac-session.5; do inside man -w "$page"; done
inside bash -c '. /usr/share/bash-completion/completions/bivouac; complete -p bivouac' | cut -d' ' -f1
inside dpkg --verify bivouac
echo installed: $(inside dpkg-query -W -f '${Status}' bivouac)
inside dpkg --purge bivouac >/dev/null
echo left:
cd above
find . ! -type d ! -path './var/lib/dpkg/*' ! -path './var/log/*' ! -path './var/cache/man/*' \
    ! -type c
find . -iname '*bivouac*' ! -path './var/lib/dpkg/*' ! -type c
"#;

fn sh(script: &str, unshared: bool, variables: &[(&str, &str)]) -> String {
    let mut command = match unshared {
        true => Command::new("unshare"),
        false => Command::new("env"),
    };
    if unshared {
        command.arg("--mount");
    }
    let output = command
        .args(["bash", "-euc", script])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .output()
        .expect("bash runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}{error}");
    text
}

/// What [`USE`] prints.
const TOLD: &str = "\
bivouac VERSION
ID=box
done
/usr/share/man/man1/bivouac.1.gz
/usr/share/man/man1/bivouac-run.1.gz
/usr/share/man/man5/bivouac-session.5.gz
complete
installed: install ok installed
left:";

#[test]
fn the_debian_package_works_when_it_is_installed_and_leaves_nothing_when_it_is_removed() {
    let directory = tempfile::tempdir().expect("a directory");
    let here = directory.path();
    for name in ["in", "root"] {
        std::fs::create_dir(here.join(name)).expect("a directory");
    }
    let place = here.join("in");
    let program = env!("CARGO_BIN_EXE_bivouac");
    let variables = [("PROGRAM", program), ("HERE", text(&place))];
    sh(MAKE, false, &variables);
    let made = std::fs::read_dir(&place).expect("a directory").next();
    let made = made.expect("a package").expect("a package").path();
    let version = env!("CARGO_PKG_VERSION");
    let name = format!("bivouac_{version}-1_amd64.deb");
    assert_eq!(made.file_name(), Some(name.as_ref()));
    std::fs::rename(&made, place.join("bivouac.deb")).expect("renamed");

    let files = ["box.raw", "tiny-kernel", "tiny-initrd"].map(guest);
    let files = files.each_ref().map(|path| text(path)).join(" ");
    let inside = |word: String| match Path::new(&word).is_absolute() {
        true => format!("/tmp/{}", word.rsplit('/').next().unwrap_or_default()),
        false => word.replace(' ', "\\ "),
    };
    // The words of a command line, for the shell's `eval`.
    let options: Vec<_> = tiny("switch").into_iter().map(inside).collect();
    let script = USE.replace("$OPTIONS", &options.join(" "));
    let variables = [("HERE", text(here)), ("FILES", &files)];
    let told = sh(&script, true, &variables).replace(version, "VERSION");
    assert_eq!(told.trim_end(), TOLD);
}

fn text(path: &Path) -> &str {
    path.to_str().expect("text")
}
