//! The header of version 2: a binary part of 4096 bytes and JSON, stored twice.

use std::collections::BTreeMap;

use argon2::Algorithm;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Deserializer};

use super::Kdf;
use super::digest::Hash;
use super::slot::{Area, Data, Digest, Slot};
use crate::block::ids::lossy;
use crate::linux::bytes::Fields;

const BINARY: usize = 4096;
/// The sizes that a header may have (specification, 2.2): where the second copy may begin.
const SIZES: [usize; 9] = [
    0x4000, 0x8000, 0x1_0000, 0x2_0000, 0x4_0000, 0x8_0000, 0x10_0000, 0x20_0000, 0x40_0000,
];
const CHECKSUM: (usize, usize) = (448, 64);
/// The most key slots that are tried.
const MOST_SLOTS: usize = 32;

#[derive(Debug, Deserialize)]
struct Json {
    keyslots: BTreeMap<String, Keyslot>,
    segments: BTreeMap<String, Segment>,
    digests: BTreeMap<String, JsonDigest>,
    config: Config,
}

#[derive(Debug, Deserialize)]
struct Keyslot {
    #[serde(rename = "type")]
    kind: String,
    key_size: usize,
    /// 0: not tried unless it is asked for.
    #[serde(default = "normal_priority")]
    priority: u8,
    af: Option<Splitter>,
    area: JsonArea,
    kdf: Option<JsonKdf>,
}

fn normal_priority() -> u8 {
    1
}

#[derive(Debug, Deserialize)]
struct Splitter {
    stripes: usize,
    hash: String,
}

#[derive(Debug, Deserialize)]
struct JsonArea {
    #[serde(deserialize_with = "number")]
    offset: u64,
    #[serde(deserialize_with = "number")]
    size: u64,
    encryption: Option<String>,
    key_size: Option<usize>,
}

#[derive(Debug, Deserialize)]
struct JsonKdf {
    #[serde(rename = "type")]
    kind: String,
    salt: String,
    hash: Option<String>,
    iterations: Option<u32>,
    time: Option<u32>,
    memory: Option<u32>,
    cpus: Option<u32>,
}

#[derive(Debug, Deserialize)]
struct Segment {
    #[serde(rename = "type")]
    kind: String,
    #[serde(deserialize_with = "number")]
    offset: u64,
    size: String,
    #[serde(default, deserialize_with = "number")]
    iv_tweak: u64,
    #[serde(default)]
    encryption: String,
    #[serde(default)]
    sector_size: u32,
    integrity: Option<serde_json::Value>,
}

#[derive(Debug, Deserialize)]
struct JsonDigest {
    #[serde(rename = "type")]
    kind: String,
    keyslots: Vec<String>,
    segments: Vec<String>,
    salt: String,
    digest: String,
    hash: String,
    iterations: u32,
}

#[derive(Debug, Deserialize)]
struct Config {
    #[serde(default)]
    requirements: Requirements,
}

#[derive(Debug, Default, Deserialize)]
struct Requirements {
    #[serde(default)]
    mandatory: Vec<String>,
}

/// Numbers of 64 bits are strings.
fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(serde::de::Error::custom)
}

fn decode(text: &str) -> Result<Vec<u8>, String> {
    BASE64_STANDARD
        .decode(text)
        .map_err(|error| format!("its header is broken: {error}"))
}

pub(super) fn parse(start: &[u8]) -> Result<(Vec<Slot>, Data), String> {
    let json = json(start).ok_or("both copies of its header are broken")?;
    let json: Json =
        serde_json::from_slice(json).map_err(|error| format!("its header is broken: {error}"))?;
    if let Some(need) = json.config.requirements.mandatory.first() {
        let need = need.trim_end_matches(|last: char| last.is_ascii_digit() || last == '-');
        return Err(match need {
            "online-reencrypt-v" | "offline-reencrypt" | "online-reencrypt" => {
                "it is being encrypted anew, which is not finished".to_owned()
            }
            _ => format!("it requires {need:?}, which is not supported"),
        });
    }
    let [(id, segment)] = &json.segments.iter().collect::<Vec<_>>()[..] else {
        return Err("it has several segments, which is not supported".to_owned());
    };
    if segment.kind != "crypt" {
        return Err(format!("data of type {:?} is not supported", segment.kind));
    }
    if segment.integrity.is_some() {
        return Err("it is encrypted with authentication, which is not supported".to_owned());
    }
    let data = Data {
        cipher: segment.encryption.clone(),
        offset: segment.offset / 512,
        length: match &segment.size[..] {
            "dynamic" => None,
            size => Some(size.parse::<u64>().map_err(|_| "its header is broken")? / 512),
        },
        iv_offset: segment.iv_tweak,
        sector_size: segment.sector_size,
    };
    Ok((slots(&json, id)?, data))
}

/// The JSON of the first copy of which the checksum is right.
fn json(start: &[u8]) -> Option<&[u8]> {
    let second = SIZES.iter().filter_map(|at| start.get(*at..));
    let copies = std::iter::once((start, &b"LUKS\xba\xbe"[..]));
    let mut copies = copies.chain(second.map(|copy| (copy, &b"SKUL\xba\xbe"[..])));
    copies.find_map(|(copy, magic)| {
        if !copy.has(0, magic) {
            return None;
        }
        let size = usize::try_from(copy.be64(8)).ok()?;
        let copy = SIZES.contains(&size).then(|| copy.get(..size))??;
        let hash = Hash::named(&lossy(copy.part(72, 32))).ok()?;
        let (at, length) = CHECKSUM;
        let sum = hash.of(&[&copy[..at], &[0; CHECKSUM.1], &copy[at + length..]]);
        if !copy.has(at, &sum) {
            return None;
        }
        let json = &copy[BINARY..];
        let end = json.iter().position(|byte| *byte == 0);
        Some(&json[..end.unwrap_or(json.len())])
    })
}

/// The key slots of a segment, those to be preferred first.
fn slots(json: &Json, segment: &str) -> Result<Vec<Slot>, String> {
    let mut digests = json.digests.values();
    let digest = digests.find(|digest| digest.segments.iter().any(|other| other == segment));
    let digest = digest.ok_or("its header has no digest of the key")?;
    if digest.kind != "pbkdf2" {
        return Err(format!(
            "digests of type {:?} are not supported",
            digest.kind
        ));
    }
    let digest_of_key = Digest {
        kdf: Kdf::Pbkdf2 {
            hash: Hash::named(&digest.hash)?,
            iterations: digest.iterations,
            salt: decode(&digest.salt)?,
        },
        value: decode(&digest.digest)?,
    };
    let slots = json.keyslots.iter();
    let is_of_segment = |name: &String| digest.keyslots.contains(name);
    let mut slots: Vec<_> = slots
        .filter(|(name, slot)| is_of_segment(name) && slot.kind == "luks2" && slot.priority > 0)
        .collect();
    slots.sort_by_key(|(_, slot)| std::cmp::Reverse(slot.priority));
    slots.truncate(MOST_SLOTS);
    let slots = slots.into_iter();
    slots
        .map(|(name, slot)| slot_of(name, slot, digest_of_key.clone()))
        .collect()
}

fn slot_of(name: &str, slot: &Keyslot, digest: Digest) -> Result<Slot, String> {
    let broken = || format!("its key slot {name} is broken");
    let (splitter, kdf) = (slot.af.as_ref(), slot.kdf.as_ref());
    let (splitter, kdf) = splitter.zip(kdf).ok_or_else(broken)?;
    let salt = decode(&kdf.salt)?;
    let kdf = match &kdf.kind[..] {
        "pbkdf2" => Kdf::Pbkdf2 {
            hash: Hash::named(kdf.hash.as_deref().unwrap_or_default())?,
            iterations: kdf.iterations.ok_or_else(broken)?,
            salt,
        },
        kind @ ("argon2i" | "argon2id") => Kdf::Argon2 {
            algorithm: match kind {
                "argon2i" => Algorithm::Argon2i,
                _ => Algorithm::Argon2id,
            },
            passes: kdf.time.ok_or_else(broken)?,
            memory: kdf.memory.ok_or_else(broken)?,
            lanes: kdf.cpus.ok_or_else(broken)?,
            salt,
        },
        kind => return Err(format!("the key derivation {kind:?} is not supported")),
    };
    Ok(Slot {
        name: name.to_owned(),
        area: Area {
            offset: slot.area.offset,
            bytes: slot.area.size,
        },
        kdf,
        area_cipher: slot.area.encryption.clone().ok_or_else(broken)?,
        area_key: slot.area.key_size.ok_or_else(broken)?,
        key: slot.key_size,
        stripes: splitter.stripes,
        split_hash: Hash::named(&splitter.hash)?,
        digest,
    })
}
