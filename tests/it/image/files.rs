//! Regular files and block devices under a layer: how they are opened, and their sizes.

use super::{Images, layers};
use std::fs;

#[test]
fn raw_luks_is_just_raw() {
    let images = Images::new();
    images.raw("luks");
    images.patch("luks", 0, b"LUKS\xba\xbe\0\x02");
    assert_eq!(layers(&images.json(&["luks"])), ["raw content"]);
}

#[test]
fn read_only_by_descriptor_every_layer_is_opened_once_and_never_for_writing() {
    use bivouac::image::chain::{Request, resolve};
    use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
    let images = Images::new();
    images.raw("base.raw");
    images.recording("mid.qcow2", "base.raw", Some("raw"));
    images.recording("top.qcow2", "mid.qcow2", Some("qcow2"));
    let chain = resolve(&Request::of(images.path("top.qcow2"))).expect("it is accepted");
    assert_eq!(chain.layers().len(), 3);
    for layer in chain.layers() {
        let flags = fcntl(layer.fd(), FcntlArg::F_GETFL).expect("flags");
        let flags = OFlag::from_bits_retain(flags);
        assert_eq!(flags & OFlag::O_ACCMODE, OFlag::O_RDONLY);
        assert!(!flags.contains(OFlag::O_NONBLOCK));
        let flags = fcntl(layer.fd(), FcntlArg::F_GETFD).expect("flags");
        assert!(FdFlag::from_bits_retain(flags).contains(FdFlag::FD_CLOEXEC));
    }
}

#[test]
fn a_raw_size_is_rounded_up_to_sectors() {
    let images = Images::new();
    fs::write(images.path("odd"), [1; 1000]).expect("written");
    let json = images.json(&["odd"]);
    assert_eq!(json["virtual_size"], 1024);
    assert_eq!(json["layers"][0]["virtual_size"], 1000);
}

#[test]
fn an_identity_changes_when_the_file_does_and_only_then() {
    use bivouac::image::chain::{Request, resolve};
    let images = Images::new();
    images.raw("disk.raw");
    let chain = resolve(&Request::of(images.path("disk.raw"))).expect("it is accepted");
    let top = chain.top();
    assert_eq!(top.identity_now().expect("fstat"), top.identity());
    // The clock of file systems ticks every few milliseconds.
    crate::env::wait::soon("its time of change differs", || {
        images.patch("disk.raw", 0, b"changed");
        top.identity_now().expect("fstat") != top.identity()
    });
    assert!(
        top.identity_now()
            .expect("fstat")
            .same_file(&top.identity())
    );
}
