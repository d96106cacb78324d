//! Sizes and times as people type them.

use std::time::Duration;

use crate::machine::plan::Accelerator;

/// Bytes: a number with an optional suffix K, M, G, T (powers of 1024, as QEMU has them).
pub fn parse_size(text: &str) -> Result<u64, String> {
    let wrong = || "not a size such as 512M or 10G".to_owned();
    let text = text
        .strip_suffix("iB")
        .or(text.strip_suffix('B'))
        .unwrap_or(text);
    let (number, shift) = match text.as_bytes().last().map(u8::to_ascii_uppercase) {
        Some(b'K') => (&text[..text.len() - 1], 10),
        Some(b'M') => (&text[..text.len() - 1], 20),
        Some(b'G') => (&text[..text.len() - 1], 30),
        Some(b'T') => (&text[..text.len() - 1], 40),
        _ => (text, 0),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    number
        .checked_mul(1 << shift)
        .filter(|bytes| *bytes > 0)
        .ok_or_else(wrong)
}

/// A time: a number with an optional suffix ms, s, m, h; seconds without one.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || "not a time such as 90, 90s, 5m or 2h".to_owned();
    let (number, millis) = if let Some(number) = text.strip_suffix("ms") {
        (number, 1)
    } else if let Some(number) = text.strip_suffix('s') {
        (number, 1000)
    } else if let Some(number) = text.strip_suffix('m') {
        (number, 60_000)
    } else if let Some(number) = text.strip_suffix('h') {
        (number, 3_600_000)
    } else {
        (text, 1000)
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    number
        .checked_mul(millis)
        .filter(|millis| (1..=u64::from(u32::MAX) * 1000).contains(millis))
        .map(Duration::from_millis)
        .ok_or_else(wrong)
}

/// Guest memory: MiB, or with a suffix.
///
/// # Errors
/// In words, for clap.
pub fn parse_memory(text: &str) -> Result<u64, String> {
    let mib = match text.parse::<u64>() {
        Ok(mib) => mib,
        Err(_) => crate::commands::units::parse_size(text)? >> 20,
    };
    match mib {
        16..=16_777_216 => Ok(mib),
        _ => Err("a guest has between 16M and 16T".into()),
    }
}

/// Accelerators in the order to try.
///
/// # Errors
/// In words, for clap.
pub fn parse_accel(text: &str) -> Result<Accelerator, String> {
    match text {
        "kvm:tcg" => Ok(Accelerator::KvmThenTcg),
        "kvm" => Ok(Accelerator::Kvm),
        "tcg" => Ok(Accelerator::Tcg),
        _ => Err("not one of kvm:tcg, kvm, tcg".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes_are_powers_of_1024() {
        assert_eq!(parse_size("10G"), Ok(10 << 30));
        assert_eq!(parse_size("1k"), Ok(1024));
        assert_eq!(parse_size("4KiB"), Ok(4096));
        assert_eq!(parse_size("7"), Ok(7));
        for wrong in ["", "G", "0", "-1", "1.5G", "99999999999T", "1X", "é"] {
            assert!(parse_size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn times_are_seconds_unless_they_say_otherwise() {
        assert_eq!(parse_duration("90"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_duration("5m"), Ok(Duration::from_secs(300)));
        assert_eq!(parse_duration("250ms"), Ok(Duration::from_millis(250)));
        for wrong in ["", "s", "0", "-3", "1d", "forever", "99999999999999h", "é"] {
            assert!(parse_duration(wrong).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parsers_panic(text in "\\PC*") {
            let _ = parse_size(&text);
            let _ = parse_duration(&text);
        }
    }

    #[test]
    fn memory_is_in_mib_unless_it_says_otherwise() {
        assert_eq!(parse_memory("512"), Ok(512));
        assert_eq!(parse_memory("2G"), Ok(2048));
        assert!(parse_memory("1").is_err());
        assert!(parse_memory("lots").is_err());
    }
}
