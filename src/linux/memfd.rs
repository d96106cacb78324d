//! Files in memory (memfd_create(2)).

use std::ffi::CStr;
use std::fs::File;
use std::io;

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};

/// An empty file in memory, close-on-exec. Only /proc shows `name`.
pub fn create(name: &CStr) -> io::Result<File> {
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    Ok(File::from(memfd_create(name, flags)?))
}

/// From now on nobody can change `file`, this process included. Fails with `EBUSY` while a process
/// has it mapped for writing.
pub fn seal(file: &File) -> io::Result<()> {
    let seals = SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW;
    fcntl(file, FcntlArg::F_ADD_SEALS(seals))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_sealed_file_takes_no_more() {
        let mut file = create(c"test").unwrap();
        file.write_all(b"text").unwrap();
        seal(&file).unwrap();
        assert!(file.write_all(b"more").is_err());
        assert!(file.set_len(2).is_err());
        assert_eq!(file.metadata().unwrap().len(), 4);
    }
}
