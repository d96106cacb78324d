//! The server of an image on another host: a `qemu-storage-daemon`, which reads it by QEMU's own drivers
//! and shows it, read-only, at a socket without a name. QEMU itself has no network.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::fcntl::{OFlag, open};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, connect as connect_to, listen,
    socket,
};
use nix::sys::stat::{Mode, fchmod};
use nix::unistd::unlink;
use serde_json::{Value, json};

use super::process::Process;
use super::start::StartError;
use crate::image::remote_image::{EXPORT, RemoteImage, ServerSocket};
use crate::image::remote_url::{RemoteSource, RemoteUrl};
use crate::linux::proc_fd;
use crate::linux::program::Program;
use crate::sandbox::{self, NetworkRule, Rules, Settings};
use crate::sys;
use crate::text::escape::Quoted;

/// Read by programs that look up names and check certificates.
const INTERNET: [&str; 15] = [
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/host.conf",
    "/etc/nsswitch.conf",
    "/etc/gai.conf",
    "/etc/services",
    "/etc/ssl",
    "/etc/pki",
    "/etc/ca-certificates",
    "/etc/gnutls",
    "/etc/crypto-policies",
    "/usr/share/ca-certificates",
    "/usr/local/share/ca-certificates",
    "/usr/share/crypto-policies",
    "/usr/share/pki",
];
/// Where a server of HTTP may redirect to, besides its own port. QEMU's driver would also follow a
/// redirection to FTP at one of these ports, and has no option against that; the port of the data is none
/// of them.
const WEB: [u16; 2] = [80, 443];
/// Answers of DNS that are long come by TCP. UDP is allowed to any port.
const DNS: u16 = 53;
/// In seconds (CURL_TIMEOUT_MAX in block/curl.c).
const HTTP_TIMEOUT_MAX: u64 = 10_000;

/// Starts `program` for the image at `url`, with [`connection`]'s. What it says is in the process, where it listens in the
/// socket. Must be called from the main thread, as [`Process::spawn`].
pub fn start(
    program: &Path,
    (url, connected): (&RemoteUrl, Option<OwnedFd>),
    settings: &Settings,
    directory: &Path,
    timeout: Duration,
) -> Result<(Process, ServerSocket), StartError> {
    let (listening, socket) = nameless_socket(directory)?;
    let mut given = vec![listening];
    let node = node(url, timeout, connected.as_ref().map(AsRawFd::as_raw_fd));
    given.extend(connected);
    let server = format!("addr.type=fd,addr.str={}", given[0].as_raw_fd());
    let export = format!("type=nbd,id=export,node-name=image,name={EXPORT},writable=off");
    let args = [
        ("--blockdev", node.to_string()),
        ("--nbd-server", server),
        ("--export", export),
    ];
    let args = args
        .into_iter()
        .flat_map(|(name, value)| [name.into(), value.into()]);
    let args: Vec<OsString> = args.collect();
    let rules = rules(url, &Program::of(program), settings);
    let (confinement, enforced) = sandbox::confine(settings.mode, &rules, &sandbox::support())?;
    tracing::debug!("the server of {}: {enforced}", url.as_str());
    // Without a sandbox, too: libcurl would send requests to a proxy that a variable names.
    let environment = Some(Vec::new());
    let spawned = Process::spawn(program, &args, &[], given, None, confinement, environment);
    let process = spawned.map_err(|source| StartError::Spawn {
        program: program.to_owned(),
        source,
    })?;
    Ok((process, ServerSocket { socket, timeout }))
}

/// What the server may do: connect to the port of `url` and a few others of any host, unless it inherits a
/// connection.
fn rules(url: &RemoteUrl, program: &Program, settings: &Settings) -> Rules {
    let mut rules = Rules::of_program(program, &settings.read);
    let ports = match &url.source {
        RemoteSource::NbdUnix { .. } => {
            rules.network = NetworkRule::Serve(Vec::new());
            return rules;
        }
        RemoteSource::Nbd { port, .. } => vec![*port, DNS],
        RemoteSource::Http { port, .. } => [&[*port, DNS][..], &WEB].concat(),
    };
    rules.network = NetworkRule::Connect(ports);
    rules.read.extend(INTERNET.iter().map(PathBuf::from));
    rules
}

/// The block node of the image; `connected` is the number of a connection.
fn node(url: &RemoteUrl, timeout: Duration, connected: Option<i32>) -> Value {
    let mut node = match &url.source {
        RemoteSource::Nbd { host, port, export } => json!({
            "driver": "nbd",
            "server": { "type": "inet", "host": host, "port": port.to_string() },
            "export": export,
        }),
        RemoteSource::NbdUnix { export, .. } => json!({
            "driver": "nbd",
            "server": { "type": "fd", "str": connected.unwrap_or(-1).to_string() },
            "export": export,
        }),
        RemoteSource::Http { scheme, .. } => json!({
            "driver": scheme,
            "url": url.as_str(),
            "timeout": timeout.as_secs().clamp(1, HTTP_TIMEOUT_MAX),
        }),
    };
    node["node-name"] = "image".into();
    node["read-only"] = true.into();
    node
}

/// A connection that the server inherits, which has no right to open files.
pub fn connection(source: &RemoteSource) -> io::Result<Option<OwnedFd>> {
    match source {
        RemoteSource::NbdUnix { socket: path, .. } => {
            // A server that accepts nobody is not waited for.
            let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
            let connected = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
            connect_to(connected.as_raw_fd(), &UnixAddr::new(path)?)?;
            Ok(Some(connected))
        }
        RemoteSource::Nbd { .. } | RemoteSource::Http { .. } => Ok(None),
    }
}

/// A socket that listens, and what leads to it: its name is removed at once.
fn nameless_socket(directory: &Path) -> io::Result<(OwnedFd, OwnedFd)> {
    let listening = socket(
        AddressFamily::Unix,
        SockType::Stream,
        SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    // The name gets the mode of the socket (unix_bind in net/unix/af_unix.c).
    fchmod(&listening, Mode::S_IRUSR | Mode::S_IWUSR)?;
    let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
    // By its number, because a socket's name has at most 107 bytes.
    let directory = open(directory, flags | OFlag::O_DIRECTORY, Mode::empty())?;
    let mut random = [0; 8];
    sys::random(&mut random)?;
    let name = format!(".bivouac-{:016x}", u64::from_ne_bytes(random));
    let path = proc_fd::path(&directory).join(name);
    bind(listening.as_raw_fd(), &UnixAddr::new(&path)?)?;
    let found = open(&path, flags | OFlag::O_NOFOLLOW, Mode::empty());
    unlink(&path)?;
    listen(&listening, Backlog::new(64)?)?;
    Ok((listening, found?))
}

/// Gives the QEMU that is started next a connection of its own.
pub(super) fn connect(remotes: &[&RemoteImage]) -> Result<(), StartError> {
    for remote in remotes {
        let connection = remote.connect().map_err(|source| StartError::Remote {
            url: Quoted(Path::new(remote.url.as_str())).to_string(),
            source,
        })?;
        sys::replace_descriptor(remote.slot(), connection.into())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_out_of_http_is_one_that_qemu_takes() {
        let url = RemoteUrl::parse(Path::new("HTTP://h/x")).unwrap().unwrap();
        for (seconds, taken) in [(0, 1), (30, 30), (36_000, 10_000)] {
            let node = node(&url, Duration::from_secs(seconds), None);
            assert_eq!(node["timeout"], taken);
            assert_eq!(
                (&node["driver"], &node["url"]),
                (&"http".into(), &"http://h/x".into())
            );
        }
    }
}
