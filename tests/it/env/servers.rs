//! Servers of images, as on another host: qemu-nbd, one of NBD that opens its export and answers no read,
//! one of HTTP that answers for ranges of a file, and one that says nothing. Each ends with its value, or
//! with the test's process.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::wait::{self, PATIENCE, soon};

/// A qemu-nbd that exports a file, for writing too.
pub struct Nbd {
    server: Child,
    pub url: String,
}

impl Nbd {
    /// The raw bytes of `file`, at a socket in `directory`.
    pub fn at_socket(file: &Path, directory: &Path) -> Self {
        let socket = directory.join("nbd socket");
        let place = ["--socket", socket.to_str().unwrap()];
        let server = Self::start(file, &place);
        soon("qemu-nbd listens", || socket.exists());
        let socket = socket.display().to_string().replace(' ', "%20");
        let url = format!("nbd+unix:///an%20export?socket={socket}");
        Self { server, url }
    }

    /// The same at a port of this host.
    pub fn at_port(file: &Path) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let port = address.port().to_string();
        let server = Self::start(file, &["--bind", "127.0.0.1", "--port", &port]);
        soon("qemu-nbd listens", || TcpStream::connect(address).is_ok());
        let url = format!("nbd://{address}/an%20export");
        Self { server, url }
    }

    fn start(file: &Path, place: &[&str]) -> Child {
        let mut command = Command::new("qemu-nbd");
        command.args(["--persistent", "--shared=0", "--format=raw"]);
        command.args(["--export-name", "an export"]).args(place);
        wait::spawn(command.arg(file)).expect("qemu-nbd starts")
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.server.id() as i32), signal).unwrap();
    }
}

impl Drop for Nbd {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// A server of NBD that opens its export, and answers no read.
pub struct Stalled {
    pub url: String,
    is_asked: Arc<AtomicBool>,
}

impl Stalled {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("nbd://{}/x", listener.local_addr().unwrap());
        let is_asked = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&is_asked);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let asked = Arc::clone(&asked);
                // A client may go away at any time.
                std::thread::spawn(move || stall(stream, &asked));
            }
        });
        Self { url, is_asked }
    }

    /// Whether a read was asked for.
    pub fn is_asked(&self) -> bool {
        self.is_asked.load(Ordering::Relaxed)
    }
}

/// Numbers are from doc/proto.md of the NBD project.
fn stall(mut stream: TcpStream, is_asked: &AtomicBool) -> io::Result<()> {
    stream.write_all(b"NBDMAGICIHAVEOPT\0\x03")?;
    stream.read_exact(&mut [0; 4])?;
    loop {
        let mut head = [0; 16];
        stream.read_exact(&mut head)?;
        let length = u32::from_be_bytes(*head.last_chunk().unwrap());
        stream.read_exact(&mut vec![0; length as usize])?;
        let mut reply = |kind: u32, data: &[u8]| {
            let length = (data.len() as u32).to_be_bytes();
            let magic = &0x0003_e889_0455_65a9_u64.to_be_bytes();
            let parts: [&[u8]; 5] = [magic, &head[8..12], &kind.to_be_bytes(), &length, data];
            stream.write_all(&parts.concat())
        };
        // NBD_OPT_GO: NBD_INFO_EXPORT with 64 MiB, read-only, and NBD_REP_ACK. Else NBD_REP_ERR_UNSUP.
        if head[8..12] != [0, 0, 0, 7] {
            reply(1 << 31 | 1, &[])?;
            continue;
        }
        reply(3, &[0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 3])?;
        reply(1, &[])?;
        break;
    }
    while stream.read(&mut [0])? > 0 {
        is_asked.store(true, Ordering::Relaxed);
    }
    Ok(())
}

/// How many requests a server has.
#[derive(Default)]
pub struct Load {
    now: AtomicUsize,
    /// At once.
    pub most: AtomicUsize,
    /// Answered so far.
    pub all: AtomicUsize,
}

/// What a server of HTTP does.
#[derive(Clone)]
pub enum Http {
    /// Answers for ranges of the file.
    Ranges(PathBuf),
    /// The same after a moment, and counts.
    Counting(PathBuf, Arc<Load>),
    /// Answers with all of the file, whatever is asked for.
    Whole(PathBuf),
    /// Redirects to this URL.
    Redirect(String),
    /// Never answers.
    Silent,
}

impl Http {
    /// Starts it, in threads that end with the test's process. Where it listens.
    pub fn start(self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let http = self.clone();
                // A client may go away at any time.
                std::thread::spawn(move || http.serve(&stream));
            }
        });
        address
    }

    fn serve(&self, stream: &TcpStream) -> Option<()> {
        let mut reader = BufReader::new(stream);
        loop {
            let mut lines = Vec::new();
            loop {
                let mut line = String::new();
                reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
                match line.trim() {
                    "" => break,
                    line => lines.push(line.to_ascii_lowercase()),
                }
            }
            let is_head = lines.first()?.starts_with("head ");
            let range = lines.iter().find_map(|line| {
                let (first, last) = line.strip_prefix("range: bytes=")?.split_once('-')?;
                Some((first.parse().ok()?, last.parse().ok()))
            });
            match self {
                Self::Silent => std::thread::sleep(PATIENCE),
                Self::Redirect(to) => {
                    let head = format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\n");
                    (&*stream)
                        .write_all(format!("{head}Content-Length: 0\r\n\r\n").as_bytes())
                        .ok()?;
                }
                Self::Ranges(path) => send(stream, path, is_head, Some(range))?,
                Self::Counting(path, load) => {
                    let now = load.now.fetch_add(1, Ordering::SeqCst) + 1;
                    load.most.fetch_max(now, Ordering::SeqCst);
                    std::thread::sleep(Duration::from_millis(20));
                    load.now.fetch_sub(1, Ordering::SeqCst);
                    load.all.fetch_add(1, Ordering::SeqCst);
                    send(stream, path, is_head, Some(range))?;
                }
                Self::Whole(path) => send(stream, path, is_head, None)?,
            }
        }
    }
}

/// `ranges`: whether the server knows them, and the first and last byte that are asked for.
type Range = (u64, Option<u64>);

fn send(
    mut stream: &TcpStream,
    path: &Path,
    is_head: bool,
    ranges: Option<Option<Range>>,
) -> Option<()> {
    let mut file = File::open(path).ok()?;
    let size = file.metadata().ok()?.len();
    let (first, last) = ranges.flatten().unwrap_or((0, None));
    let end = last.map_or(size, |last| (last + 1).min(size));
    let mut head = match ranges {
        Some(Some(_)) => format!(
            "HTTP/1.1 206 Partial\r\nContent-Range: bytes {first}-{}/{size}\r\n",
            end - 1
        ),
        _ => "HTTP/1.1 200 OK\r\n".to_owned(),
    };
    if ranges.is_some() {
        head += "Accept-Ranges: bytes\r\n";
    }
    head += &format!("Content-Length: {}\r\n\r\n", end - first);
    stream.write_all(head.as_bytes()).ok()?;
    if is_head {
        return Some(());
    }
    file.seek(SeekFrom::Start(first)).ok()?;
    std::io::copy(&mut file.take(end - first), &mut stream)
        .ok()
        .map(drop)
}
