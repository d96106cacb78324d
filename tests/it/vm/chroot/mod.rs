//! `bivouac chroot`: commands in the root of an image, each in a machine of its own.

mod anyone;
mod idle;
mod kill;
mod statuses;
mod streams;

use crate::env::bivouac::Bivouac;
use crate::env::guests::guest;

/// `bivouac chroot [OPTIONS] box.qcow2 -- COMMAND`.
fn chroot(options: &[&str], command: &[&str]) -> Bivouac {
    Bivouac::new()
        .arg("chroot")
        .args(options)
        .arg(guest("box.qcow2"))
        .arg("--")
        .args(command)
}
