//! `bivouac kernel` where there is no kernel: from the distribution's own packages, and killed at any
//! instant.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::env::bivouac::{Bivouac, Running, children};
use crate::env::guests::guest;
use crate::env::random::Random;
use crate::env::residue::alive;
use crate::env::wait::soon;

/// In a mount namespace without kernels, as a user who is nobody in particular.
const WITHOUT_KERNELS: &str = r#"
mkdir empty home
mount --bind empty /boot
mount --bind empty /lib/modules
mount -t tmpfs -o size=1m none /var/lib/bivouac 2>/dev/null || true
cp "$IMAGE" home/box.qcow2
cp "$PROGRAM" bivouac
chmod 755 . bivouac
chown -R 1234:1234 home
cd home
export HOME="$PWD" BIVOUAC_ACCEL=tcg
bivouac() { setpriv --reuid 1234 --regid 1234 --clear-groups ../bivouac "$@"; }
"#;

fn without_kernels(script: &str) -> String {
    let here = tempfile::tempdir_in("/var/tmp").unwrap();
    let output = Command::new("unshare")
        .args(["--mount", "--", "sh", "-euc"])
        .arg(format!("{WITHOUT_KERNELS}\n{script}"))
        .current_dir(here.path())
        .env("PROGRAM", env!("CARGO_BIN_EXE_bivouac"))
        .env("IMAGE", guest("box.qcow2"))
        .env_remove("XDG_DATA_HOME")
        .env_remove("XDG_CACHE_HOME")
        .env_remove("BIVOUAC_KERNEL")
        .output()
        .expect("unshare of util-linux runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let said = text(&output.stdout) + &text(&output.stderr);
    assert!(output.status.success(), "{said}");
    said
}

#[test]
fn without_a_kernel_any_user_fetches_that_of_the_distribution() {
    let said = without_kernels(
        r#"
bivouac cat box.qcow2:/etc/os-release 2>&1 && exit 1
bivouac doctor --json | grep -o 'bivouac kernel fetch' | head -1
bivouac kernel fetch 2>&1
bivouac kernel ls
test ! -e .local/share/bivouac/kernels/.new
bivouac doctor | grep kernels/
bivouac cat box.qcow2:/etc/os-release
bivouac kernel rm --all 2>&1
bivouac cat box.qcow2:/etc/os-release 2>/dev/null && exit 1
find .local -type f -printf '%p is left\n'
"#,
    );
    let has = |text: &str| assert!(said.contains(text), "{text}: {said}");
    has("error: there is no kernel");
    has("hint: `bivouac kernel fetch` (needs no root)");
    has("\nfetched ");
    has("MiB  used by the appliance\n");
    has("ok    the appliance's kernel is ");
    has("\nID=box\n");
    has("\nremoved ");
    has(".local/share/bivouac/kernels/.lock is left\n");
    assert_eq!(said.matches(" is left").count(), 1, "{said}");
}

/// This host's kernel with a part of its modules as a package, and its release.
fn package(directory: &Path) -> (PathBuf, String) {
    let script = r#"
kernel=$(ls -v /boot/vmlinuz-* | tail -1)
release=${kernel#/boot/vmlinuz-}
cd /
set -- lib/modules/$release/kernel
tar -cf "$HERE/data.tar" boot/vmlinuz-$release lib/modules/$release/modules.builtin \
    $1/fs $1/lib $1/crypto $1/arch $1/net/9p $1/drivers/block $1/drivers/virtio $1/drivers/md \
    $1/drivers/char $1/drivers/scsi/*.ko* $1/drivers/cdrom $1/drivers/nvme
cd "$HERE"
echo 2.0 >debian-binary
ar rc kernel.deb debian-binary data.tar
rm data.tar
echo "$release"
"#;
    let output = Command::new("sh")
        .args(["-euc", script])
        .env("HERE", directory)
        .output();
    let output = output.unwrap();
    assert!(output.status.success(), "{output:?}");
    let release = String::from_utf8(output.stdout).unwrap().trim().to_owned();
    (directory.join("kernel.deb"), release)
}

fn kernel(home: &Path, words: &[&str]) -> Bivouac {
    Bivouac::new()
        .arg("kernel")
        .args(words)
        .env("XDG_DATA_HOME", home)
}

fn killed(running: Running, signal: Signal) -> Option<i32> {
    let started = children(running.pid());
    running.signal(signal);
    let finished = running.wait();
    soon("its processes are gone", || {
        !started.iter().any(|pid| alive(*pid))
    });
    finished.code()
}

#[test]
fn a_fetch_that_is_killed_leaves_nothing_that_is_used_and_the_next_removes_it() {
    let directory = tempfile::tempdir_in("/var/tmp").unwrap();
    let (package, release) = package(directory.path());
    let package = package.to_str().unwrap();
    let home = directory.path().join("home");
    let kernels = home.join("bivouac/kernels");
    let names = || -> Vec<_> {
        let entries = fs::read_dir(&kernels).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name()).collect()
    };
    let begun = Instant::now();
    let finished = kernel(&home, &["fetch", package]).output();
    assert_eq!(finished.code(), Some(0), "{finished:?}");
    let whole = begun.elapsed().as_millis() as u64;
    let size = |home: &Path| {
        let listed = kernel(home, &["ls", "--json"]).output();
        let listed: serde_json::Value = serde_json::from_str(&listed.stdout).unwrap();
        listed["kernels"][0]["bytes"].clone()
    };
    let complete = size(&home);
    let mut random = Random::new();
    for round in 0..6 {
        let signal = [Signal::SIGKILL, Signal::SIGTERM, Signal::SIGKILL][round % 3];
        let removed = kernel(&home, &["rm", "--all"]).output();
        assert_eq!(removed.code(), Some(0), "{removed:?}");
        let running = kernel(&home, &["fetch", package]).start();
        std::thread::sleep(Duration::from_millis(random.below(whole)));
        let code = killed(running, signal);
        if signal == Signal::SIGTERM && code != Some(0) {
            assert_eq!(code, Some(143));
            assert!(!names().iter().any(|name| name == ".new"), "{:?}", names());
        }
        // What has its name is whole.
        match size(&home) {
            serde_json::Value::Null => {}
            bytes => assert_eq!(bytes, complete),
        }
    }
    let again = kernel(&home, &["fetch", package]).output();
    assert_eq!(again.code(), Some(0), "{again:?}");
    let mut left = names();
    left.sort();
    assert_eq!(left, [".lock", release.as_str()]);
    assert_eq!(size(&home), complete);
    // One that is there is replaced.
    let again = kernel(&home, &["fetch", package]).output();
    assert_eq!(
        (again.code(), size(&home)),
        (Some(0), complete),
        "{again:?}"
    );
}
