//! The other side of NBD: a read-only export for one client, which gets one reply after the other. Facts are
//! from doc/proto.md of the NBD project.
//!
//! For QEMU's driver of HTTP, which loses requests: of transfers that end at the same time it takes notice of
//! one (curl_multi_check_completion in block/curl.c), and the others wait for a next transfer, which may
//! never come. Whoever asks through this server has only one on its way.

use std::io::{self, Read, Write};

use super::nbd::{
    FIXED_NEWSTYLE, INFO_EXPORT, MAGIC, MAX_OPTION_DATA, OPT_GO, OPTION_MAGIC, OPTION_REPLY_MAGIC,
    REP_ACK, REP_ERROR, REP_INFO, REPLY_MAGIC, REQUEST_MAGIC, invalid, read_u16, read_u32,
    read_u64,
};

const REP_UNSUPPORTED: u32 = REP_ERROR | 1;
/// `NBD_FLAG_HAS_FLAGS` and `NBD_FLAG_READ_ONLY`.
const FLAGS: u16 = 1 | 1 << 1;
const COMMAND_READ: u16 = 0;
const COMMAND_DISCONNECT: u16 = 2;
const EIO: u32 = 5;
/// The most bytes that a client may ask for at once, unless it was told another size.
const MAX_READ: u32 = 32 << 20;

/// Answers the client at `stream` until it goes away. `read` fills a buffer from an offset of the export,
/// which has `size` bytes; the client is told of its failure.
pub fn serve(
    mut stream: impl Read + Write,
    size: u64,
    mut read: impl FnMut(&mut [u8], u64) -> io::Result<()>,
) -> io::Result<()> {
    handshake(&mut stream, size)?;
    let mut reply = Vec::new();
    loop {
        if read_u32(&mut stream)? != REQUEST_MAGIC {
            return Err(invalid("no request of NBD"));
        }
        let _flags = read_u16(&mut stream)?;
        let command = read_u16(&mut stream)?;
        let cookie = read_u64(&mut stream)?;
        let offset = read_u64(&mut stream)?;
        let length = read_u32(&mut stream)?;
        match command {
            COMMAND_READ if length <= MAX_READ => {}
            COMMAND_DISCONNECT => return Ok(()),
            _ => return Err(invalid("a request that no reader has")),
        }
        reply.clear();
        reply.extend(REPLY_MAGIC.to_be_bytes());
        reply.extend([0; 4]);
        reply.extend(cookie.to_be_bytes());
        let head = reply.len();
        reply.resize(head + length as usize, 0);
        if read(&mut reply[head..], offset).is_err() {
            reply.truncate(head);
            reply[4..8].copy_from_slice(&EIO.to_be_bytes());
        }
        stream.write_all(&reply)?;
    }
}

/// Until the client opens the export, whichever it names.
fn handshake(stream: &mut (impl Read + Write), size: u64) -> io::Result<()> {
    stream.write_all(&MAGIC.to_be_bytes())?;
    stream.write_all(&OPTION_MAGIC.to_be_bytes())?;
    stream.write_all(&FIXED_NEWSTYLE.to_be_bytes())?;
    let _flags = read_u32(stream)?;
    loop {
        let magic = read_u64(stream)?;
        let option = read_u32(stream)?;
        let length = read_u32(stream)?;
        if magic != OPTION_MAGIC || length > MAX_OPTION_DATA {
            return Err(invalid("no option of NBD"));
        }
        stream.read_exact(&mut vec![0; length as usize])?;
        let mut reply = |kind: u32, data: &[u8]| {
            let magic = OPTION_REPLY_MAGIC.to_be_bytes();
            let length = data.len() as u32;
            let fields = [option, kind, length].map(u32::to_be_bytes).concat();
            stream.write_all(&[&magic, &fields[..], data].concat())
        };
        if option == OPT_GO {
            let info = [INFO_EXPORT.to_be_bytes(), FLAGS.to_be_bytes()];
            reply(
                REP_INFO,
                &[&info[0], &size.to_be_bytes()[..], &info[1]].concat(),
            )?;
            return reply(REP_ACK, &[]);
        }
        reply(REP_UNSUPPORTED, &[])?;
    }
}

#[cfg(test)]
mod tests {
    use std::net::Shutdown;
    use std::os::unix::net::UnixStream;
    use std::thread;

    use proptest::prelude::*;

    use super::*;
    use crate::image::nbd::{NbdClient, read_request};

    /// The bytes of an export are those of their offsets; from 4096 on, it cannot be read.
    fn read(buffer: &mut [u8], offset: u64) -> io::Result<()> {
        if offset + buffer.len() as u64 > 4096 {
            return Err(io::ErrorKind::Other.into());
        }
        for (byte, at) in buffer.iter_mut().zip(offset..) {
            *byte = at as u8;
        }
        Ok(())
    }

    fn served() -> (UnixStream, thread::JoinHandle<io::Result<()>>) {
        let (theirs, ours) = UnixStream::pair().unwrap();
        (theirs, thread::spawn(move || serve(ours, 8192, read)))
    }

    #[test]
    fn a_client_reads_and_is_told_what_cannot_be_read() {
        let (stream, server) = served();
        let mut client = NbdClient::open(stream, "any").unwrap();
        assert_eq!(client.size(), 8192);
        let mut bytes = [0; 3];
        client.read_exact_at(&mut bytes, 255).unwrap();
        assert_eq!(bytes, [255, 0, 1]);
        let error = client.read_exact_at(&mut bytes, 4095).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(5));
        drop(client);
        let end = server.join().unwrap().unwrap_err();
        assert_eq!(end.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn requests_that_come_together_are_answered_in_their_order_and_errors_are_no_end() {
        let (stream, server) = served();
        let mut stream = NbdClient::open(stream, "any").unwrap().into_stream();
        let mut end = read_request(9, 0, 0);
        end[7] = COMMAND_DISCONNECT as u8;
        let requests = [read_request(7, 5000, 4), read_request(8, 3, 2), end];
        stream.write_all(&requests.concat()).unwrap();
        let mut replies = Vec::new();
        stream.read_to_end(&mut replies).unwrap();
        let mut expected = REPLY_MAGIC.to_be_bytes().to_vec();
        expected.extend([0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 7]);
        expected.extend(REPLY_MAGIC.to_be_bytes());
        expected.extend([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 3, 4]);
        assert_eq!(replies, expected);
        server.join().unwrap().unwrap();
    }

    #[test]
    fn other_options_are_unsupported_and_other_requests_are_an_end() {
        let (mut stream, server) = served();
        stream.read_exact(&mut [0; 18]).unwrap();
        let option = |number: u32| {
            let fields = [number, 0].map(u32::to_be_bytes).concat();
            [&OPTION_MAGIC.to_be_bytes()[..], &fields].concat()
        };
        let mut write = read_request(1, 0, 1 << 30);
        write[7] = 1;
        let says = [vec![0; 4], option(8), option(OPT_GO), write];
        stream.write_all(&says.concat()).unwrap();
        let mut reply = [0; 20];
        stream.read_exact(&mut reply).unwrap();
        let fields = [8, REP_UNSUPPORTED, 0].map(u32::to_be_bytes).concat();
        assert_eq!(reply[8..], fields);
        let end = server.join().unwrap().unwrap_err();
        assert_eq!(end.kind(), io::ErrorKind::InvalidData);
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_end(
            is_open: bool,
            says in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let go = [&[0; 4][..], b"IHAVEOPT", &OPT_GO.to_be_bytes(), &[0; 4]].concat();
            let magic = REQUEST_MAGIC.to_be_bytes();
            let start = if is_open { [&go[..], &magic].concat() } else { vec![] };
            let (mut stream, server) = served();
            stream.write_all(&[start, says].concat()).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            // Replies have no more bytes than the socket holds.
            let _ = server.join().unwrap();
        }
    }
}
