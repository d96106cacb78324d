use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn hello_with(nonce: u8) -> Hello {
    Hello {
        from: Role::Agent,
        protocol: PROTOCOL,
        program: "0.1.0".to_owned(),
        nonce: Nonce([nonce; 16]),
        emergency: false,
        keeps_commands: false,
    }
}

fn hello(nonce: u8) -> Vec<u8> {
    let mut bytes = Vec::new();
    put_hello(&mut bytes, &hello_with(nonce)).unwrap();
    bytes
}

fn stream(number: u32) -> StreamId {
    StreamId::new(number).unwrap()
}

/// Everything that comes out of `bytes`, pushed in pieces of these sizes, over and over.
fn decode(bytes: &[u8], sizes: &[usize]) -> (Vec<Frame>, Option<WireError>) {
    let mut decoder = Decoder::new();
    let mut frames = Vec::new();
    let mut rest = bytes;
    for size in sizes.iter().cycle() {
        let (piece, behind) = rest.split_at((*size).clamp(1, rest.len().max(1)).min(rest.len()));
        rest = behind;
        decoder.push(piece);
        loop {
            match decoder.next() {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(decoder.next(), Err(error.clone()), "an error stays");
                    return (frames, Some(error));
                }
            }
        }
        assert!(decoder.held() < HEADER + MAX_CONTROL + PREAMBLE.len());
        if rest.is_empty() {
            break;
        }
    }
    (frames, None)
}

fn frames() -> impl Strategy<Value = Frame> {
    let id = || (1..=u32::MAX).prop_map(stream);
    prop_oneof![
        any::<u8>().prop_map(|nonce| Frame::Hello(hello_with(nonce))),
        vec(any::<u8>(), 1..3000).prop_map(Frame::Control),
        (id(), vec(any::<u8>(), 1..3000)).prop_map(|(id, bytes)| Frame::Data(id, bytes)),
        id().prop_map(Frame::End),
        id().prop_map(Frame::Stop),
        (id(), any::<u32>()).prop_map(|(id, bytes)| Frame::Credit(id, bytes)),
        (id(), any::<u64>(), any::<u32>())
            .prop_map(|(id, address, length)| Frame::Placed(id, address, length)),
        any::<u32>().prop_map(Frame::Taken),
    ]
}

/// Names as Linux has them: any bytes.
fn names() -> impl Strategy<Value = ByteString> {
    vec(any::<u8>(), 0..40).prop_map(ByteString)
}

proptest! {
    #[test]
    fn any_cut_into_pieces_gives_the_same_frames(
        sent in vec(frames(), 0..12),
        sizes in vec(1_usize..5000, 1..8),
    ) {
        let mut bytes = hello(1);
        for frame in &sent {
            frame.put(&mut bytes).unwrap();
        }
        let (mut got, error) = decode(&bytes, &sizes);
        prop_assert_eq!(error, None);
        prop_assert_eq!(got.remove(0), Frame::Hello(hello_with(1)));
        prop_assert_eq!(got, sent);
    }

    #[test]
    fn arbitrary_bytes_never_panic_and_are_held_only_up_to_the_cap(
        lead in any::<bool>(),
        bytes in vec(any::<u8>(), 0..4000),
        sizes in vec(1_usize..500, 1..5),
    ) {
        let mut all = if lead { hello(1) } else { Vec::new() };
        all.extend(bytes);
        let cut = decode(&all, &sizes);
        prop_assert_eq!(cut, decode(&all, &[all.len().max(1)]));
    }

    #[test]
    fn stale_bytes_before_a_hello_are_skipped(
        stale in vec(frames(), 0..4),
        torn in 0_usize..200,
        noise in vec(prop_oneof![Just(0xff_u8), any::<u8>()], 0..60),
        sizes in vec(1_usize..300, 1..5),
    ) {
        // The middle of a frame, whole frames that are no hellos, a torn hello, noise.
        let mut bytes = b"lder\"}}".to_vec();
        for frame in stale.iter().filter(|frame| !matches!(frame, Frame::Hello(_))) {
            frame.put(&mut bytes).unwrap();
        }
        let old = hello(9);
        bytes.extend(&old[..torn.min(old.len() - 9)]);
        bytes.extend(noise);
        let skipped = bytes.len();
        bytes.extend(hello(2));
        put_end(&mut bytes, stream(3));
        let (got, error) = decode(&bytes, &sizes);
        prop_assert_eq!(error, None);
        prop_assert_eq!(&got[..], [Frame::Hello(hello_with(2)), Frame::End(stream(3))]);
        let mut decoder = Decoder::new();
        decoder.push(&bytes);
        decoder.next().unwrap();
        prop_assert_eq!(decoder.skipped(), skipped as u64);
    }

    #[test]
    fn names_of_any_bytes_pass_unchanged(name in names(), target in names()) {
        let entry = Entry { path: name, stat: None, link: Some(target), error: None };
        let json = serde_json::to_vec(&entry).unwrap();
        prop_assert!(!json.contains(&b'\n'));
        prop_assert_eq!(parse::<Entry>("entry", &json).unwrap(), entry.clone());
        let mut record = b"before".to_vec();
        put_record(&mut record, &entry).unwrap();
        let (header, value) = record[6..].split_first_chunk().unwrap();
        prop_assert_eq!(record_length(*header).unwrap(), value.len());
        prop_assert_eq!(parse_record::<Entry>(value).unwrap(), entry);
    }

    #[test]
    fn windows_of_both_sides_agree(reads in vec(0_usize..100_000, 1..200)) {
        let id = stream(1);
        let mut send = SendWindow::default();
        let mut receive = ReceiveWindow::default();
        let mut unread = 0;
        for read in reads {
            let sent = send.left();
            send.sent(sent);
            receive.received(id, sent).unwrap();
            unread += sent;
            prop_assert!(unread <= WINDOW as usize);
            let read = read.min(unread);
            unread -= read;
            if let Some(credit) = receive.read(read) {
                send.credited(id, credit).unwrap();
            }
        }
        // Whatever was read, reading on is always credited in the end.
        if let Some(credit) = receive.read(unread) {
            send.credited(id, credit).unwrap();
        }
        prop_assert!(send.left() > 0);
        prop_assert_eq!(receive.received(id, WINDOW as usize + 1), Err(WireError::Overrun(id)));
        prop_assert!(send.credited(id, WINDOW).is_err());
    }
}

#[test]
fn what_the_table_does_not_have_is_refused_by_name() {
    let id = 7_u32.to_le_bytes();
    let none = [0; 4];
    let cases: [(&[u8], [u8; 4], &str); 10] = [
        (
            &[1, 0, 1, 0, 3],
            id,
            "a frame of kind 3 with 65537 bytes, more than the limit of 65536",
        ),
        (
            &[1, 0, 16, 0, 2],
            none,
            "a frame of kind 2 with 1048577 bytes, more than the limit of 1048576",
        ),
        (&[0, 0, 0, 0, 9], id, "a frame of unknown kind 9"),
        (&[0, 0, 0, 0, 0], none, "a frame of unknown kind 0"),
        (&[0, 0, 0, 0, 3], id, "a frame of kind 3 with 0 bytes"),
        (&[1, 0, 0, 0, 4], id, "a frame of kind 4 with 1 bytes"),
        (&[3, 0, 0, 0, 5], id, "a frame of kind 5 with 3 bytes"),
        (&[0, 0, 0, 0, 4], none, "a frame of kind 4 with stream 0"),
        (&[9, 0, 0, 0, 2], id, "a frame of kind 2 with stream 7"),
        (
            &[9, 0, 0, 0, 1],
            none,
            "a hello without preamble, out of order",
        ),
    ];
    for (header, stream, words) in cases {
        let mut bytes = hello(1);
        bytes.extend(header);
        bytes.extend(stream);
        let (frames, error) = decode(&bytes, &[3]);
        assert_eq!(frames.len(), 1);
        assert_eq!(error.unwrap().to_string(), words);
    }
}

#[test]
fn an_oversized_frame_is_refused_at_its_header() {
    let mut decoder = Decoder::new();
    decoder.push(&hello(1));
    decoder.next().unwrap().unwrap();
    decoder.push(&[0xfe, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0]);
    assert!(matches!(
        decoder.next(),
        Err(WireError::Oversized {
            kind: 2,
            length: 0xffff_fffe,
            ..
        })
    ));
    decoder.push(&[0; 100_000]);
    assert_eq!(decoder.held(), 0, "nothing is kept after an error");
}

#[test]
fn json_that_nests_without_end_is_refused() {
    let bomb = "[".repeat(MAX_CONTROL);
    let error = parse::<AgentMessage>("message", bomb.as_bytes()).unwrap_err();
    assert!(error.to_string().len() < 300, "{error}");
    let inner = format!("{{\"reply\":{{\"id\":1,\"result\":{bomb}");
    let error = parse::<AgentMessage>("message", inner.as_bytes()).unwrap_err();
    assert!(error.to_string().len() < 300, "{error}");
}

#[test]
fn what_a_guest_writes_is_escaped_in_an_error() {
    let error = parse::<AgentMessage>("message", b"{\"\\u001b[2J\\u202e\":1}").unwrap_err();
    assert!(error.to_string().is_ascii(), "{error}");
    assert!(!error.to_string().chars().any(char::is_control), "{error}");
    let error = RemoteError::new(ErrorStage::File, "\x1b[2J'\"".repeat(9_999));
    assert!(!error.to_string().chars().any(char::is_control));
    assert!(error.to_string().len() < 10_000);
}

#[test]
fn data_over_the_cap_becomes_several_frames() {
    let mut bytes = hello(1);
    put_data(&mut bytes, stream(1), &vec![5; MAX_DATA * 2 + 1]);
    put_data(&mut bytes, stream(1), &[]);
    let (frames, error) = decode(&bytes, &[MAX_DATA]);
    let sizes: Vec<usize> = frames
        .iter()
        .map(|frame| match frame {
            Frame::Data(_, bytes) => bytes.len(),
            _ => 0,
        })
        .collect();
    assert_eq!((sizes, error), (vec![0, MAX_DATA, MAX_DATA, 1], None));
}

#[test]
fn a_message_over_the_cap_is_not_sent() {
    let mut out = Vec::new();
    let error = put_control(&mut out, &"x".repeat(MAX_CONTROL)).unwrap_err();
    assert!(
        matches!(error, WireError::Oversized { kind: 2, .. }),
        "{error}"
    );
    assert!(out.is_empty());
}
