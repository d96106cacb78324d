//! The few messages of the NBD protocol that reading an export takes: the fixed newstyle handshake,
//! `NBD_OPT_GO`, and `NBD_CMD_READ` with simple replies. Facts are from doc/proto.md of the NBD project.
//!
//! For a few bytes of an image before QEMU runs. Nothing is allocated by a size that the server states.

use std::io::{self, Read, Write};

const MAGIC: u64 = u64::from_be_bytes(*b"NBDMAGIC");
const OPTION_MAGIC: u64 = u64::from_be_bytes(*b"IHAVEOPT");
const OPTION_REPLY_MAGIC: u64 = 0x0003_e889_0455_65a9;
const REQUEST_MAGIC: u32 = 0x2560_9513;
const REPLY_MAGIC: u32 = 0x6744_6698;
/// What precedes the bytes that were read.
pub const REPLY_LENGTH: usize = 16;

/// Of the handshake, by both sides.
const FIXED_NEWSTYLE: u16 = 1;
const OPT_GO: u32 = 7;
const REP_ACK: u32 = 1;
const REP_INFO: u32 = 3;
const REP_ERROR: u32 = 1 << 31;
const INFO_EXPORT: u16 = 0;

/// The longest reply to an option, in bytes; `NBD_REP_INFO` has at most 4096 and a few.
const MAX_OPTION_REPLY: u32 = 8192;
/// The most replies to one option.
const MAX_OPTION_REPLIES: usize = 32;
/// The most bytes of one request.
const MAX_READ: usize = 1 << 20;

/// An export, over a stream with its server.
#[derive(Debug)]
pub struct NbdClient<S> {
    stream: S,
    /// Of the export, in bytes.
    size: u64,
    /// The number of the last request.
    cookie: u64,
    /// After an error nobody knows what comes next.
    is_broken: bool,
}

impl<S: Read + Write> NbdClient<S> {
    /// Opens the export `name`.
    pub fn open(mut stream: S, name: &str) -> io::Result<Self> {
        if read_u64(&mut stream)? != MAGIC || read_u64(&mut stream)? != OPTION_MAGIC {
            return Err(invalid("the server does not speak NBD"));
        }
        if read_u16(&mut stream)? & FIXED_NEWSTYLE == 0 {
            return Err(invalid("the server knows only the old handshake of NBD"));
        }
        let length = u32::try_from(name.len()).map_err(|_| invalid("too long a name"))?;
        let mut message = Vec::new();
        message.extend(u32::from(FIXED_NEWSTYLE).to_be_bytes());
        message.extend(OPTION_MAGIC.to_be_bytes());
        message.extend(OPT_GO.to_be_bytes());
        // The name with its length, and no list of what is to be told besides.
        message.extend((length + 6).to_be_bytes());
        message.extend(length.to_be_bytes());
        message.extend(name.as_bytes());
        message.extend([0, 0]);
        stream.write_all(&message)?;
        let mut size = None;
        for _ in 0..MAX_OPTION_REPLIES {
            let (kind, data) = option_reply(&mut stream)?;
            match (kind, &data[..]) {
                (REP_ACK, _) => {
                    let size = size.ok_or_else(|| invalid("the server states no size"))?;
                    return Ok(Self {
                        stream,
                        size,
                        cookie: 0,
                        is_broken: false,
                    });
                }
                (REP_INFO, [a, b, rest @ ..]) if u16::from_be_bytes([*a, *b]) == INFO_EXPORT => {
                    size = rest.first_chunk().copied().map(u64::from_be_bytes);
                }
                (kind, _) if kind & REP_ERROR != 0 => {
                    return Err(io::Error::other("the server refuses to open the export"));
                }
                // Another information, which nobody needs.
                _ => {}
            }
        }
        Err(invalid("the server does not come to an end"))
    }

    /// The stream, where requests of [`read_request`] are answered.
    pub fn into_stream(self) -> S {
        self.stream
    }

    /// Of the export, in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Fills `buffer` from `offset`; [`io::ErrorKind::UnexpectedEof`] beyond the end.
    pub fn read_exact_at(&mut self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let end = offset.checked_add(buffer.len() as u64);
        if end.is_none_or(|end| end > self.size) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if self.is_broken {
            return Err(io::ErrorKind::NotConnected.into());
        }
        let mut at = offset;
        for part in buffer.chunks_mut(MAX_READ) {
            let done = self.read_part(part, at);
            self.is_broken = done.is_err();
            done?;
            at += part.len() as u64;
        }
        Ok(())
    }

    fn read_part(&mut self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.cookie += 1;
        let request = read_request(self.cookie, offset, buffer.len() as u32);
        self.stream.write_all(&request)?;
        check_reply(&read(&mut self.stream)?, self.cookie)?;
        self.stream.read_exact(buffer)
    }
}

/// The request for `length` bytes from `offset`.
pub fn read_request(cookie: u64, offset: u64, length: u32) -> Vec<u8> {
    let mut request = Vec::new();
    request.extend(REQUEST_MAGIC.to_be_bytes());
    // No flags, and NBD_CMD_READ.
    request.extend([0, 0, 0, 0]);
    request.extend(cookie.to_be_bytes());
    request.extend(offset.to_be_bytes());
    request.extend(length.to_be_bytes());
    request
}

/// Fails unless the reply is that to the request with this cookie, and the bytes follow.
pub fn check_reply(reply: &[u8; REPLY_LENGTH], cookie: u64) -> io::Result<()> {
    let mut fields = &reply[..];
    let (magic, error) = (read_u32(&mut fields)?, read_u32(&mut fields)?);
    if magic != REPLY_MAGIC || read_u64(&mut fields)? != cookie {
        return Err(invalid("no reply of NBD"));
    }
    match error {
        0 => Ok(()),
        // Those of the protocol are the numbers of Linux.
        error => Err(io::Error::from_raw_os_error(error.min(255) as i32)),
    }
}

/// The kind of a reply to [`OPT_GO`], and its data.
fn option_reply(stream: &mut impl Read) -> io::Result<(u32, Vec<u8>)> {
    let magic = read_u64(stream)?;
    let option = read_u32(stream)?;
    let kind = read_u32(stream)?;
    let length = read_u32(stream)?;
    if magic != OPTION_REPLY_MAGIC || option != OPT_GO || length > MAX_OPTION_REPLY {
        return Err(invalid("no reply of NBD to an option"));
    }
    let mut data = vec![0; length as usize];
    stream.read_exact(&mut data)?;
    Ok((kind, data))
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

fn read_u16(stream: &mut impl Read) -> io::Result<u16> {
    read(stream).map(u16::from_be_bytes)
}

fn read_u32(stream: &mut impl Read) -> io::Result<u32> {
    read(stream).map(u32::from_be_bytes)
}

fn read_u64(stream: &mut impl Read) -> io::Result<u64> {
    read(stream).map(u64::from_be_bytes)
}

fn read<const N: usize>(stream: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}
