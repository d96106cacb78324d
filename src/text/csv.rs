//! Comma-separated values as RFC 4180 has them: lines end in CR LF, and a field with a comma, a
//! quote or a line break is in quotes, its own quotes doubled. Fields are bytes: names of files
//! need not be UTF-8.

pub fn line<F: AsRef<[u8]>>(fields: impl IntoIterator<Item = F>) -> Vec<u8> {
    let mut out = Vec::new();
    for (number, field) in fields.into_iter().enumerate() {
        if number > 0 {
            out.push(b',');
        }
        put(&mut out, field.as_ref());
    }
    out.extend_from_slice(b"\r\n");
    out
}

fn put(out: &mut Vec<u8>, field: &[u8]) {
    if !field.iter().any(|byte| b",\"\r\n".contains(byte)) {
        return out.extend_from_slice(field);
    }
    out.push(b'"');
    for byte in field {
        if *byte == b'"' {
            out.push(b'"');
        }
        out.push(*byte);
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The fields of one line, as RFC 4180 reads them.
    fn parse(line: &[u8]) -> Vec<Vec<u8>> {
        let line = line.strip_suffix(b"\r\n").unwrap();
        let mut fields = vec![Vec::new()];
        let (mut quoted, mut at) = (false, 0);
        while at < line.len() {
            let field = fields.last_mut().unwrap();
            match (quoted, line[at]) {
                (true, b'"') if line.get(at + 1) == Some(&b'"') => {
                    field.push(b'"');
                    at += 1;
                }
                (_, b'"') => quoted = !quoted,
                (false, b',') => fields.push(Vec::new()),
                (_, byte) => field.push(byte),
            }
            at += 1;
        }
        fields
    }

    #[test]
    fn only_what_must_be_quoted_is() {
        assert_eq!(line(["a", "b c", ""]), b"a,b c,\r\n");
        assert_eq!(
            line(["a,b", "\"", "x\ny"]),
            b"\"a,b\",\"\"\"\",\"x\ny\"\r\n"
        );
        assert_eq!(line([b"\xff" as &[u8]]), b"\xff\r\n");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(
            fields in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..8), 1..5),
        ) {
            prop_assert_eq!(parse(&line(&fields)), fields);
        }
    }
}
