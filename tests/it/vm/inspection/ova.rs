//! OVAs: their disks are those of one machine, through copies; nothing outside the archive is opened, and
//! nothing is left.

use std::fs;
use std::os::unix::fs::symlink;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::env::bivouac::Bivouac;
use crate::env::cases::Cases;
use crate::env::filesystems::{filesystem, run, tree};
use crate::env::mount_ns::MountNs;
use crate::env::ova::{ova, ovf, vmdk};
use crate::env::residue::sha256;
use crate::env::wait::soon;

#[test]
fn the_disks_of_an_ova_are_those_of_the_machine_and_nothing_else_is_opened() {
    let ns = MountNs::new();
    let dir = ns.path("kept");
    for name in ["one", "two"] {
        let files = tree(&dir, &format!("{name}.d"), &[("file", name)]);
        let options = ["-q", "-L", name, "-d", files.to_str().unwrap()];
        let raw = filesystem(&dir, &format!("{name}.raw"), 8, "mkfs.ext4", &options);
        vmdk(&raw);
    }
    run("gzip", &["-k", dir.join("one.vmdk").to_str().unwrap()]);
    let disks = ["one.vmdk", "two.vmdk"];
    let whole = ova(&dir, "whole.ova", &ovf(&disks, ""), &disks);
    let mut cases = Cases::default();
    let cat = |image: &str, options: &[&str]| {
        let place = format!("{image}:/file");
        Bivouac::new().arg("cat").args(options).arg(&place).output()
    };
    cases.case("disks in the order of the descriptor", || {
        let before = sha256(&whole);
        let name = whole.to_str().unwrap();
        for (device, text) in [("/dev/vda", "one"), ("/dev/vdb", "two")] {
            let done = cat(name, &["--root", device]);
            assert_eq!((done.code(), &*done.stdout), (Some(0), text), "{done:?}");
            let said = "an OVA; its disks were copied to /var/tmp: one.vmdk (";
            assert!(done.stderr.contains(said), "{done:?}");
        }
        assert_eq!(sha256(&whole), before);
    });
    cases.case("compressed disks, and a compressed archive", || {
        let packed = ovf(&["one.vmdk.gz"], r#" ovf:compression="gzip""#);
        let packed = ova(&dir, "packed.ova", &packed, &["./one.vmdk.gz"]);
        run("gzip", &["-k", packed.to_str().unwrap()]);
        for name in ["packed.ova", "packed.ova.gz"] {
            let done = cat(dir.join(name).to_str().unwrap(), &[]);
            assert_eq!((done.code(), &*done.stdout), (Some(0), "one"), "{done:?}");
        }
    });
    cases.case("it is mounted, and inspected beside other images", || {
        let name = whole.to_str().unwrap();
        let mounted = Bivouac::new()
            .args(["mount", "--root", "/dev/vdb", name])
            .args(["--", "cat", "{}/file"])
            .output();
        assert_eq!(
            (mounted.code(), &*mounted.stdout),
            (Some(0), "two"),
            "{mounted:?}"
        );
        let raw = dir.join("two.raw").display().to_string();
        run("xz", &["-k", &raw]);
        let (packed, none) = (raw.clone() + ".xz", raw.clone() + ".gz");
        let images = [&raw, name, &packed, &none];
        let done = Bivouac::new()
            .args(["inspect", "--json"])
            .args(images)
            .output();
        assert_eq!(done.code(), Some(1), "{done:?}");
        let reports = done
            .stdout
            .lines()
            .map(|line| serde_json::from_str(line).unwrap());
        let reports: Vec<Value> = reports.collect();
        let disks = |report: &Value| report["disks"].as_array().map(Vec::len);
        let found: Vec<_> = reports.iter().map(disks).collect();
        assert_eq!(found, [Some(1), Some(2), Some(1), None], "{reports:?}");
        let label = |report: &Value, disk: usize| report["disks"][disk]["content"]["label"].clone();
        let labels = [(0, 0), (1, 0), (1, 1), (2, 0)].map(|(at, disk)| label(&reports[at], disk));
        assert_eq!(labels, ["two", "one", "two", "two"]);
        // A drive is no place for it.
        let drive = Bivouac::new().args(["run", "--dry-run", &raw, "--cdrom", &packed]);
        let drive = drive.output();
        assert_eq!(drive.code(), Some(125), "{drive:?}");
        assert!(drive.stderr.contains("hint: xz -dk "), "{drive:?}");
    });
    cases.case("both disks count for the limit", || {
        let size = fs::metadata(dir.join("one.vmdk")).unwrap().len();
        let limit = (size * 3 / 2).to_string();
        let done = cat(whole.to_str().unwrap(), &["--max-unpack", &limit]);
        assert_eq!(done.code(), Some(125), "{done:?}");
        assert!(done.stderr.contains("hint: --max-unpack SIZE"), "{done:?}");
    });
    cases.case("names that lead out of the archive", || {
        let outside = dir.join("one.raw").display().to_string();
        symlink("one.raw", dir.join("link.vmdk")).unwrap();
        fs::create_dir_all(dir.join("sub")).unwrap();
        let refused = [
            ("../one.raw", "which does not lie in the archive"),
            (&outside, "which does not lie in the archive"),
            (
                "http://127.0.0.1:1/x.vmdk",
                "which does not lie in the archive",
            ),
            ("one.raw", "which is not in the archive"),
            ("link.vmdk", "is no regular file in the archive"),
        ];
        for (name, why) in refused {
            // Members of these names are no better.
            let members: &[&str] = match name {
                "../one.raw" => &["sub/../one.raw"],
                "one.raw" | "http://127.0.0.1:1/x.vmdk" => &[],
                name => &[name],
            };
            let bad = ova(&dir, "bad.ova", &ovf(&[name], ""), members);
            let done = cat(bad.to_str().unwrap(), &[]);
            assert_eq!(done.code(), Some(125), "{name}: {done:?}");
            assert!(done.stderr.contains(why), "{name}: {done:?}");
            assert!(done.stderr.contains("hint: tar -xf "), "{name}: {done:?}");
        }
    });
    cases.case("a disk that lies on another", || {
        let (top, base) = (dir.join("top.qcow2"), dir.join("one.raw"));
        let paths = [&base, &top].map(|path| path.to_str().unwrap());
        let create = ["create", "-q", "-f", "qcow2", "-F", "raw", "-b"];
        run("qemu-img", &[&create[..], &paths].concat());
        let bad = ova(&dir, "bad.ova", &ovf(&["top.qcow2"], ""), &["top.qcow2"]);
        let done = cat(bad.to_str().unwrap(), &["--trust-chain"]);
        assert_eq!(done.code(), Some(125), "{done:?}");
        assert!(done.stderr.contains("lies on another image"), "{done:?}");
    });
    cases.case("nothing is left of a bomb that is interrupted", || {
        let bomb = "dd if=/dev/zero bs=1M count=1024 status=none | gzip -1";
        run(
            "sh",
            &["-c", &format!("{bomb} >{}", dir.join("bomb.gz").display())],
        );
        ova(&dir, "bomb.ova", &ovf(&["bomb.gz"], ""), &["bomb.gz"]);
        let place = format!("{}:/file", ns.inside("kept/bomb.ova"));
        let limited = ns.bivouac().args(["cat", "--max-unpack", "64M", &place]);
        let limited = limited.output();
        assert!(limited.stderr.contains("hint: --max-unpack"), "{limited:?}");
        let free = ns.free();
        for signal in [Signal::SIGTERM, Signal::SIGKILL] {
            let running = ns.bivouac().args(["cat", "--max-unpack", "1T", &place]);
            let running = running.start();
            soon("it is opened", || {
                let fds = fs::read_dir(format!("/proc/{}/fd", running.pid())).into_iter();
                let fds = fds.flatten().flatten();
                let mut paths = fds.filter_map(|fd| fs::read_link(fd.path()).ok());
                paths.any(|path| path.ends_with("kept/bomb.ova"))
            });
            running.signal(signal);
            let done = running.wait();
            assert!(!done.status.success(), "{done:?}");
            soon("the space is given back", || ns.free() >= free);
            assert!(ns.residue().is_empty(), "{:?}", ns.residue());
        }
    });
}
