//! A database of rpm as bytes, NDB or Berkeley DB: every record, and of each the package.
#![no_main]

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use bivouac::inspect::packages::rpm::{bdb, header, ndb};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut file = data;
    let reading = async {
        match data.starts_with(b"RpmP") {
            true => ndb::records(&mut file, header::package).await,
            false => bdb::records(&mut file, header::package).await,
        }
    };
    let Poll::Ready(Ok(contents)) = pin!(reading).poll(&mut Context::from_waker(Waker::noop()))
    else {
        unreachable!("bytes are there");
    };
    assert_eq!(contents.fault.is_some(), contents.faults > 0);
    // No record is read twice but from pages that are damaged.
    assert!(contents.found.len() <= data.len() / 16);
    assert!(contents.found.iter().all(|package| !package.name.is_empty()));
});
