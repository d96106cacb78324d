//! Every integration test, in one binary, a folder for each part. They run the real bivouac
//! with the real QEMU on real images; what is missing is a failure, never a skip.

mod appliance;
mod architecture;
mod args;
mod chroot;
mod docs;
mod doctor;
mod env;
mod guest;
mod host;
mod image;
mod look;
mod output;
mod run;
mod source;
mod template;
