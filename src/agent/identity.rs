//! What tells this machine apart from others of the same image: its name, its machine id, its
//! hardware addresses. Only over a guest's port, as with the clock.

use std::ffi::CString;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use super::port::Port;
use super::process::errno_of;
use super::system::may_switch;
use crate::guest::wire::{CloneIdentity, ErrorStage, RemoteError};

/// Where a machine id may stand, of which the second is often a link to the first.
const MACHINE_IDS: [&str; 2] = ["/etc/machine-id", "/var/lib/dbus/machine-id"];

/// Does what of it is wanted.
///
/// # Errors
/// The first thing that cannot be done.
pub fn identify(identity: &CloneIdentity, port: &Port) -> Result<(), RemoteError> {
    may_switch(port)?;
    let failed = |what: &str, error: &io::Error| {
        RemoteError::of(ErrorStage::System, what, errno_of(error) as i32)
    };
    if let Some(name) = &identity.hostname {
        nix::unistd::sethostname(name).map_err(|errno| {
            RemoteError::of(ErrorStage::System, "the host's name", errno as i32)
        })?;
        replace(Path::new("/etc/hostname"), name, true)
            .map_err(|error| failed("/etc/hostname", &error))?;
    }
    if let Some(id) = &identity.machine_id {
        // Where there is none, nobody reads it.
        for path in MACHINE_IDS {
            replace(Path::new(path), id, false).map_err(|error| failed(path, &error))?;
        }
    }
    if let Some(address) = identity.hardware_address {
        set_addresses(address).map_err(|error| failed("the hardware address", &error))?;
    }
    Ok(())
}

/// In place, because some systems mount a file over it.
fn replace(path: &Path, text: &str, create: bool) -> io::Result<()> {
    let opened = OpenOptions::new()
        .write(true)
        .truncate(true)
        .create(create)
        .open(path);
    match opened {
        Ok(mut file) => writeln!(file, "{text}"),
        Err(error) if error.kind() == io::ErrorKind::NotFound && !create => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => cover(path, text),
        Err(error) => Err(error),
    }
}

/// On a file system that is mounted for reading only: a file of ours over it, as systemd does
/// with a machine id of its own. Where there is none, nobody reads it.
fn cover(path: &Path, text: &str) -> io::Result<()> {
    let (true, Some(name)) = (path.exists(), path.file_name()) else {
        return Ok(());
    };
    let mut last = Ok(());
    // In memory, in every system that has devices.
    for place in ["/run", "/dev"] {
        let ours = Path::new(place).join("bivouac-identity");
        last = fs::create_dir_all(&ours).and_then(|()| {
            let file = ours.join(name);
            fs::write(&file, format!("{text}\n"))?;
            fs::set_permissions(&file, fs::Permissions::from_mode(0o644))?;
            let none = None::<&Path>;
            Ok(mount(Some(&file), path, none, MsFlags::MS_BIND, none)?)
        });
        if last.is_ok() {
            break;
        }
    }
    last
}

fn set_addresses(first: [u8; 6]) -> io::Result<()> {
    let any = socket(
        AddressFamily::Inet,
        SockType::Datagram,
        SockFlag::SOCK_CLOEXEC,
        None,
    );
    let any = match any {
        // A kernel without a network has no address either.
        Err(Errno::EAFNOSUPPORT) => return Ok(()),
        other => other?,
    };
    for (index, interface) in (0_u8..).zip(devices()?) {
        let name = interface.file_name().unwrap_or_default().as_bytes();
        let shown = String::from_utf8_lossy(name).into_owned();
        // The network's other end learns the address at once, where the kernel sends a word.
        let place = format!("/proc/sys/net/ipv4/conf/{shown}/arp_notify");
        let _ = fs::write(place, "1");
        let mut address = first;
        address[5] = address[5].wrapping_add(index);
        crate::sys::set_hardware_address(&any, &CString::new(name)?, address)?;
    }
    Ok(())
}

/// The interfaces that stand for a device, by their names; not bridges, tunnels and the like.
fn devices() -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir("/sys/class/net") {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut found: Vec<_> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.join("device").exists())
        .collect();
    found.sort();
    Ok(found)
}
