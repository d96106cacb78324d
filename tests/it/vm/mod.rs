//! What boots a machine, or needs root, guest images, QEMU or the tools that scripts/setup
//! installs. Everything outside passes as any user with nothing but cargo (`scripts/test fast`).

mod appliance;
mod branches;
mod cases;
mod chroot;
mod docs;
mod host;
mod image;
mod inspection;
mod mount;
mod outside;
mod remote;
mod run;
mod sandbox;
mod session;
mod template;
