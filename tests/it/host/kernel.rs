//! The appliance's kernel, in boot directories made for the purpose.

use std::fs;
use std::path::{Path, PathBuf};

use bivouac::host::kernel;

/// A root directory with these kernels, and modules for these releases.
fn root(kernels: &[&str], modules: &[&str]) -> tempfile::TempDir {
    let root = tempfile::tempdir().expect("a directory");
    fs::create_dir(root.path().join("boot")).expect("boot");
    for kernel in kernels {
        fs::write(root.path().join("boot").join(kernel), "").expect("a kernel");
    }
    for release in modules {
        fs::create_dir_all(modules_of(root.path(), release)).expect("modules");
    }
    root
}

fn modules_of(root: &Path, release: &str) -> PathBuf {
    root.join("lib/modules").join(release)
}

/// The smallest bzImage that tells its release (Documentation/arch/x86/boot.rst).
fn bzimage(release: &str) -> Vec<u8> {
    let mut image = vec![0; 0x400];
    image[0x202..0x206].copy_from_slice(b"HdrS");
    image[0x20e..0x210].copy_from_slice(&0x100_u16.to_le_bytes());
    let text = format!("{release} (builder) #1 SMP\0");
    image[0x300..0x300 + text.len()].copy_from_slice(text.as_bytes());
    image
}

#[test]
fn the_newest_kernel_with_modules_is_taken() {
    let kernels = [
        "vmlinuz-6.1.0-9-amd64",
        "vmlinuz-6.1.0-10-amd64",
        "vmlinuz-6.1.0-11-amd64",
    ];
    let root = root(&kernels, &["6.1.0-9-amd64", "6.1.0-10-amd64"]);
    let found = kernel::find_in(None, root.path()).expect("a kernel");
    assert_eq!(found.image, root.path().join("boot/vmlinuz-6.1.0-10-amd64"));
    assert_eq!(found.release.as_deref(), Some("6.1.0-10-amd64"));
    assert_eq!(
        found.modules,
        Some(modules_of(root.path(), "6.1.0-10-amd64"))
    );
}

#[test]
fn a_kernel_that_lies_beside_its_modules_is_found() {
    let root = root(&["vmlinuz-linux"], &["6.12.1-arch1-1"]);
    let image = modules_of(root.path(), "6.12.1-arch1-1").join("vmlinuz");
    fs::write(&image, "").expect("a kernel");
    assert_eq!(
        kernel::find_in(None, root.path()).expect("a kernel").image,
        image
    );
}

#[test]
fn a_kernel_of_an_unpacked_package_has_its_modules_beside_it() {
    let host = root(&[], &[]);
    for lib in ["lib/modules", "usr/lib/modules"] {
        let tree = root(&["vmlinuz-6.12.1-amd64"], &[]);
        let modules = tree.path().join(lib).join("6.12.1-amd64");
        fs::create_dir_all(&modules).expect("modules");
        let image = tree.path().join("boot/vmlinuz-6.12.1-amd64");
        let found = kernel::find_in(Some(&image), host.path()).expect("a kernel");
        assert_eq!(found.modules, Some(modules));
    }
}

#[test]
fn a_named_kernel_tells_its_release_by_its_header_before_its_name() {
    let root = root(&[], &["6.9.1-custom"]);
    let path = root.path().join("vmlinuz-other");
    fs::write(&path, bzimage("6.9.1-custom")).expect("a kernel");
    let found = kernel::find_in(Some(&path), root.path()).expect("a kernel");
    assert_eq!(found.release.as_deref(), Some("6.9.1-custom"));
    assert_eq!(found.modules, Some(modules_of(root.path(), "6.9.1-custom")));
    fs::write(&path, "an ELF, say").expect("a kernel");
    let found = kernel::find_in(Some(&path), root.path()).expect("a kernel");
    assert_eq!(
        (found.release.as_deref(), found.modules),
        (Some("other"), None)
    );
}

#[test]
fn without_a_kernel_or_with_a_named_one_that_cannot_be_read_the_hint_is_told() {
    let root = root(&["vmlinuz-6.1.0-9-amd64"], &[]);
    let tell = |explicit: Option<&Path>| {
        let error = kernel::find_in(explicit, root.path()).expect_err("there is none");
        assert!(error.hint().is_some());
        error
            .to_string()
            .replace(&root.path().display().to_string(), "ROOT")
    };
    insta::assert_snapshot!(tell(None),
        @"there is no kernel ROOT/boot/vmlinuz-* with its modules in /lib/modules");
    insta::assert_snapshot!(tell(Some(Path::new("/no/kernel"))),
        @"the kernel /no/kernel cannot be read");
    insta::assert_snapshot!(tell(Some(root.path())), @"the kernel ROOT cannot be read");
}
