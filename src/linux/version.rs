//! Compares versions as systemd and the boot loader do (UAPI Group, Version Format Specification).

use std::cmp::Ordering;

/// Characters that are part of a version; the others only separate.
fn is_part(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-.~^".contains(&byte)
}

/// Which of two versions is the newer one: the greater.
pub fn compare(one: &str, other: &str) -> Ordering {
    let (mut a, mut b) = (one.as_bytes(), other.as_bytes());
    loop {
        a = skip(a, |byte| !is_part(byte));
        b = skip(b, |byte| !is_part(byte));
        // A `~` is before everything, even the end; the end is before the other separators.
        for separator in [Some(b'~'), None, Some(b'-'), Some(b'^'), Some(b'.')] {
            let here = |text: &[u8]| text.first().copied() == separator;
            match (here(a), here(b)) {
                (false, false) => {}
                (true, false) => return Ordering::Less,
                (false, true) => return Ordering::Greater,
                (true, true) if separator.is_none() => return Ordering::Equal,
                (true, true) => (a, b) = (&a[1..], &b[1..]),
            }
        }
        let is_number = |text: &[u8]| text.first().is_some_and(u8::is_ascii_digit);
        let (left, right);
        if is_number(a) || is_number(b) {
            (left, a) = split(a, |byte| byte.is_ascii_digit());
            (right, b) = split(b, |byte| byte.is_ascii_digit());
            let (x, y) = (
                skip(left, |byte| byte == b'0'),
                skip(right, |byte| byte == b'0'),
            );
            let order = left.is_empty().cmp(&right.is_empty()).reverse();
            let order = order.then(x.len().cmp(&y.len())).then(x.cmp(y));
            if order != Ordering::Equal {
                return order;
            }
        } else {
            (left, a) = split(a, |byte| byte.is_ascii_alphabetic());
            (right, b) = split(b, |byte| byte.is_ascii_alphabetic());
            if left != right {
                return left.cmp(right);
            }
        }
    }
}

fn split(text: &[u8], is_in: impl Fn(u8) -> bool) -> (&[u8], &[u8]) {
    let end = text.iter().position(|byte| !is_in(*byte));
    text.split_at(end.unwrap_or(text.len()))
}

fn skip(text: &[u8], is_in: impl Fn(u8) -> bool) -> &[u8] {
    split(text, is_in).1
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn versions_are_in_the_order_of_the_specification() {
        let rising = [
            "~1",
            "",
            "ab",
            "abb",
            "abc",
            "0001",
            "002",
            "12",
            "122",
            "122.9",
            "123~rc1",
            "123",
            "123-a",
            "123-a.1",
            "123-a1",
            "123-a1.1",
            "123-3",
            "123-3.1",
            "123^patch1",
            "123^1",
            "123.a-1",
            "123.1-1",
            "123a-1",
            "124",
        ];
        for (place, one) in rising.iter().enumerate() {
            for (other_place, other) in rising.iter().enumerate() {
                assert_eq!(
                    compare(one, other),
                    place.cmp(&other_place),
                    "{one} {other}"
                );
            }
        }
        assert_eq!(compare("acme_1.10", "acme_1.9"), Ordering::Greater);
        assert_eq!(compare("01", "1"), Ordering::Equal);
    }

    proptest! {
        #[test]
        fn the_order_is_the_same_from_both_sides(a in "[a-b0-2.~^_-]{0,8}", b in "[a-b0-2.~^_-]{0,8}") {
            prop_assert_eq!(compare(&a, &b), compare(&b, &a).reverse());
        }
    }
}
