//! Ten thousand small files and one of 10 GiB that is nearly all hole, out of an image.

use crate::env::bivouac::Bivouac;
use crate::env::filesystems::filesystem;
use crate::env::residue::sha256;
use crate::env::trees;

#[test]
fn ten_thousand_files_and_a_huge_hole_come_out_of_an_image_as_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let tree = dir.path().join("root/tree");
    trees::plant(&tree);
    let root = dir.path().join("root");
    let options = ["-q", "-N", "12000", "-d", root.to_str().unwrap()];
    let image = filesystem(dir.path(), "image", 96, "mkfs.ext4", &options);
    let before = sha256(&image);
    let place = format!("{}:/tree", image.display());

    let out = dir.path().join("out");
    let finished = Bivouac::new().args(["cp", &place]).arg(&out).output();
    assert_eq!(finished.code(), Some(0), "{finished:?}");
    trees::assert_same(&out, &tree);
    assert_eq!(sha256(&image), before);
}
