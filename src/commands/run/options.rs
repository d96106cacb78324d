//! The arguments of `bivouac run`, as typed: no I/O.

use std::ffi::OsString;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::time::Duration;

use clap::ValueHint;

use super::guest::GuestArgs;
use crate::image::Format;
use crate::image::chain::Stated;
use crate::machine::plan::{Accelerator, Bus, Display, Publish};

/// Boot a disk image; nothing that the guest writes is kept
///
/// The image is never changed: every write of the guest goes to an unlinked temporary
/// overlay that is gone with the machine. The guest's serial console is your terminal;
/// Ctrl-A X ends the machine, Ctrl-A H lists the other keys.
///
/// With CMD, or with --tty, the run is there for that: an agent is put into the overlay, the
/// image's own init starts it, and CMD's streams and status are those of the run.
#[derive(Clone, Debug, clap::Args)]
// clap's own would show what the environment sets as if it had to be typed.
#[command(
    override_usage = "bivouac run [OPTIONS] IMAGE [-- CMD...]\n       bivouac run [OPTIONS] --kernel FILE [IMAGE]"
)]
pub struct Args {
    /// The disk image to boot; may be left out with --kernel
    #[arg(required_unless_present = "kernel", value_hint = ValueHint::FilePath)]
    pub image: Option<PathBuf>,

    /// Format of IMAGE, where its content and name do not tell
    #[arg(long, value_name = "FORMAT", requires = "image")]
    pub format: Option<Format>,
    /// The next layer below IMAGE, top down; `none` ends the chain there (repeatable)
    #[arg(long, value_name = "FORMAT:PATH|none", requires = "image",
          value_parser = crate::commands::chain::stated())]
    pub backing: Vec<Stated>,

    #[command(flatten)]
    /// The machine.
    pub hardware: Hardware,
    #[command(flatten)]
    /// Overlays.
    pub overlay: OverlayArgs,
    #[command(flatten)]
    /// The run itself.
    pub conduct: Conduct,
    #[command(flatten)]
    /// A command in the guest.
    pub guest: GuestArgs,
    #[command(flatten)]
    /// QEMU.
    pub qemu: QemuArgs,
}

/// What the guest sees.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Machine")]
pub struct Hardware {
    /// Guest memory, in MiB or with a suffix (512M, 2G); default 2G
    #[arg(long, short, value_name = "SIZE", value_parser = crate::text::size::parse_memory)]
    pub memory: Option<u64>,
    /// Virtual CPUs; default 2, or 1 where the host has no more
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub cpus: Option<u32>,
    /// Accelerators in the order to try
    #[arg(long, env = "BIVOUAC_ACCEL", value_name = "ACCEL", default_value = "kvm:tcg",
          value_parser = crate::commands::accelerator::parse_accel)]
    pub accel: Accelerator,
    /// CPU model; the default fits every accelerator
    #[arg(long, value_name = "MODEL", default_value = "max")]
    pub cpu: String,
    /// QEMU machine type; default q35, or pc with --bus ide
    #[arg(long, value_name = "TYPE")]
    pub machine: Option<String>,
    /// One more disk, throwaway too (repeatable): IMG[,format=F][,serial=S]
    #[arg(long, value_name = "IMG[,OPTION..]", value_parser = parse_disk)]
    pub disk: Vec<DiskArg>,
    /// A CD-ROM image (repeatable)
    #[arg(long, value_name = "ISO", value_hint = ValueHint::FilePath)]
    pub cdrom: Vec<PathBuf>,
    /// A kernel to start without a boot loader
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub kernel: Option<PathBuf>,
    /// The initial RAM disk of --kernel
    #[arg(long, value_name = "FILE", requires = "kernel", value_hint = ValueHint::FilePath)]
    pub initrd: Option<PathBuf>,
    /// The command line of --kernel; console=ttyS0 is added where it names no console
    #[arg(long, value_name = "ARGS", requires = "kernel")]
    pub append: Option<String>,
    /// bios, uefi, or a firmware image
    #[arg(long, value_name = "bios|uefi|FILE", default_value = "bios")]
    pub firmware: PathBuf,
    /// How disks are attached
    #[arg(long, value_enum, default_value = "virtio")]
    pub bus: Bus,
    /// Network: none, or user for QEMU's user-mode network
    #[arg(long, value_enum, value_name = "none|user")]
    pub net: Option<Net>,
    /// Lead a TCP port of the host into the guest; implies --net user (repeatable)
    #[arg(long, value_name = "[ADDR:]HOST:GUEST", value_parser = parse_publish)]
    pub publish: Vec<Publish>,
    /// The guest's screen: none, gtk, or vnc=ADDR (loopback where ADDR names no host)
    #[arg(long, value_name = "none|gtk|vnc=ADDR", default_value = "none", value_parser = parse_display)]
    pub display: Display,
    /// Let the guest reboot; without it a reset ends the machine
    #[arg(long)]
    pub reboot: bool,
}

/// Where the guest's writes go until they are gone.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Overlay")]
pub struct OverlayArgs {
    /// Directory of the overlay; default $TMPDIR, else /var/tmp
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub overlay_dir: Option<PathBuf>,
    /// Keep the overlay on disk, or in memory
    #[arg(
        long,
        value_enum,
        value_name = "disk|memory",
        default_value = "disk",
        conflicts_with = "overlay_dir"
    )]
    pub overlay: OverlayKind,
    /// The most that the guest may write to each disk (512M, 10G)
    #[arg(long, value_name = "SIZE", value_parser = crate::text::size::parse_size)]
    pub max_write: Option<u64>,
}

/// The course of the run.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Run")]
pub struct Conduct {
    /// Copy the serial console to FILE
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub console_log: Option<PathBuf>,
    /// End the machine after TIME (90, 90s, 5m, 2h); exit status 124
    #[arg(long, value_name = "TIME", value_parser = crate::text::time::parse_duration)]
    pub timeout: Option<Duration>,
    /// End the machine if no login prompt came, or its agent did not answer, within TIME; exit
    /// status 124
    #[arg(long, value_name = "TIME", value_parser = crate::text::time::parse_duration)]
    pub boot_timeout: Option<Duration>,
    /// Write the verdict, phases and layers to FILE as JSON
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub report: Option<PathBuf>,
    /// Print the QEMU command and start nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// QEMU itself.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "QEMU")]
pub struct QemuArgs {
    /// QEMU's program; default qemu-system-x86_64, else /usr/libexec/qemu-kvm
    #[arg(long, env = "BIVOUAC_QEMU", value_name = "PATH", value_hint = ValueHint::ExecutablePath)]
    pub qemu: Option<PathBuf>,
    /// One more argument for QEMU, after ours (repeatable)
    #[arg(long, value_name = "ARG", allow_hyphen_values = true)]
    pub qemu_arg: Vec<OsString>,
}

/// Where the overlay is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum OverlayKind {
    /// An unlinked file in the overlay directory
    Disk,
    /// A memory file
    Memory,
}

/// The guest's network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Net {
    /// No network device
    None,
    /// QEMU's user-mode network
    User,
}

/// A further disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskArg {
    /// Its image.
    pub image: PathBuf,
    /// Its format, where stated.
    pub format: Option<Format>,
    /// The serial number that the guest sees.
    pub serial: Option<String>,
}

fn parse_display(text: &str) -> Result<Display, String> {
    match text {
        "none" => return Ok(Display::None),
        "gtk" => return Ok(Display::Gtk),
        _ => {}
    }
    let address = text
        .strip_prefix("vnc=")
        .ok_or("not one of none, gtk, vnc=ADDR")?;
    if address.contains(',') {
        return Err("an address has no comma; pass more with --qemu-arg".into());
    }
    // QEMU listens on every address where none is named; we do not.
    let loopback = address.starts_with(':');
    let number = address.rsplit(':').next().unwrap_or_default();
    if !address.starts_with("unix:") && number.parse::<u16>().is_err() {
        return Err("ADDR is [HOST]:DISPLAY, such as :0 for 127.0.0.1:5900".into());
    }
    Ok(Display::Vnc(if loopback {
        format!("127.0.0.1{address}")
    } else {
        address.to_owned()
    }))
}

fn parse_publish(text: &str) -> Result<Publish, String> {
    let wrong = || "not [ADDR:]HOST:GUEST, such as 8080:80 or 0.0.0.0:8080:80".to_owned();
    let (rest, guest) = text.rsplit_once(':').ok_or_else(wrong)?;
    let (address, host) = match rest.rsplit_once(':') {
        None => (Ipv4Addr::LOCALHOST, rest),
        Some((address, host)) => (parse_address(address)?, host),
    };
    let port = |text: &str| match text.parse::<u16>() {
        Ok(port @ 1..) => Ok(port),
        _ => Err(format!("{text:?} is no port (1 to 65535)")),
    };
    Ok(Publish {
        address,
        host: port(host)?,
        guest: port(guest)?,
    })
}

fn parse_address(text: &str) -> Result<Ipv4Addr, String> {
    text.parse().map_err(|_| {
        let bare = text.trim_start_matches('[').trim_end_matches(']');
        if bare.parse::<Ipv6Addr>().is_ok() {
            "QEMU's user-mode network publishes on IPv4 addresses only".to_owned()
        } else {
            format!("{text:?} is no IPv4 address")
        }
    })
}

fn parse_disk(text: &str) -> Result<DiskArg, String> {
    // A comma in the file's name is doubled, as QEMU has it.
    let text = text.replace(",,", "\0");
    let mut parts = text.split(',').map(|part| part.replace('\0', ","));
    let image = parts
        .next()
        .filter(|image| !image.is_empty())
        .ok_or("a disk needs an image")?;
    let mut disk = DiskArg {
        image: image.into(),
        format: None,
        serial: None,
    };
    for option in parts {
        match option.split_once('=') {
            Some(("format", value)) => {
                disk.format = Some(value.parse().map_err(|e| format!("format={value}: {e}"))?);
            }
            Some(("serial", value)) => disk.serial = Some(checked_serial(value)?),
            _ => return Err(format!("{option:?} is not format=F or serial=S")),
        }
    }
    Ok(disk)
}

/// virtio-blk and IDE have room for 20 bytes.
fn checked_serial(serial: &str) -> Result<String, String> {
    let fits = (1..=20).contains(&serial.len())
        && serial.bytes().all(|b| b.is_ascii_graphic() && b != b',');
    if fits {
        Ok(serial.to_owned())
    } else {
        Err("a serial is 1 to 20 printable characters".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_published_on_loopback_unless_an_address_is_named() {
        let publish =
            |text| parse_publish(text).map(|p| format!("{} {} {}", p.address, p.host, p.guest));
        assert_eq!(publish("8080:80").unwrap(), "127.0.0.1 8080 80");
        assert_eq!(publish("0.0.0.0:8080:80").unwrap(), "0.0.0.0 8080 80");
        for wrong in [
            "",
            "80",
            "x:80",
            "0:80",
            "80:70000",
            "host:80:80",
            ":",
            "[::1]:8080:80",
        ] {
            assert!(publish(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn vnc_listens_on_loopback_unless_an_address_is_named() {
        assert_eq!(
            parse_display("vnc=:1"),
            Ok(Display::Vnc("127.0.0.1:1".into()))
        );
        assert_eq!(
            parse_display("vnc=0.0.0.0:1"),
            Ok(Display::Vnc("0.0.0.0:1".into()))
        );
        assert!(parse_display("vnc=:1,password=on").is_err());
        assert!(parse_display("vnc=").is_err());
        assert!(parse_display("sdl").is_err());
    }

    #[test]
    fn a_disk_has_options_after_commas_and_commas_doubled() {
        let disk = parse_disk("a,,b.img,format=raw,serial=S1").unwrap();
        assert_eq!(disk.image, PathBuf::from("a,b.img"));
        assert_eq!(disk.format, Some(Format::Raw));
        assert_eq!(disk.serial.as_deref(), Some("S1"));
        for wrong in [
            "",
            ",format=raw",
            "a,format=",
            "a,cache=none",
            "a,serial=",
            "a,serial=123456789012345678901",
        ] {
            assert!(parse_disk(wrong).is_err(), "{wrong}");
        }
    }
}
