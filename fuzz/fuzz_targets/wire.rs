//! Frames as bytes: the decoder behind a hello and without one, and every kind of message. The
//! first byte says how the input is cut into pieces; no cut may change what comes out.
#![no_main]

use bivouac::protocol::{
    AgentMessage, Decoder, Details, Entry, Frame, HEADER, Hello, MAX_CONTROL, Nonce, PROTOCOL,
    Request, Role, TreeRecord, WireError, parse, parse_record, put_hello,
};
use libfuzzer_sys::fuzz_target;

fn decode(lead: &[u8], data: &[u8], step: usize) -> (Vec<Frame>, Option<WireError>) {
    let mut decoder = Decoder::new();
    let mut frames = Vec::new();
    for piece in [lead, data].into_iter().flat_map(|part| part.chunks(step)) {
        decoder.push(piece);
        loop {
            match decoder.next() {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => return (frames, Some(error)),
            }
        }
        assert!(decoder.held() <= HEADER + MAX_CONTROL);
    }
    (frames, None)
}

fuzz_target!(|data: &[u8]| {
    let mut lead = Vec::new();
    let hello = Hello {
        from: Role::Agent,
        protocol: PROTOCOL,
        program: "fuzz".to_owned(),
        nonce: Nonce([7; 16]),
        emergency: false,
        keeps_commands: false,
    };
    put_hello(&mut lead, &hello).expect("a short hello");
    let step = usize::from(data.first().copied().unwrap_or_default()) + 1;
    let (found, error) = decode(&[], data, step);
    assert!(
        error.is_none() || !found.is_empty(),
        "nothing is an error before a hello"
    );
    let cut = decode(&lead, data, step);
    assert_eq!(cut, decode(&lead, data, lead.len() + data.len()));
    // What was understood is written as it was read.
    let mut again = lead.clone();
    for frame in &cut.0[1..] {
        frame.put(&mut again).expect("it came within the caps");
        if let Frame::Control(json) = frame {
            let _ = parse::<AgentMessage>("message", json);
            let _ = parse::<Request>("request", json);
        }
        if let Frame::Data(_, record) = frame {
            let _ = parse_record::<Entry>(record);
            let _ = parse_record::<Details>(record);
            let _ = parse_record::<TreeRecord>(record);
        }
    }
    if !cut
        .0
        .iter()
        .skip(1)
        .any(|frame| matches!(frame, Frame::Hello(_)))
    {
        assert!(again[lead.len()..] == data[..again.len() - lead.len()]);
    }
});
