//! Sets what a machine must not share with others of one image or template: host name, machine id,
//! hardware addresses, the clock, and the state of the random number generator.

use std::ffi::CString;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_settime};

use super::port::Port;
use super::power::may_change_machine;
use crate::protocol::{CloneIdentity, ErrorStage, RemoteError};

/// Files with the machine id; the second is often a link to the first.
const MACHINE_IDS: [&str; 2] = ["/etc/machine-id", "/var/lib/dbus/machine-id"];

const MAX_ENTROPY: usize = 4096;

/// Sets what `identity` contains. Stops at the first failure.
pub(crate) fn set(identity: &CloneIdentity, port: &Port) -> Result<(), RemoteError> {
    may_change_machine(port)?;
    if let Some(name) = &identity.hostname {
        nix::unistd::sethostname(name).map_err(|errno| failed("the host name", errno))?;
        replace(Path::new("/etc/hostname"), name, true)
            .map_err(|error| failed("/etc/hostname", error))?;
    }
    if let Some(id) = &identity.machine_id {
        // Without the file nothing reads it.
        for path in MACHINE_IDS {
            replace(Path::new(path), id, false).map_err(|error| failed(path, error))?;
        }
    }
    if let Some(address) = identity.hardware_address {
        set_addresses(address).map_err(|error| failed("the hardware address", error))?;
    }
    Ok(())
}

/// Sets the clock to this time since 1970, UTC.
pub(crate) fn set_clock(port: &Port, seconds: i64, nanoseconds: u32) -> Result<(), RemoteError> {
    may_change_machine(port)?;
    let time = TimeSpec::new(seconds, i64::from(nanoseconds));
    clock_settime(ClockId::CLOCK_REALTIME, time).map_err(|errno| failed("the clock", errno))
}

/// Adds entropy and reseeds the kernel's random number generator.
pub(crate) fn add_entropy(bytes: &[u8]) -> Result<(), RemoteError> {
    if bytes.is_empty() || bytes.len() > MAX_ENTROPY {
        let text = "1 to 4096 bytes of entropy";
        return Err(RemoteError::new(ErrorStage::Request, text));
    }
    OpenOptions::new()
        .write(true)
        .open("/dev/urandom")
        .and_then(|device| crate::sys::add_entropy(device, bytes))
        .map_err(|error| failed("random numbers", error))
}

fn failed(what: &str, error: impl Into<io::Error>) -> RemoteError {
    RemoteError::of(ErrorStage::System, what, error)
}

/// Overwrites a file in place, because some systems mount another one over it.
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

/// Mounts a file of ours over one on a read-only filesystem, as systemd does with the machine id.
/// Without the file nothing reads it.
fn cover(path: &Path, text: &str) -> io::Result<()> {
    let (true, Some(name)) = (path.exists(), path.file_name()) else {
        return Ok(());
    };
    let mut last = Ok(());
    // A tmpfs; every system with devices has one of these.
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
        // A kernel without networking has no addresses.
        Err(Errno::EAFNOSUPPORT) => return Ok(()),
        other => other?,
    };
    for (index, interface) in (0_u8..).zip(devices()?) {
        let name = interface.file_name().unwrap_or_default().as_bytes();
        let shown = String::from_utf8_lossy(name).into_owned();
        // Have the kernel announce the new address to the network at once.
        let place = format!("/proc/sys/net/ipv4/conf/{shown}/arp_notify");
        let _ = fs::write(place, "1");
        let mut address = first;
        address[5] = address[5].wrapping_add(index);
        crate::sys::set_hardware_address(&any, &CString::new(name)?, address)?;
    }
    Ok(())
}

/// The interfaces of devices, sorted by name; not bridges, tunnels and the like.
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
