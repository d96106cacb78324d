//! The initramfs, as it is made for the kernels of this host.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use bivouac::appliance::{ApplianceError, boot_image, initramfs_with, self_elf, vmlinux};
use bivouac::host::kernel::{self, Kernel};

use crate::env::filesystems::run;

fn bytes(kernel: &Kernel) -> Vec<u8> {
    let init = File::open(env!("CARGO_BIN_EXE_bivouac")).unwrap();
    let init = self_elf::mapped_part(&init).unwrap();
    let made = initramfs_with(kernel, &init).unwrap();
    let mut bytes = vec![0; made.metadata().unwrap().len() as usize];
    made.read_exact_at(&mut bytes, 0).unwrap();
    assert!(made.write_at(b"x", 0).is_err(), "it is sealed");
    bytes
}

#[test]
fn the_same_kernel_and_program_give_the_same_bytes_which_cpio_understands() {
    let kernel = kernel::find(None).unwrap();
    let first = bytes(&kernel);
    assert!(first == bytes(&kernel));
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("initramfs"), &first).unwrap();
    let listed = Command::new("cpio")
        .args(["-i", "--quiet", "--no-absolute-filenames"])
        .current_dir(dir.path())
        .stdin(File::open(dir.path().join("initramfs")).unwrap())
        .output()
        .unwrap();
    assert!(listed.status.success(), "{listed:?}");
    // What was cut off of the program is not missed.
    let init = dir.path().join("bivouac");
    fs::rename(dir.path().join("init"), &init).unwrap();
    assert!(run(init.to_str().unwrap(), &["--version"]).starts_with("bivouac "));
    let list = fs::read_to_string(dir.path().join("modules/list")).unwrap();
    let modules = fs::read_dir(dir.path().join("modules")).unwrap().count() - 1;
    let file = |line| str::split(line, " ").nth(1).unwrap();
    let mut named: Vec<_> = list.lines().map(file).collect();
    named.sort_unstable();
    named.dedup();
    assert_eq!(named.len(), modules);
    for name in named {
        assert!(dir.path().join("modules").join(name).exists(), "{name}");
    }
}

/// This host's modules as links in `to`, those in some directories packed by `tool`, as modules.dep
/// then says too.
fn packed(to: &Path, tool: &[&str], ending: &str) -> Kernel {
    let own = kernel::find(None).unwrap();
    let from = own.modules.clone().unwrap();
    run("cp", &["-rs", from.to_str().unwrap(), to.to_str().unwrap()]);
    let list = to.join("modules.dep");
    let text = fs::read_to_string(&list).unwrap();
    let places = [
        "fs/xfs",
        "lib",
        "drivers/virtio",
        "drivers/block",
        "drivers/md",
    ];
    let is_packed = |file: &str| {
        let mut places = places.iter().map(|place| format!("kernel/{place}/"));
        places.any(|place| file.starts_with(&place))
    };
    let lines = text.lines().map(|line| {
        let (file, needs) = line.split_once(':').unwrap();
        if is_packed(file) {
            let link = to.join(file);
            fs::remove_file(&link).unwrap();
            let packed = File::create(to.join(format!("{file}.{ending}"))).unwrap();
            let mut command = Command::new(tool[0]);
            command.args(&tool[1..]).arg("-c").arg(from.join(file));
            assert!(command.stdout(packed).status().unwrap().success());
        }
        let name = |file: &str| match is_packed(file) {
            true => format!("{file}.{ending}"),
            false => file.to_owned(),
        };
        let needs: Vec<_> = needs.split_whitespace().map(name).collect();
        format!("{}: {}\n", name(file), needs.join(" "))
    });
    let lines: String = lines.collect();
    fs::remove_file(&list).unwrap();
    fs::write(&list, lines).unwrap();
    Kernel {
        modules: Some(to.to_owned()),
        ..own
    }
}

#[test]
fn compressed_modules_give_the_same_initramfs_as_plain_ones() {
    let plain = bytes(&kernel::find(None).unwrap());
    let xz: &[&str] = &["xz", "-0", "--check=crc32"];
    let zstd: &[&str] = &["zstd", "-q", "-1"];
    for (tool, ending) in [(xz, "xz"), (&["gzip", "-1"], "gz"), (zstd, "zst")] {
        let dir = tempfile::tempdir().unwrap();
        let kernel = packed(&dir.path().join("modules"), tool, ending);
        assert!(bytes(&kernel) == plain, "{ending}");
    }
}

#[test]
fn a_kernel_without_virtio_is_refused_with_a_hint() {
    let dir = tempfile::tempdir().unwrap();
    let modules = dir.path().join("modules");
    fs::create_dir(&modules).unwrap();
    fs::write(modules.join("modules.dep"), "kernel/fs/xfs/xfs.ko:\n").unwrap();
    let kernel = Kernel {
        image: "/boot/vmlinuz-x".into(),
        release: None,
        modules: Some(modules.clone()),
        newer_unreadable: None,
    };
    let error = initramfs_with(&kernel, b"init").unwrap_err();
    assert!(error.to_string().contains("has no virtio_pci"), "{error}");
    assert!(error.hint().unwrap().contains("BIVOUAC_KERNEL"));
    fs::remove_file(modules.join("modules.dep")).unwrap();
    let error = initramfs_with(&kernel, b"init").unwrap_err();
    assert!(error.hint().unwrap().contains("depmod"), "{error}");
    let none = Kernel {
        modules: None,
        ..kernel
    };
    let error = initramfs_with(&none, b"init").unwrap_err();
    assert!(matches!(error, ApplianceError::NoModules { .. }));
    assert!(error.hint().unwrap().contains("BIVOUAC_KERNEL"));
}

#[test]
fn a_program_that_is_not_static_is_refused() {
    let shell = File::open("/bin/sh").unwrap();
    let error = self_elf::mapped_part(&shell).unwrap_err();
    assert!(error.to_string().contains("statically"), "{error}");
    let mut text = tempfile::tempfile().unwrap();
    std::io::Write::write_all(&mut text, &[b'x'; 100]).unwrap();
    assert!(self_elf::mapped_part(&text).is_err());
    let mut itself = Vec::new();
    File::open(env!("CARGO_BIN_EXE_bivouac"))
        .unwrap()
        .read_to_end(&mut itself)
        .unwrap();
    let own = File::open(env!("CARGO_BIN_EXE_bivouac")).unwrap();
    assert!(self_elf::mapped_part(&own).unwrap().len() <= itself.len());
}

#[test]
fn every_kernel_of_this_host_is_unpacked_for_the_pvh_entry_or_booted_as_it_is() {
    let boot = fs::read_dir("/boot").unwrap().flatten();
    let names = boot.map(|entry| entry.path());
    let kernels = names.filter(|path| path.to_string_lossy().contains("/vmlinuz-"));
    for path in kernels {
        let kernel = kernel::find(Some(&path)).unwrap();
        let file = boot_image(&kernel).unwrap();
        let mut magic = [0; 4];
        file.read_exact_at(&mut magic, 0).unwrap();
        let own = fs::read(&path).unwrap();
        let packed_by_xz = own.windows(6).any(|window| window == b"\xfd7zXZ\0");
        assert_eq!(packed_by_xz, &magic == b"\x7fELF", "{path:?}");
    }
    // What is no kernel is left alone.
    for bytes in [&b"HdrS"[..], &[0xff; 2000], b"\x7fELF\x02\x01"] {
        let file = tempfile::tempfile().unwrap();
        vmlinux::write(bytes, &file).unwrap();
        let mut written = vec![0; file.metadata().unwrap().len() as usize];
        file.read_exact_at(&mut written, 0).unwrap();
        assert_eq!(written, bytes);
    }
}
