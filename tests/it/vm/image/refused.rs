//! Images that qemu-img makes and that are refused.

use super::Images;

/// Compares the refusal with the snapshot of that name.
macro_rules! refused {
    ($images:expr, $name:literal, $words:expr) => {
        insta::assert_snapshot!($name, $images.refused(&$words))
    };
}

#[test]
fn headers_that_qemu_would_obey_are_refused() {
    let images = Images::new();
    images
        .shell("qemu-img create -q -f qcow2 -o data_file=other.raw,data_file_raw=on data.qcow2 1M");
    refused!(images, "data_file", ["data.qcow2"]);
    // qemu-img measures the CPU to make one, which fails on a busy machine: so by hand.
    images.qcow2("luks.qcow2");
    images.patch("luks.qcow2", 32, &2_u32.to_be_bytes());
    refused!(images, "encrypted_luks", ["luks.qcow2"]);
    images.shell(
        "qemu-img create -q --object secret,id=s,data=x -f qcow2 -o encrypt.format=aes,\
         encrypt.key-secret=s aes,1.qcow2 1M",
    );
    refused!(images, "encrypted_aes", ["aes,1.qcow2"]);
    images.qcow2("future.qcow2");
    images.patch("future.qcow2", 72, &[0x80]);
    refused!(images, "unknown_feature", ["future.qcow2"]);
    images.shell("qemu-img create -q -f qcow old.qcow 1M");
    refused!(images, "version_1", ["old.qcow"]);
}

#[test]
fn a_name_of_one_format_and_a_content_of_another_are_refused() {
    let images = Images::new();
    images.shell("qemu-img create -q -f vdi disk.vmdk 1M");
    refused!(images, "vmdk_name_vdi_content", ["disk.vmdk"]);
}
