//! The network of `--net internet`: passt, which connects the guest's frames to sockets of the host,
//! behind a filter of those frames. It ends with its socket, whose other end only this process has.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream as StdStream;
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::UnixStream;

use super::end;
use super::frame_filter::{MAX_FRAME, may_pass};
use super::process::Process;
use super::start::StartError;
use crate::sandbox::{self, Mode};
use crate::text::escape::output_lines;

/// How long passt may take to answer the first question.
const DEADLINE: Duration = Duration::from_secs(30);

/// An ARP probe (RFC 5227) for an address that no guest gets. passt answers it as soon as it runs.
const PROBE: [u8; 42] = [
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x52, 0x54, 0, 0, 0, 1, 0x08, 0x06, // to all, ARP
    0, 1, 0x08, 0, 6, 4, 0, 1, // who has
    0x52, 0x54, 0, 0, 0, 1, 0, 0, 0, 0, // we, without an address
    0, 0, 0, 0, 0, 0, 192, 0, 0, 8, // that address
];

/// A passt that runs. Dropping it kills it.
#[derive(Debug)]
pub(super) struct Passt(tokio::task::JoinHandle<()>);

impl Passt {
    /// Starts `program` for the guest at the other end of `guest`, and waits until it answers.
    pub async fn start(program: &Path, mode: Mode, guest: StdStream) -> Result<Self, StartError> {
        let (ours, theirs) = StdStream::pair()?;
        ours.set_nonblocking(true)?;
        let number = theirs.as_raw_fd().to_string();
        // Nothing of the host is mapped to the gateway, no port is forwarded, IPv6 is not filtered.
        let args = ["--foreground", "--quiet", "--ipv4-only", "--no-map-gw"];
        let ports = [
            "--tcp-ports",
            "none",
            "--udp-ports",
            "none",
            "--fd",
            &number,
        ];
        let args: Vec<_> = args.iter().chain(&ports).map(Into::into).collect();
        let confinement = sandbox::for_passt(mode, program);
        let environment = (mode != Mode::Off).then(Vec::new);
        let given = vec![OwnedFd::from(theirs)];
        let spawned = Process::spawn(program, &args, &[], given, None, confinement, environment);
        let mut process = spawned.map_err(|source| StartError::Spawn {
            program: program.to_owned(),
            source,
        })?;
        let mut network = UnixStream::from_std(ours)?;
        let mut frame = Vec::new();
        let answered = async {
            write_frame(&mut network, &PROBE).await?;
            read_frame(&mut network, &mut frame).await
        };
        let how = match tokio::time::timeout(DEADLINE, answered).await {
            Ok(Ok(true)) => {
                let guest = UnixStream::from_std(guest)?;
                let serving = serve(process, guest, network);
                return Ok(Self(tokio::task::spawn_local(serving)));
            }
            Ok(_) => end::describe(process.wait().await?),
            Err(_) => "no answer".to_owned(),
        };
        process.kill().await?;
        let output = output_lines(&process.tail()).to_string();
        Err(StartError::Passt { how, output })
    }
}

impl Drop for Passt {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Until QEMU or passt closes its end.
async fn serve(mut process: Process, guest: UnixStream, network: UnixStream) {
    let (mut from_guest, mut to_guest) = guest.into_split();
    let (mut from_network, mut to_network) = network.into_split();
    tokio::select! {
        _ = filter(&mut from_guest, &mut to_network) => {}
        _ = tokio::io::copy(&mut from_network, &mut to_guest) => {}
        status = process.wait() => {
            let how = status.map_or_else(|error| error.to_string(), end::describe);
            tracing::warn!("passt ended ({how}): the guest has no network any more");
        }
    }
    let _ = process.kill().await;
}

/// Copies the frames that may pass.
async fn filter(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
) -> io::Result<()> {
    let mut frame = Vec::new();
    while read_frame(from, &mut frame).await? {
        if may_pass(&frame) {
            write_frame(to, &frame).await?;
        }
    }
    Ok(())
}

/// A frame after its length, as QEMU's `-netdev socket` sends it. False at the end.
async fn read_frame(from: &mut (impl AsyncRead + Unpin), frame: &mut Vec<u8>) -> io::Result<bool> {
    let length = match from.read_u32().await {
        Ok(length) => length as usize,
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
        Err(error) => return Err(error),
    };
    if length > MAX_FRAME {
        return Err(io::ErrorKind::InvalidData.into());
    }
    frame.resize(length, 0);
    from.read_exact(frame).await?;
    Ok(true)
}

async fn write_frame(to: &mut (impl AsyncWrite + Unpin), frame: &[u8]) -> io::Result<()> {
    let length = u32::try_from(frame.len()).unwrap_or_default();
    to.write_all(&[&length.to_be_bytes(), frame].concat()).await
}
