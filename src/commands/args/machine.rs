//! The machine, its image's layers, and QEMU.

use std::ffi::OsString;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use anyhow::anyhow;
use clap::ValueHint;

use super::parse_accel;
use super::sandbox::SandboxArgs;
use super::trust::TrustArgs;
use crate::host::passt;
use crate::image::chain::{Explicit, Request};
use crate::image::{Format, Trust};
use crate::launch::spec::{DiskSpec, FirmwareSpec, KernelSpec};
use crate::launch::{Failure, VmSpec};
use crate::machine::plan::{Accelerator, Bus, Display, NOT_OPEN, Network, Publish};
use crate::text::size::parse_memory;

/// What the guest sees.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Machine")]
pub struct HardwareArgs {
    /// Guest memory, in MiB or with a suffix (512M, 2G); default 2G
    #[arg(long, short, value_name = "SIZE", value_parser = parse_memory)]
    pub memory: Option<u64>,
    /// Virtual CPUs; default 2, or 1 if the host has only one
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub cpus: Option<u32>,
    /// Accelerators in the order to try
    #[arg(long, env = "BIVOUAC_ACCEL", value_name = "ACCEL", default_value = "kvm:tcg",
          value_parser = parse_accel)]
    pub accel: Accelerator,
    /// CPU model; default max, without what makes emulation slow if it is emulated
    #[arg(long, value_name = "MODEL")]
    pub cpu: Option<String>,
    /// QEMU machine type; default q35, or pc with --bus ide
    #[arg(long, value_name = "TYPE")]
    pub machine: Option<String>,
    /// Additional disk, also throwaway (repeatable): IMG[,format=F][,serial=S][,sector-size=N]
    #[arg(long, value_name = "IMG[,OPTION..]", value_parser = parse_disk)]
    pub disk: Vec<DiskSpec>,
    /// A CD-ROM image (repeatable)
    #[arg(long, value_name = "ISO", value_hint = ValueHint::FilePath)]
    pub cdrom: Vec<PathBuf>,
    /// A kernel to boot without a boot loader
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub kernel: Option<PathBuf>,
    /// The initial RAM disk of --kernel
    #[arg(long, value_name = "FILE", requires = "kernel", value_hint = ValueHint::FilePath)]
    pub initrd: Option<PathBuf>,
    /// The command line of --kernel; console=ttyS0 is added if it names no console and is not ''
    #[arg(long, value_name = "ARGS", requires = "kernel")]
    pub append: Option<String>,
    /// auto (what the image boots by), bios, uefi, or a firmware image
    #[arg(long, value_name = "auto|bios|uefi|FILE", default_value = "auto")]
    pub firmware: PathBuf,
    /// How disks are attached
    #[arg(long, value_enum, default_value = "virtio")]
    pub bus: Bus,
    /// Network: none, user for QEMU's user-mode network, or internet for one that does not reach the
    /// host's loopback and link-local addresses
    #[arg(long, value_enum, value_name = "none|user|internet")]
    pub net: Option<Net>,
    /// Forward a TCP port of the host to the guest, which reaches nothing without --net user (repeatable)
    #[arg(long, value_name = "[ADDR:]HOST:GUEST", value_parser = parse_publish)]
    pub publish: Vec<Publish>,
    /// The guest's screen: none, gtk, vnc=[HOST]:DISPLAY, or vnc=unix:PATH
    #[arg(long, value_name = "none|gtk|vnc=ADDR", default_value = "none", value_parser = parse_display)]
    pub display: Display,
    /// Let the guest reboot; otherwise a reset ends the machine
    #[arg(long)]
    pub reboot: bool,
}

impl HardwareArgs {
    /// The machine, whose disks are opened with `trust`; everything else by default.
    pub(crate) fn spec(&self, trust: &TrustArgs) -> Result<VmSpec, Failure> {
        let defaults = VmSpec::default();
        let firmware = match self.firmware.to_str() {
            Some("auto") => FirmwareSpec::Auto,
            Some("bios") => FirmwareSpec::Bios,
            Some("uefi") => FirmwareSpec::Uefi,
            _ => FirmwareSpec::File(self.firmware.clone()),
        };
        Ok(VmSpec {
            disks: trust.disks(&self.disk),
            cdroms: self.cdrom.clone(),
            kernel: self.kernel.as_ref().map(|kernel| KernelSpec {
                kernel: kernel.clone(),
                initrd: self.initrd.clone(),
                append: self.append.clone(),
            }),
            firmware,
            machine: self.machine.clone(),
            accelerator: self.accel,
            cpu: self.cpu.clone(),
            cpus: self.cpus.unwrap_or(defaults.cpus),
            memory_mib: self.memory.unwrap_or(defaults.memory_mib),
            bus: self.bus,
            network: self.network()?,
            display: self.display.clone(),
            reboot: self.reboot,
            ..defaults
        })
    }

    fn network(&self) -> Result<Network, Failure> {
        let publish = self.publish.clone();
        match (self.net, publish.is_empty()) {
            (Some(Net::None), false) => Err(Failure::with_hint(
                anyhow!("--publish needs a network, but --net none disables it"),
                "leave out one of the two",
            )),
            (Some(Net::Internet), false) => Err(Failure::with_hint(
                anyhow!("--net internet has no published ports"),
                "--publish alone, or with --net user",
            )),
            (Some(Net::Internet), true) => Ok(Network::Internet {
                passt: passt::NAME.into(),
                socket: NOT_OPEN,
            }),
            (None | Some(Net::None), true) => Ok(Network::None),
            (net, _) => Ok(Network::User {
                publish,
                restricted: net.is_none(),
            }),
        }
    }
}

/// The layers of the image.
#[derive(Clone, Debug, clap::Args)]
pub struct LayerArgs {
    /// Format of IMAGE, if its content and name do not determine it
    #[arg(long, value_name = "FORMAT", requires = "image")]
    format: Option<Format>,
    /// The next layer below IMAGE, top down; `none` ends the chain there (repeatable)
    #[arg(long, value_name = "FORMAT:PATH|none", requires = "image",
          value_parser = super::explicit())]
    backing: Vec<Explicit>,
    #[command(flatten)]
    pub(crate) trust: TrustArgs,
}

impl LayerArgs {
    pub(crate) fn image(&self, path: &Path) -> Request {
        Request {
            format: self.format,
            backing: self.backing.clone(),
            trust: self.trust.trust(),
            ..Request::of(path)
        }
    }
}

/// QEMU itself.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "QEMU")]
pub struct QemuArgs {
    /// QEMU's program; default qemu-system-x86_64, else /usr/libexec/qemu-kvm
    #[arg(long, env = "BIVOUAC_QEMU", value_name = "PATH", value_hint = ValueHint::ExecutablePath)]
    pub qemu: Option<PathBuf>,
    /// Additional argument for QEMU, after the others (repeatable)
    #[arg(long, value_name = "ARG", allow_hyphen_values = true)]
    pub qemu_arg: Vec<OsString>,
    #[command(flatten)]
    pub sandbox: SandboxArgs,
}

/// The guest's network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Net {
    /// No network device
    None,
    /// QEMU's user-mode network
    User,
    /// The network of passt, without the host's loopback and link-local addresses
    Internet,
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
    match address.strip_prefix("unix:") {
        Some("") => return Err("unix: needs the path of a socket".into()),
        Some(path) => return Ok(Display::VncSocket(path.into())),
        None => {}
    }
    let number = address.rsplit(':').next().unwrap_or_default();
    if number.parse::<u16>().is_err() {
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
        _ => Err(format!("{text:?} is not a port number (1 to 65535)")),
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

pub(super) fn parse_disk(text: &str) -> Result<DiskSpec, String> {
    // A comma in the file's name is doubled, as QEMU has it.
    let text = text.replace(",,", "\0");
    let mut parts = text.split(',').map(|part| part.replace('\0', ","));
    let image = parts
        .next()
        .filter(|image| !image.is_empty())
        .ok_or("a disk needs an image")?;
    let mut disk = DiskSpec {
        image: image.into(),
        format: None,
        serial: None,
        sector_size: None,
        trust: Trust::default(),
        opened: None,
    };
    for option in parts {
        match option.split_once('=') {
            Some(("format", value)) => {
                disk.format = Some(value.parse().map_err(|e| format!("format={value}: {e}"))?);
            }
            Some(("serial", value)) => disk.serial = Some(checked_serial(value)?),
            Some(("sector-size", "512")) => disk.sector_size = None,
            Some(("sector-size", "4096")) => disk.sector_size = Some(4096),
            Some(("sector-size", _)) => return Err("a sector has 512 or 4096 bytes".into()),
            _ => {
                let known = "format=F, serial=S or sector-size=N";
                return Err(format!("{option:?} is not {known}"));
            }
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
        assert_eq!(
            parse_display("vnc=unix:/run/s"),
            Ok(Display::VncSocket("/run/s".into()))
        );
        assert!(parse_display("vnc=unix:").is_err());
        assert!(parse_display("vnc=").is_err());
        assert!(parse_display("sdl").is_err());
    }

    #[test]
    fn a_disk_has_options_after_commas_and_commas_doubled() {
        let disk = parse_disk("a,,b.img,format=raw,serial=S1,sector-size=4096").unwrap();
        assert_eq!(disk.image, PathBuf::from("a,b.img"));
        assert_eq!(disk.format, Some(Format::Raw));
        assert_eq!(disk.serial.as_deref(), Some("S1"));
        assert_eq!(disk.sector_size, Some(4096));
        for wrong in [
            "",
            ",format=raw",
            "a,format=",
            "a,cache=none",
            "a,serial=",
            "a,sector-size=1000",
            "a,serial=123456789012345678901",
        ] {
            assert!(parse_disk(wrong).is_err(), "{wrong}");
        }
    }
}
