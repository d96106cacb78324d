//! Images against qemu-img, QEMU, strace and block devices.

mod accepted;
mod agreement;
mod files;
mod guest_disk;
mod hints;
mod hostile;
mod in_use;
mod limits;
mod overlay;
mod refused;

pub use crate::image::{Images, layers};
