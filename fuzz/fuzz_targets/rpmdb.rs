//! A database of rpm as bytes, NDB, SQLite or Berkeley DB: every record, and of each the package. Behind the pages
//! of an SQLite database may be its log.
#![no_main]

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use bivouac::inspect::packages::rpm::{bdb, header, ndb, sqlite};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let (mut file, mut log) = (data, None);
    let reading = async {
        match data {
            [b'R', b'p', b'm', b'P', ..] => ndb::records(&mut file, header::package).await,
            [b'S', b'Q', b'L', ..] => {
                // The number of pages, of 512 bytes here.
                let pages = data.get(28..).and_then(|rest| rest.first_chunk());
                let pages = pages.map_or(0, |pages| u32::from_be_bytes(*pages) as usize);
                if let Some((pages, rest)) = data.split_at_checked(pages.saturating_mul(512)) {
                    (file, log) = (pages, Some(rest));
                }
                sqlite::records(&mut file, log.as_mut(), header::package).await
            }
            _ => bdb::records(&mut file, header::package).await,
        }
    };
    let Poll::Ready(Ok(contents)) = pin!(reading).poll(&mut Context::from_waker(Waker::noop()))
    else {
        unreachable!("bytes are there");
    };
    assert_eq!(contents.fault.is_some(), contents.faults > 0);
    assert!(contents.found.iter().all(|package| !package.name.is_empty()));
});
