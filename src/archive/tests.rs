use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn bytes_without_nul(length: std::ops::Range<usize>) -> impl Strategy<Value = Vec<u8>> {
    vec(1_u8..=255, length)
}

fn members() -> impl Strategy<Value = Member> {
    use Kind::{Character, Directory, Fifo, File, HardLink, Link};
    let kinds = vec![File, HardLink, Link, Character, Directory, Fifo];
    let kind = prop::sample::select(kinds);
    let owner = any::<(u32, u32)>();
    let modified = (any::<i32>(), 0..1_000_000_000_u32);
    let target = bytes_without_nul(0..300);
    let device = (0..1_u32 << 21, 0..1_u32 << 21);
    let attribute = (bytes_without_nul(1..40), vec(any::<u8>(), 0..300));
    let data = (0..2000_u64, any::<bool>());
    (
        (bytes_without_nul(1..300), kind, 0..=0o7777_u32, owner),
        (modified, target, device, vec(attribute, 0..3), data),
    )
        .prop_map(|((path, kind, mode, (uid, gid)), others)| {
            let (modified, target, device, mut attributes, (size, sparse)) = others;
            attributes.retain(|(name, _)| !name.contains(&b'='));
            let mut member = Member::new(path, kind);
            (member.mode, member.uid, member.gid) = (mode, uid, gid);
            member.modified = (i64::from(modified.0), modified.1);
            member.attributes = attributes;
            match kind {
                File => {
                    member.size = size;
                    let segments = vec![(0, size / 4), (size / 2, size / 4)];
                    member.segments = sparse.then_some(segments);
                }
                _ => member.target = target,
            }
            if kind == Character {
                member.device = device;
            }
            while kind == Directory && member.path.len() > 1 && member.path.ends_with(b"/") {
                member.path.pop();
            }
            member
        })
}

fn headers(member: &Member) -> Vec<u8> {
    let mut stream = Vec::new();
    begin(&mut stream, member).unwrap();
    stream
}

proptest! {
    #[test]
    fn what_is_written_is_read(members in vec(members(), 0..6), whole in any::<bool>()) {
        let mut stream = Vec::new();
        for (nth, member) in members.iter().enumerate() {
            begin(&mut stream, member).unwrap();
            stream.extend(vec![nth as u8; member.data() as usize]);
            stream.extend(padding(member.data()));
        }
        end(&mut stream).unwrap();
        let mut reader = Reader::new(&stream[..]);
        for (nth, member) in members.iter().enumerate() {
            prop_assert_eq!(&reader.next().unwrap().unwrap(), member);
            let mut buffer = vec![0; 5000];
            let mut read = 0;
            loop {
                match if whole { reader.read(&mut buffer).unwrap() } else { 0 } {
                    0 => break,
                    n => read += buffer[..n].iter().filter(|&&byte| byte == nth as u8).count(),
                }
            }
            prop_assert!(!whole || read as u64 == member.data());
        }
        prop_assert_eq!(reader.next().unwrap(), None);
    }

    #[test]
    fn damaged_streams_never_panic(
        member in members(),
        damage in vec((0_usize..3000, any::<u8>()), 0..4),
        cut in 0_usize..4000,
    ) {
        let mut stream = headers(&member);
        stream.extend(vec![1; member.data() as usize]);
        stream.extend(padding(member.data()));
        end(&mut stream).unwrap();
        for (place, byte) in damage {
            if let Some(hit) = stream.get_mut(place) {
                *hit = byte;
            }
        }
        stream.truncate(cut);
        let mut reader = Reader::new(&stream[..]);
        while let Ok(Some(_)) = reader.next() {}
    }
}

/// As by tar(1), also where the name is in an extended header. Read are both.
#[test]
fn the_name_of_a_directory_ends_in_a_slash() {
    let stored = |member: &Member| headers(member)[..4].to_vec();
    let mut member = Member::new(b"a/b".to_vec(), Kind::Directory);
    assert_eq!(stored(&member), b"a/b/");
    let mut without = headers(&member);
    without[3] = 0;
    let sum: u32 = (0..BLOCK)
        .map(|at| {
            if (148..156).contains(&at) {
                b' '
            } else {
                without[at]
            }
        })
        .map(u32::from)
        .sum();
    without[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    for stream in [headers(&member), without] {
        assert_eq!(Reader::new(&stream[..]).next().unwrap().unwrap(), member);
    }
    // With the slash it has more than 100 bytes.
    member.path = vec![b'a'; 100];
    let stream = headers(&member);
    let record = [&b"111 path="[..], &member.path, b"/\n"].concat();
    assert!(stream[BLOCK..].starts_with(&record));
    assert_eq!(Reader::new(&stream[..]).next().unwrap().unwrap(), member);
    member.kind = Kind::Link;
    assert_eq!(stored(&member), b"aaaa");
}

#[test]
fn a_stream_without_its_end_is_truncated() {
    let stream = headers(&Member::new(b"a".to_vec(), Kind::Directory));
    let mut reader = Reader::new(&stream[..]);
    reader.next().unwrap().unwrap();
    assert!(matches!(reader.next(), Err(ArchiveError::Truncated)));
}

#[test]
fn lengths_that_are_stated_are_not_believed() {
    let mut member = Member::new(b"a".to_vec(), Kind::File);
    member.size = u64::MAX >> 2;
    let stream = headers(&member);
    let mut reader = Reader::new(&stream[..]);
    assert_eq!(reader.next().unwrap().unwrap().size, u64::MAX >> 2);
    assert!(matches!(reader.next(), Err(ArchiveError::Truncated)));
}

#[test]
fn headers_that_never_come_to_their_member_do_not_grow() {
    let mut member = Member::new(b"a".to_vec(), Kind::Directory);
    let value = vec![1; 1 << 20];
    member.attributes = vec![(b"user.a".to_vec(), value)];
    let whole = headers(&member);
    // What is before the member's own header.
    let extended = &whole[..whole.len() - BLOCK];
    let twice = [extended, &whole].concat();
    let found = Reader::new(&twice[..]).next().unwrap().unwrap();
    assert_eq!(found.attributes.len(), 2);
    let endless = [extended.repeat(9), whole.clone()].concat();
    assert!(matches!(
        Reader::new(&endless[..]).next(),
        Err(ArchiveError::TooLarge("an extended header"))
    ));
}
