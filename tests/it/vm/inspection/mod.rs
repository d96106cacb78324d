//! Inspecting real images in a real appliance.

mod arrays;
mod budget;
mod compressed;
mod cryptsetup;
mod diff;
mod diff_content;
mod disks;
mod encrypted;
mod forged;
mod images;
mod kill;
mod kill_reading;
mod limits;
mod listing;
mod log;
mod machine;
mod many;
mod ova;
mod packages;
mod roots;
mod rpm_databases;
mod unread;
mod volumes;
