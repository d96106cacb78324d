//! The guest's disk as bivouac reads it, against qemu-img, which writes it in every way.

use std::fs;
use std::path::Path;

use bivouac::image::chain::{Request, resolve};
use bivouac::image::formats::ReadAt;
use bivouac::image::guest_disk::GuestDisk;

use super::Images;

/// The first bytes of the disk of the image at `path`.
fn read(path: &Path, length: usize) -> std::io::Result<Vec<u8>> {
    let chain = resolve(&Request::of(path));
    let chain = chain.expect("a chain");
    let mut bytes = vec![0xaa; length];
    GuestDisk::of(&chain).read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

/// 3 MiB: bytes that compress badly, zeros, and text, in turns of 24 KiB.
fn content() -> Vec<u8> {
    let mut state = 1_u32;
    let mut bytes: Vec<u8> = (0..3 << 20)
        .map(|at| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            match at / (24 << 10) % 3 {
                0 => (state >> 24) as u8,
                1 => 0,
                _ => b"text "[at % 5],
            }
        })
        .collect();
    bytes.truncate(3 << 20);
    bytes
}

#[test]
fn each_layer_of_qcow2_gives_the_bytes_that_qemu_wrote() {
    let images = Images::new();
    let content = content();
    fs::write(images.path("raw.raw"), &content).unwrap();
    for options in [
        "-o compat=0.10",
        "-o cluster_size=512",
        "-o cluster_size=2M",
        "-o extended_l2=on,cluster_size=16k",
        "-c",
        "-c -o compat=0.10",
        "-c -o compression_type=zstd",
        "-c -o cluster_size=512",
        "-c -o extended_l2=on",
    ] {
        images.shell(&format!(
            "qemu-img convert -f raw -O qcow2 {options} raw.raw base.qcow2
             qemu-img create -q -f qcow2 -o extended_l2=on,backing_file=base.qcow2,backing_fmt=qcow2 top.qcow2 4M
             qemu-io -c 'write -P 0x11 4k 10k' -c 'write -z 40k 30k' -c 'write -P 0x22 3M 512' top.qcow2
             qemu-img convert -f qcow2 -O raw top.qcow2 top.raw"
        ));
        let base = read(&images.path("base.qcow2"), content.len());
        assert!(base.unwrap() == content, "{options}");
        let mut expected = fs::read(images.path("top.raw")).unwrap();
        // Beyond the end there are zeros.
        expected.resize(5 << 20, 0);
        let top = read(&images.path("top.qcow2"), expected.len());
        assert!(top.unwrap() == expected, "{options}");
    }
}

#[test]
fn other_formats_are_not_read() {
    let images = Images::new();
    images.shell("qemu-img create -q -f vdi disk.vdi 1M");
    let error = read(&images.path("disk.vdi"), 512).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::Unsupported);
}
