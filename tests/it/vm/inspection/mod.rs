//! Inspecting real images in a real appliance.

mod compressed;
mod diff;
mod disks;
mod encrypted;
mod forged;
mod images;
mod kill;
mod limits;
mod machine;
mod many;
mod roots;
mod unread;
mod volumes;
