//! Details of files that a hostile agent sends.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::*;
use crate::protocol::{
    AgentMessage, Decoder, Frame, Hello, Reply, Request, Response, Role, parse, put_control,
    put_data, put_end, put_hello, put_record,
};

async fn hear(stream: &mut UnixStream, decoder: &mut Decoder) -> Option<Frame> {
    let mut buffer = [0; 4096];
    loop {
        if let Some(frame) = decoder.next().unwrap() {
            return Some(frame);
        }
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return None,
            Ok(count) => decoder.push(&buffer[..count]),
        }
    }
}

/// An agent that answers the only request with these records, over and over if they are to be endless.
async fn agent(mut stream: UnixStream, records: &[u8], is_endless: bool) {
    let mut decoder = Decoder::new();
    let mut bytes = Vec::new();
    let Some(Frame::Hello(hello)) = hear(&mut stream, &mut decoder).await else {
        panic!("no hello");
    };
    let from = Role::Agent;
    put_hello(&mut bytes, &Hello { from, ..hello }).unwrap();
    stream.write_all(&bytes).await.unwrap();
    let Some(Frame::Control(json)) = hear(&mut stream, &mut decoder).await else {
        panic!("no request");
    };
    let Request { id, op } = parse("request", &json).unwrap();
    let Operation::Details { out, .. } = op else {
        panic!("{op:?}");
    };
    bytes.clear();
    let result = Ok(Response::Opened { stat: None });
    put_control(&mut bytes, &AgentMessage::Reply(Reply { id, result })).unwrap();
    put_data(&mut bytes, out, records);
    if !is_endless {
        put_end(&mut bytes, out);
    }
    stream.write_all(&bytes).await.unwrap();
    while hear(&mut stream, &mut decoder).await.is_some() {}
}

/// What the host says of these records for two files.
async fn said(records: &[u8], is_endless: bool) -> Result<Vec<Details>, String> {
    let (guest, host) = UnixStream::pair().unwrap();
    let work = async {
        let session = Session::connect(host, Duration::from_secs(60))
            .await
            .unwrap();
        let files = ["/a", "/b"].map(|path| (path.into(), DigestKind::Keyed));
        let details = session.details("/", files.to_vec(), [7; 16]).await;
        details.map_err(|error| error.to_string())
    };
    let (said, ()) = tokio::join!(work, agent(guest, records, is_endless));
    said
}

#[tokio::test]
async fn details_of_fewer_or_more_files_or_none_are_an_error() {
    let mut record = Vec::new();
    put_record(&mut record, &Details::default()).unwrap();
    assert_eq!(said(&record.repeat(2), false).await.unwrap().len(), 2);
    let and = |more: &[u8]| [&record, more].concat();
    // Few bytes that take much memory.
    let mut many = Vec::new();
    let attributes = vec![Default::default(); 6000];
    let details = Details {
        attributes,
        ..Details::default()
    };
    put_record(&mut many, &details).unwrap();
    let wrong = [
        (Vec::new(), false),
        (record.clone(), false),
        (record.repeat(3), false),
        (and(&many), false),
        // It is not waited for the end.
        (record.repeat(1000), true),
        (and(&[0; RECORD_HEADER]), false),
        // More bytes than the value has.
        (and(&[4, 0, 0, 0, 0, 0, 0, 0]), false),
        (and(&[0xff; RECORD_HEADER]), true),
        (and(&record[..record.len() - 1]), false),
        (and(&record[..2]), false),
    ];
    for (records, is_endless) in wrong {
        let error = said(&records, is_endless).await.unwrap_err();
        assert!(error.contains("the guest broke the protocol"), "{error}");
    }
}
