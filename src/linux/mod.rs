//! Files and formats that Linux defines, each read in one place. Usable by the agent in a guest:
//! it depends on nothing of ours but [`crate::sys`], never prints, and treats all input as
//! untrusted.

pub mod boot_entry;
pub mod bytes;
pub mod elf;
pub mod file_id;
pub mod kernel_image;
pub mod memfd;
pub mod os_release;
pub mod passwd;
pub mod proc_fd;
pub mod program;
pub mod version;
