//! The few messages of the NBD protocol that reading an export takes: the fixed newstyle handshake,
//! `NBD_OPT_GO`, and `NBD_CMD_READ` with simple replies. Facts are from doc/proto.md of the NBD project.
//!
//! For a few bytes of an image before QEMU runs, and for all that QEMU reads over HTTP. Nothing is allocated by a size that the server states.

use std::io::{self, Read, Write};

pub(super) const MAGIC: u64 = u64::from_be_bytes(*b"NBDMAGIC");
pub(super) const OPTION_MAGIC: u64 = u64::from_be_bytes(*b"IHAVEOPT");
pub(super) const OPTION_REPLY_MAGIC: u64 = 0x0003_e889_0455_65a9;
pub(super) const REQUEST_MAGIC: u32 = 0x2560_9513;
pub(super) const REPLY_MAGIC: u32 = 0x6744_6698;
/// What precedes the bytes that were read.
pub const REPLY_LENGTH: usize = 16;

/// Of the handshake, by both sides.
pub(super) const FIXED_NEWSTYLE: u16 = 1;
pub(super) const OPT_GO: u32 = 7;
pub(super) const REP_ACK: u32 = 1;
pub(super) const REP_INFO: u32 = 3;
pub(super) const REP_ERROR: u32 = 1 << 31;
pub(super) const INFO_EXPORT: u16 = 0;

/// The longest data of an option or of a reply to one, in bytes; a name has at most 4096, and a few come
/// with it.
pub(super) const MAX_OPTION_DATA: u32 = 8192;
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
    /// After a failure nobody knows what comes next.
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

    pub fn stream(&self) -> &S {
        &self.stream
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
            let answered = self.read_part(part, at);
            self.is_broken = answered.is_err();
            answered??;
            at += part.len() as u64;
        }
        Ok(())
    }

    /// Fails unless there is an answer, which may be an error.
    fn read_part(&mut self, buffer: &mut [u8], offset: u64) -> io::Result<io::Result<()>> {
        self.cookie += 1;
        let request = read_request(self.cookie, offset, buffer.len() as u32);
        self.stream.write_all(&request)?;
        match reply_error(&read(&mut self.stream)?, self.cookie)? {
            None => self.stream.read_exact(buffer).map(Ok),
            // No bytes follow.
            Some(error) => Ok(Err(error)),
        }
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
    reply_error(reply, cookie)?.map_or(Ok(()), Err)
}

/// The error that a reply to the request with this cookie states.
fn reply_error(reply: &[u8; REPLY_LENGTH], cookie: u64) -> io::Result<Option<io::Error>> {
    let mut fields = &reply[..];
    let (magic, error) = (read_u32(&mut fields)?, read_u32(&mut fields)?);
    if magic != REPLY_MAGIC || read_u64(&mut fields)? != cookie {
        return Err(invalid("no reply of NBD"));
    }
    match error {
        0 => Ok(None),
        // Those of the protocol are the numbers of Linux.
        error => Ok(Some(io::Error::from_raw_os_error(error.min(255) as i32))),
    }
}

/// The kind of a reply to [`OPT_GO`], and its data.
fn option_reply(stream: &mut impl Read) -> io::Result<(u32, Vec<u8>)> {
    let magic = read_u64(stream)?;
    let option = read_u32(stream)?;
    let kind = read_u32(stream)?;
    let length = read_u32(stream)?;
    if magic != OPTION_REPLY_MAGIC || option != OPT_GO || length > MAX_OPTION_DATA {
        return Err(invalid("no reply of NBD to an option"));
    }
    let mut data = vec![0; length as usize];
    stream.read_exact(&mut data)?;
    Ok((kind, data))
}

pub(super) fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

pub(super) fn read_u16(stream: &mut impl Read) -> io::Result<u16> {
    read(stream).map(u16::from_be_bytes)
}

pub(super) fn read_u32(stream: &mut impl Read) -> io::Result<u32> {
    read(stream).map(u32::from_be_bytes)
}

pub(super) fn read_u64(stream: &mut impl Read) -> io::Result<u64> {
    read(stream).map(u64::from_be_bytes)
}

fn read<const N: usize>(stream: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What a server sends, and what it is sent.
    struct Script<'a> {
        says: &'a [u8],
        hears: Vec<u8>,
    }

    impl Read for Script<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.says.read(buffer)
        }
    }

    impl Write for Script<'_> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.hears.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn open(says: &[u8]) -> io::Result<NbdClient<Script<'_>>> {
        let hears = Vec::new();
        NbdClient::open(Script { says, hears }, "x")
    }

    fn hello(flags: u16) -> Vec<u8> {
        [b"NBDMAGICIHAVEOPT", &flags.to_be_bytes()[..]].concat()
    }

    fn option(kind: u32, data: &[u8]) -> Vec<u8> {
        let mut reply = OPTION_REPLY_MAGIC.to_be_bytes().to_vec();
        for field in [OPT_GO, kind, data.len() as u32] {
            reply.extend(field.to_be_bytes());
        }
        [reply, data.to_vec()].concat()
    }

    /// As far as an export of `size` bytes is open.
    fn opened(size: u64) -> Vec<u8> {
        let export = [&[0, 0][..], &size.to_be_bytes(), &[0, 1]].concat();
        let block_size = [&[0, 3][..], &[0; 12]].concat();
        let replies = [option(REP_INFO, &block_size), option(REP_INFO, &export)];
        [hello(3), replies.concat(), option(REP_ACK, &[])].concat()
    }

    fn reply(error: u32, cookie: u64, data: &[u8]) -> Vec<u8> {
        let mut reply = REPLY_MAGIC.to_be_bytes().to_vec();
        reply.extend(error.to_be_bytes());
        reply.extend(cookie.to_be_bytes());
        [reply, data.to_vec()].concat()
    }

    #[test]
    fn an_export_is_opened_and_read() {
        let says = [opened(1000), reply(0, 1, b"abc"), reply(0, 2, b"de")].concat();
        let mut client = open(&says).unwrap();
        assert_eq!(client.size(), 1000);
        let mut buffer = [0; 3];
        client.read_exact_at(&mut buffer, 7).unwrap();
        assert_eq!(&buffer, b"abc");
        client.read_exact_at(&mut buffer[..2], 998).unwrap();
        assert_eq!(&buffer[..2], b"de");
        let beyond = client.read_exact_at(&mut buffer, 998).unwrap_err();
        assert_eq!(beyond.kind(), io::ErrorKind::UnexpectedEof);
        let hears = client.into_stream().hears;
        let go = [&[0, 0, 0, 7, 0, 0, 0, 7, 0, 0, 0, 1, b'x', 0, 0][..]].concat();
        assert_eq!(hears[..27], [&[0, 0, 0, 1][..], b"IHAVEOPT", &go].concat());
        let read = [
            &[0x25, 0x60, 0x95, 0x13, 0, 0, 0, 0][..],
            &1_u64.to_be_bytes(),
        ]
        .concat();
        assert_eq!(hears[27..43], read);
        assert_eq!(
            hears[43..55],
            [&7_u64.to_be_bytes()[..], &[0, 0, 0, 3]].concat()
        );
    }

    #[test]
    fn what_is_no_handshake_is_an_error() {
        let bad_option = option(REP_INFO, &[0; 12]).split_off(1);
        let mut too_long = option(REP_INFO, &[]);
        too_long[16..20].copy_from_slice(&(MAX_OPTION_DATA + 1).to_be_bytes());
        let endless = option(REP_INFO, &[0, 3]).repeat(100);
        for (name, says) in [
            ("nothing", vec![]),
            (
                "another magic",
                b"NBDMAGIC\0\0\x42\x02\x81\x86\x12\x53".to_vec(),
            ),
            ("the old handshake", hello(0)),
            ("no size", [hello(1), option(REP_ACK, &[])].concat()),
            (
                "half a size",
                [hello(1), option(REP_INFO, &[0; 9]), option(REP_ACK, &[])].concat(),
            ),
            (
                "refused",
                [hello(1), option(REP_ERROR | 6, b"not present")].concat(),
            ),
            ("another reply", [hello(1), bad_option].concat()),
            ("too long", [hello(1), too_long].concat()),
            ("endless", [hello(1), endless].concat()),
        ] {
            assert!(open(&says).is_err(), "{name}");
        }
    }

    #[test]
    fn after_a_wrong_reply_nothing_is_read_any_more() {
        let says = [opened(8), reply(0, 9, b"x"), reply(0, 2, b"y")].concat();
        let mut client = open(&says).unwrap();
        assert!(client.read_exact_at(&mut [0], 0).is_err());
        let again = client.read_exact_at(&mut [0], 0).unwrap_err();
        assert_eq!(again.kind(), io::ErrorKind::NotConnected);
    }

    #[test]
    fn an_error_is_that_of_one_request() {
        let says = [opened(8), reply(5, 1, b""), reply(0, 2, b"y")].concat();
        let mut client = open(&says).unwrap();
        let error = client.read_exact_at(&mut [0], 0).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(5));
        let mut byte = [0];
        client.read_exact_at(&mut byte, 0).unwrap();
        assert_eq!(&byte, b"y");
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_error_or_an_export(
            start in 0_usize..90,
            end in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let whole = opened(1 << 20);
            let says = [&whole[..start.min(whole.len())], &end].concat();
            if let Ok(mut client) = open(&says) {
                let _ = client.read_exact_at(&mut [0; 64], 0);
            }
        }
    }
}
