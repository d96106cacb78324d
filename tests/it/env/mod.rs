//! What a test needs: the guests that `scripts/guests` made, a bivouac process that can be
//! talked to and signalled, and what finds what is left behind.

pub mod bivouac;
pub mod box_image;
pub mod cases;
pub mod deployments;
pub mod filesystems;
pub mod formats;
pub mod guests;
pub mod images;
pub mod kernel_images;
pub mod mount_ns;
pub mod ova;
pub mod pty;
pub mod qemu10;
pub mod random;
pub mod residue;
pub mod script;
pub mod servers;
pub mod toolbox;
pub mod trees;
pub mod wait;
