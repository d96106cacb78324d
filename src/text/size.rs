//! Sizes in bytes, as people type and read them. Units are powers of 1024.

use std::fmt;

/// Bytes: a number with an optional suffix K, M, G, T, as QEMU has them.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let wrong = || "not a size such as 512M or 10G".to_owned();
    let text = text
        .strip_suffix("iB")
        .or(text.strip_suffix('B'))
        .unwrap_or(text);
    let shift = match text.as_bytes().last().map(u8::to_ascii_uppercase) {
        Some(b'K') => 10,
        Some(b'M') => 20,
        Some(b'G') => 30,
        Some(b'T') => 40,
        _ => 0,
    };
    let digits = text.len() - usize::from(shift > 0);
    let number: u64 = text[..digits].parse().map_err(|_| wrong())?;
    number
        .checked_mul(1 << shift)
        .filter(|bytes| *bytes > 0)
        .ok_or_else(wrong)
}

/// A guest's memory in MiB: a number of MiB, or a size with a suffix.
pub fn parse_memory(text: &str) -> Result<u64, String> {
    let mib = match text.parse::<u64>() {
        Ok(mib) => mib,
        Err(_) => parse_size(text)? >> 20,
    };
    match mib {
        16..=16_777_216 => Ok(mib),
        _ => Err("a guest has between 16M and 16T".into()),
    }
}

/// Bytes in the largest unit that fits: exact, as in `20 GiB`, or with one decimal, as in
/// `1.5 GiB`.
#[derive(Clone, Copy, Debug)]
pub struct Size(pub u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
        let mut unit = self.0.checked_ilog2().unwrap_or(0) as usize / 10;
        if self.0.is_multiple_of(1 << (10 * unit)) {
            return write!(f, "{} {}", self.0 >> (10 * unit), UNITS[unit]);
        }
        let scaled = |unit: usize| self.0 as f64 / (1_u64 << (10 * unit)) as f64;
        // Never 1024.0 of a unit.
        if scaled(unit) >= 1023.95 && unit + 1 < UNITS.len() {
            unit += 1;
        }
        write!(f, "{:.1} {}", scaled(unit), UNITS[unit])
    }
}

/// As `df -h` has it: two digits at least and rounded up, such as `1.5G` or `12G`.
pub fn short(bytes: u64) -> String {
    let units = ["", "K", "M", "G", "T", "P", "E"];
    let mut unit = 0;
    let mut one = 1_u128;
    let bytes = u128::from(bytes);
    while unit + 1 < units.len() && bytes.div_ceil(one) >= 1024 {
        one *= 1024;
        unit += 1;
    }
    let tenths = (bytes * 10).div_ceil(one);
    match unit {
        0 => bytes.to_string(),
        _ if tenths < 100 => format!("{}.{}{}", tenths / 10, tenths % 10, units[unit]),
        _ => format!("{}{}", bytes.div_ceil(one), units[unit]),
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
    fn memory_is_in_mib_unless_it_says_otherwise() {
        assert_eq!(parse_memory("512"), Ok(512));
        assert_eq!(parse_memory("2G"), Ok(2048));
        assert!(parse_memory("1").is_err());
        assert!(parse_memory("lots").is_err());
    }

    #[test]
    fn sizes_are_exact_if_a_unit_fits_and_never_1024_of_one() {
        for (bytes, text) in [
            (0, "0 B"),
            (512, "512 B"),
            (1536, "1.5 KiB"),
            (20 << 30, "20 GiB"),
            ((1 << 20) + 1, "1.0 MiB"),
            ((1 << 30) - 1, "1.0 GiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(Size(bytes).to_string(), text);
        }
    }

    #[test]
    fn short_sizes_are_rounded_up_as_df_does() {
        // numfmt --to=iec --round=up
        for (bytes, text) in [
            (0, "0"),
            (1023, "1023"),
            (1024, "1.0K"),
            (1025, "1.1K"),
            (10_240, "10K"),
            (10_241, "11K"),
            (1_048_575, "1.0M"),
            (2_147_483_648, "2.0G"),
            (u64::MAX, "16E"),
        ] {
            assert_eq!(short(bytes), text);
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in "\\PC*") {
            let _ = parse_size(&text);
        }
    }
}
