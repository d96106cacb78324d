//! Inspecting real images in a real appliance.

mod budget;
mod compressed;
mod diff;
mod disks;
mod encrypted;
mod forged;
mod images;
mod kill;
mod limits;
mod listing;
mod log;
mod machine;
mod many;
mod ova;
mod packages;
mod roots;
mod unread;
mod volumes;
