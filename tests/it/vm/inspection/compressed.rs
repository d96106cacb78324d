//! Compressed images: opened through a copy, limited, and never left behind.

use std::fs;

use crate::env::bivouac::Bivouac;
use crate::env::cases::Cases;
use crate::env::filesystems::{filesystem, run, tree};
use crate::env::mount_ns::MountNs;
use crate::env::residue::sha256;
use nix::sys::signal::Signal;

use crate::env::wait::soon;

#[test]
fn compressed_images_are_opened_through_a_copy_of_which_nothing_is_left() {
    let ns = MountNs::new();
    let dir = ns.path("kept");
    let files = tree(&dir, "files", &[("file", "hello")]);
    let options = ["-q", "-d", files.to_str().unwrap()];
    let raw = filesystem(&dir, "image", 8, "mkfs.ext4", &options);
    let mut cases = Cases::default();
    for (program, extension) in [
        ("gzip", "gz"),
        ("xz", "xz"),
        ("zstd", "zst"),
        ("bzip2", "bz2"),
    ] {
        cases.case(program, || {
            run(program, &["-k", raw.to_str().unwrap()]);
            let packed = dir.join(format!("image.{extension}"));
            let before = sha256(&packed);
            let place = format!("{}:/file", packed.display());
            let done = Bivouac::new().args(["cat", &place]).output();
            assert_eq!((done.code(), &*done.stdout), (Some(0), "hello"), "{done:?}");
            let said = format!("compressed with {program}; decompressed to 8 MiB in /var/tmp");
            assert!(done.stderr.contains(&said), "{done:?}");
            let refused = Bivouac::new()
                .args(["cat", "--max-unpack", "1M", &place])
                .output();
            assert_eq!(refused.code(), Some(125), "{refused:?}");
            assert!(refused.stderr.contains("hint: --max-unpack"), "{refused:?}");
            assert_eq!(sha256(&packed), before);
        });
    }
    cases.case("what is cut off is an error", || {
        let whole = fs::read(dir.join("image.xz")).unwrap();
        let cut = dir.join("cut.xz");
        fs::write(&cut, &whole[..whole.len() / 2]).unwrap();
        let place = format!("{}:/file", cut.display());
        let done = Bivouac::new().args(["cat", &place]).output();
        assert_eq!(done.code(), Some(125), "{done:?}");
        assert!(done.stderr.contains("unpacking"), "{done:?}");
    });
    cases.case("a compressed overlay is refused", || {
        let place = tempfile::tempdir().unwrap();
        let (base, top) = (place.path().join("base"), place.path().join("top.qcow2"));
        fs::copy(&raw, &base).unwrap();
        let base = base.to_str().unwrap();
        let create = ["create", "-q", "-f", "qcow2", "-F", "raw", "-b", base];
        run(
            "qemu-img",
            &[&create[..], &[top.to_str().unwrap()]].concat(),
        );
        run("gzip", &[top.to_str().unwrap()]);
        let place = format!("{}.gz:/file", top.display());
        let done = Bivouac::new()
            .args(["cat", "--trust-chain", &place])
            .output();
        assert_eq!(done.code(), Some(125), "{done:?}");
        let said = "lies on another image";
        assert!(done.stderr.contains(said), "{done:?}");
    });
    cases.case("nothing is left of a bomb that is interrupted", || {
        let bomb = "dd if=/dev/zero bs=1M count=1024 status=none | gzip -1";
        run(
            "sh",
            &["-c", &format!("{bomb} >{}", dir.join("bomb").display())],
        );
        let free = ns.free();
        for signal in [Signal::SIGTERM, Signal::SIGKILL] {
            let place = format!("{}:/file", ns.inside("kept/bomb"));
            let running = ns
                .bivouac()
                .args(["cat", "--max-unpack", "1T", &place])
                .start();
            soon("it is opened", || {
                let fds = fs::read_dir(format!("/proc/{}/fd", running.pid())).into_iter();
                let mut paths = fds
                    .flatten()
                    .flatten()
                    .filter_map(|fd| fs::read_link(fd.path()).ok());
                paths.any(|path| path.ends_with("kept/bomb"))
            });
            running.signal(signal);
            let done = running.wait();
            assert!(!done.status.success(), "{done:?}");
            soon("the space is given back", || ns.free() >= free);
            assert!(ns.residue().is_empty(), "{:?}", ns.residue());
        }
    });
}
