//! Images on other hosts (`--remote`): a server is started for each, which ends with bivouac. One of NBD is
//! asked from time to time whether it still has an answer.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, timeout};

use super::failure::Failure;
use super::firmware;
use super::unpack::job::{self, UnpackError};
use crate::host::install_hint::{self, Package};
use crate::host::programs;
use crate::image::chain::{self, Request};
use crate::image::nbd::{self, NbdClient};
use crate::image::open_image::OpenedImage;
use crate::image::remote_image::{IF_SLOW, RemoteImage, ServerSocket, no_answer};
use crate::image::remote_url::{RemoteSource, RemoteUrl};
use crate::machine::image_server;
use crate::machine::overlay::Place;
use crate::machine::process::Process;
use crate::sandbox::Settings;
use crate::text::escape::{Quoted, output_lines};

/// The program that reads images on other hosts. QEMU's drivers for HTTP are a package of their own.
const PROGRAM: &str = "qemu-storage-daemon";

const FETCH: &str = "fetch it, and name the file";

/// How long a server may take to end that has no image.
const TO_END: Duration = Duration::from_secs(2);

/// How often it is asked.
const BETWEEN: Duration = Duration::from_secs(10);
/// How much later than QEMU's driver for HTTP we give up: what it says of a time-out is the answer to one
/// request.
const LATER: Duration = Duration::from_secs(5);
/// How much is read, in bytes: a sector.
const SECTOR: u64 = 512;

/// Ends the server.
#[derive(Debug)]
struct Server(AbortHandle);

impl Drop for Server {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Starts a server for the image at `url`. An answer may take as long as `limit`.
pub(super) async fn open(
    url: RemoteUrl,
    limit: Duration,
    settings: &Settings,
    place: &Place,
) -> Result<OpenedImage, Failure> {
    let Some(program) = programs::find(Path::new(PROGRAM)) else {
        return Err(Failure::with_hint(
            anyhow!("--remote needs {PROGRAM}, which was not found in PATH"),
            install_hint::command_for(Package::QemuStorage),
        ));
    };
    let directory: PathBuf = match place {
        Place::Directory(scratch) => scratch.directory().to_owned(),
        Place::Memory => std::env::temp_dir(),
    };
    let what = || format!("cannot open {}", Quoted(Path::new(url.as_str())));
    let connected = image_server::connection(&url.source).with_context(what)?;
    let started = image_server::start(&program, (&url, connected), settings, &directory, limit);
    let (mut process, socket) = started.map_err(|error| Failure::from(error).context(what()))?;
    let opening = job::in_thread(move |_| {
        let (client, watch) = (socket.open()?, socket.open()?);
        Ok((socket, client, watch))
    });
    let opened = tokio::select! {
        opened = opening => opened.map_err(|error| match error {
            UnpackError::Io(error) => error.into(),
            other => anyhow::Error::from(other),
        }),
        _ = process.wait() => Err(anyhow!("its server ended")),
    };
    match opened {
        Ok((socket, client, watch)) => {
            let served = served(url, socket, client, watch, process);
            Ok(served.context("starting the server of a remote image")?)
        }
        Err(error) => Err(failed(&url, error, process).await),
    }
}

/// Checks the chain of an image that was opened for `request`, and reads its boot sectors: in a thread,
/// because its server may be silent. The image keeps what is read, and nobody waits for that again.
pub(super) async fn checked(request: &Request, image: OpenedImage) -> Result<OpenedImage, Failure> {
    let name = Quoted(&request.image);
    let request = Request {
        opened: Some(image.clone()),
        ..request.clone()
    };
    let checking = job::in_thread(move |_| {
        // Sectors that cannot be read are told by who needs them.
        Ok(chain::resolve(&request).map(|chain| drop(firmware::of_chain(&chain))))
    });
    checking.await.map_err(anyhow::Error::from)??;
    match &image {
        OpenedImage::Remote(remote) if !remote.is_kept() => Err(Failure::with_hint(
            anyhow!("cannot open {name}: its tables are too large to be read from a server"),
            FETCH,
        )),
        _ => Ok(image),
    }
}

fn served(
    url: RemoteUrl,
    socket: ServerSocket,
    client: NbdClient<UnixStream>,
    asked: NbdClient<UnixStream>,
    process: Process,
) -> io::Result<OpenedImage> {
    let (name, limit, size) = (url.as_str().to_owned(), socket.timeout, client.size());
    // QEMU's driver for HTTP has a time-out itself, and would read ahead of each question.
    let is_asked = !matches!(url.source, RemoteSource::Http { .. });
    if !is_asked {
        let limit = limit + LATER;
        client.stream().set_read_timeout(Some(limit))?;
    }
    let asked = asked.into_stream();
    asked.set_nonblocking(true)?;
    let asked = tokio::net::UnixStream::from_std(asked)?;
    let watching = tokio::task::spawn_local(watch(name, process, (asked, is_asked), limit, size));
    let server = Box::new(Server(watching.abort_handle()));
    let image = RemoteImage::new(url, socket, client, server)?;
    Ok(OpenedImage::Remote(Arc::new(image)))
}

/// Until the server has no answer, which ends it: what waits for it gets an error.
async fn watch(
    name: String,
    mut process: Process,
    (mut stream, is_asked): (tokio::net::UnixStream, bool),
    limit: Duration,
    size: u64,
) {
    let why = tokio::select! {
        error = ask(&mut stream, limit, size), if is_asked => error.to_string(),
        _ = process.wait() => "its server ended unexpectedly".to_owned(),
    };
    let _ = process.kill().await;
    tracing::error!(
        "{}: {why}; nothing can be read from it any more",
        Quoted(Path::new(&name))
    );
}

async fn ask(stream: &mut tokio::net::UnixStream, limit: Duration, size: u64) -> io::Error {
    for cookie in 1.. {
        sleep(BETWEEN.min(limit)).await;
        // From another place each time, because drivers remember what they have read.
        let sectors = (size / SECTOR).max(1);
        let offset = cookie * 7919 % sectors * SECTOR;
        let length = SECTOR.min(size - offset.min(size));
        let asking = async {
            stream
                .write_all(&nbd::read_request(cookie, offset, length as u32))
                .await?;
            let mut reply = [0; nbd::REPLY_LENGTH];
            stream.read_exact(&mut reply).await?;
            nbd::check_reply(&reply, cookie)?;
            let mut bytes = [0; SECTOR as usize];
            stream.read_exact(&mut bytes[..length as usize]).await
        };
        match timeout(limit, asking).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return error,
            Err(_) => return no_answer(limit),
        }
    }
    io::ErrorKind::Other.into()
}

async fn failed(url: &RemoteUrl, error: anyhow::Error, mut process: Process) -> Failure {
    let is_silent = error.chain().any(|cause| {
        let cause = cause.downcast_ref::<io::Error>();
        cause.is_some_and(|cause| cause.kind() == io::ErrorKind::TimedOut)
    });
    // If it has ended, it has said why.
    let patience = if is_silent { Duration::ZERO } else { TO_END };
    let _ = process.wait_or_kill(Instant::now() + patience).await;
    let said = process.tail();
    let name = Quoted(Path::new(url.as_str()));
    let failure = match said.rsplit_once("}: ").map_or(&*said, |(_, said)| said) {
        "" => Failure::from(error.context(format!("cannot open {name}"))),
        said => anyhow!("cannot open {name}: {}", output_lines(said)).into(),
    };
    let has_no_driver = said.contains("Unknown driver") || said.contains("Failed to open module");
    let hint = match &url.source {
        _ if is_silent || said.contains("timed out") => Some(IF_SLOW.to_owned()),
        RemoteSource::Http { .. } if has_no_driver => {
            Some(install_hint::command_for(Package::QemuCurl))
        }
        RemoteSource::Http { .. } if said.contains("range") => Some(FETCH.to_owned()),
        _ => None,
    };
    Failure { hint, ..failure }
}
