//! Files of a journal that are made here, and damaged ones. (Those of a real journald are read in `tests/it`.)

use proptest::prelude::*;

use super::*;

/// A file, made object by object.
struct Writer {
    bytes: Vec<u8>,
    is_compact: bool,
}

impl Writer {
    fn new(is_compact: bool) -> Self {
        let mut bytes = vec![0; 208];
        bytes[..8].copy_from_slice(SIGNATURE);
        let flags = incompatible::KEYED_HASH | if is_compact { incompatible::COMPACT } else { 0 };
        bytes[12..16].copy_from_slice(&flags.to_le_bytes());
        Self { bytes, is_compact }
    }

    fn object(&mut self, kind: Kind, flags: u8, body: &[u8]) -> u64 {
        self.bytes.resize(self.bytes.len().next_multiple_of(8), 0);
        let offset = self.bytes.len() as u64;
        self.bytes.extend([kind as u8, flags, 0, 0, 0, 0, 0, 0]);
        self.bytes.extend((16 + body.len() as u64).to_le_bytes());
        self.bytes.extend(body);
        offset
    }

    fn data(&mut self, flags: u8, payload: &[u8]) -> u64 {
        let head = if self.is_compact { 56 } else { 48 };
        self.object(Kind::Data, flags, &[&vec![0; head], payload].concat())
    }

    fn entry(&mut self, number: u64, fields: &[u64]) -> u64 {
        let mut body = Vec::new();
        for field in [number, 1_000_000 * number, 7] {
            body.extend(field.to_le_bytes());
        }
        body.extend([9; 16]);
        body.extend([0; 8]);
        for field in fields {
            match self.is_compact {
                true => body.extend((*field as u32).to_le_bytes()),
                false => body.extend([field.to_le_bytes(), [0; 8]].concat()),
            }
        }
        self.object(Kind::Entry, 0, &body)
    }

    fn array(&mut self, next: u64, entries: &[u64]) -> u64 {
        let mut body = next.to_le_bytes().to_vec();
        for entry in entries {
            match self.is_compact {
                true => body.extend((*entry as u32).to_le_bytes()),
                false => body.extend(entry.to_le_bytes()),
            }
        }
        self.object(Kind::EntryArray, 0, &body)
    }

    fn finish(mut self, count: u64, array: u64) -> Vec<u8> {
        self.bytes[152..160].copy_from_slice(&count.to_le_bytes());
        self.bytes[176..184].copy_from_slice(&array.to_le_bytes());
        self.bytes
    }
}

/// Two entries that share a field, the second with a field that is compressed by LZ4.
fn file(is_compact: bool) -> Vec<u8> {
    let mut file = Writer::new(is_compact);
    let unit = file.data(0, b"_SYSTEMD_UNIT=a.service");
    let message = file.data(0, b"MESSAGE=one=1");
    // A block of LZ4 that has nothing but literals.
    let text = b"MESSAGE=two";
    let block = [
        &(text.len() as u64).to_le_bytes()[..],
        &[(text.len() as u8) << 4],
        text,
    ]
    .concat();
    let packed = file.data(LZ4_FLAG, &block);
    let first = file.entry(1, &[message, unit]);
    let second = file.entry(2, &[unit, packed]);
    // An array with room for more. The list goes forward, so the next one is where this one ends.
    let length = 24 + 8;
    let next = (file.bytes.len().next_multiple_of(8) + length).next_multiple_of(8) as u64;
    let entries: &[u64] = if is_compact {
        &[first, second]
    } else {
        &[first]
    };
    let array = file.array(if is_compact { 0 } else { next }, entries);
    if !is_compact {
        assert_eq!(file.array(0, &[second, 0, 0]), next);
    }
    file.finish(2, array)
}

const LZ4_FLAG: u8 = 2;

fn messages(bytes: &[u8]) -> Result<Vec<(u64, String)>, JournalError> {
    let file = JournalFile::new(bytes)?;
    let mut data = file.data();
    let mut found = Vec::new();
    for entry in file.entries() {
        let entry = entry?;
        for offset in file.fields(&entry)? {
            if let Some(field) = data.field(offset, |name| name == b"MESSAGE")? {
                let text = String::from_utf8_lossy(field.value()).into_owned();
                found.push((entry.realtime, text));
            }
        }
    }
    Ok(found)
}

#[test]
fn entries_and_their_fields_are_read_in_both_layouts() {
    for is_compact in [false, true] {
        let bytes = file(is_compact);
        let expected = [(1_000_000, "one=1"), (2_000_000, "two")];
        let expected = expected.map(|(time, text)| (time, text.to_owned()));
        assert_eq!(messages(&bytes).unwrap(), expected, "{is_compact}");
        let entry = JournalFile::new(&bytes).unwrap().entries().next();
        let entry = entry.unwrap().unwrap();
        assert_eq!((entry.seqnum, entry.monotonic, entry.boot), (1, 7, [9; 16]));
    }
}

#[test]
fn what_is_no_journal_or_of_another_time_is_refused() {
    assert_eq!(messages(b"").unwrap_err(), JournalError::Signature);
    assert_eq!(messages(&[0; 300]).unwrap_err(), JournalError::Signature);
    let mut bytes = file(false);
    bytes[12] |= 0x80;
    assert_eq!(
        messages(&bytes).unwrap_err(),
        JournalError::Unsupported(0x80)
    );
    assert!(messages(&file(false)[..150]).is_err());
}

#[test]
fn a_list_that_leads_back_ends_with_an_error() {
    let mut file = Writer::new(false);
    let entry = file.entry(1, &[]);
    let array = file.array(8, &[entry]);
    let bytes = file.finish(u64::MAX, array);
    let file = JournalFile::new(&bytes).unwrap();
    assert!(file.entries().count() == 1);
    assert!(file.entries().all(|entry| entry.is_err()));
}

#[test]
fn a_field_that_only_claims_a_size_costs_no_memory() {
    let mut file = Writer::new(false);
    let huge = file.data(LZ4_FLAG, &u64::MAX.to_le_bytes());
    let entry = file.entry(1, &[huge]);
    let array = file.array(0, &[entry]);
    let error = messages(&file.finish(1, array)).unwrap_err();
    assert!(error.to_string().contains("longer than 16 MiB"), "{error}");
}

/// The seeds of the fuzzer: every compression, in both layouts. What it found is replayed too.
#[test]
fn every_seed_of_the_corpus_keeps_its_verdict() {
    let corpus = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus-journal");
    let mut verdicts = Vec::new();
    for seed in std::fs::read_dir(corpus).unwrap() {
        let path = seed.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let found = messages(&std::fs::read(&path).unwrap());
        let found = found.map(|found| found.iter().map(|(_, text)| text.len()).collect::<Vec<_>>());
        verdicts.push(format!("{name}: {found:?}"));
    }
    verdicts.sort();
    let expected = [
        "compact: Ok([3, 3])",
        "lz4: Ok([3, 3])",
        "regular: Ok([3, 3])",
        "xz: Ok([3, 1500])",
        "zstd: Ok([3, 1500])",
    ];
    assert_eq!(verdicts, expected);
}

proptest! {
    /// As a fuzzer would: any byte of any file may be another one.
    #[test]
    fn damaged_files_end_with_an_error_or_less(
        is_compact: bool,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        length in any::<prop::sample::Index>(),
    ) {
        let mut bytes = file(is_compact);
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes.truncate(length.index(bytes.len()).max(HEADER));
        if let Ok(found) = messages(&bytes) {
            prop_assert!(found.len() <= bytes.len());
        }
    }
}
