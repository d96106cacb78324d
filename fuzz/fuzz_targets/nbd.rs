//! What a server of NBD sends, as bytes: the export is open and some of it is read, or it is an error.
#![no_main]

use std::io::{self, Read, Write};

use bivouac::image::nbd::NbdClient;
use libfuzzer_sys::fuzz_target;

/// Says what it has, whatever it is sent.
struct Server<'a>(&'a [u8]);

impl Read for Server<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Server<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fuzz_target!(|data: &[u8]| {
    let Ok(mut client) = NbdClient::open(Server(data), "image") else {
        return;
    };
    let mut buffer = [0; 4096];
    for offset in [0, client.size().saturating_sub(4096), u64::MAX] {
        if client.read_exact_at(&mut buffer, offset).is_ok() {
            assert!(offset + 4096 <= client.size());
        }
    }
});
