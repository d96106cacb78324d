//! OVAs as virtualisation programs write them: a descriptor and disks in a tar archive.

use std::fs;
use std::path::{Path, PathBuf};

use super::filesystems::run;

/// The descriptor of a machine with a disk for each of the files named `hrefs`, which are compressed as
/// `compression` says.
pub fn ovf(hrefs: &[&str], compression: &str) -> String {
    let (mut files, mut disks) = (String::new(), String::new());
    for (at, href) in hrefs.iter().enumerate() {
        files += &format!(r#"<File ovf:id="f{at}" ovf:href="{href}"{compression}/>"#);
        disks += &format!(r#"<Disk ovf:diskId="d{at}" ovf:fileRef="f{at}" ovf:capacity="1"/>"#);
    }
    format!(
        r#"<?xml version="1.0"?><Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1"
        xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1"><References>{files}</References>
        <DiskSection>{disks}</DiskSection><VirtualSystem ovf:id="vm"/></Envelope>"#
    )
}

/// A stream-optimized vmdk of a raw disk, beside it.
pub fn vmdk(raw: &Path) -> PathBuf {
    let to = raw.with_extension("vmdk");
    let options = ["-O", "vmdk", "-o", "subformat=streamOptimized"];
    let paths = [raw, &to].map(|path| path.to_str().unwrap());
    run(
        "qemu-img",
        &[&["convert", "-f", "raw"], &options[..], &paths].concat(),
    );
    to
}

/// An OVA in `dir` of this descriptor and files that lie there.
pub fn ova(dir: &Path, name: &str, ovf: &str, files: &[&str]) -> PathBuf {
    fs::write(dir.join("machine.ovf"), ovf).unwrap();
    let to = dir.join(name);
    let words = [
        "-cPf",
        to.to_str().unwrap(),
        "-C",
        dir.to_str().unwrap(),
        "machine.ovf",
    ];
    run("tar", &[&words, files].concat());
    to
}
