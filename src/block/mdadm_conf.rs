//! Parses mdadm.conf(5): which arrays a system knows by which names.

/// A line `ARRAY DEVICE UUID=... NAME=...`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArrayLine {
    /// The node, such as `/dev/md0` or `/dev/md/root`.
    pub device: String,
    /// The hexadecimal digits of the array's UUID, in lower case.
    pub uuid: Option<String>,
    /// `HOST:NAME` or `NAME`.
    pub name: Option<String>,
}

const MAX_ARRAYS: usize = 128;

/// The arrays that are named and identified. Lines that begin with a space continue the line
/// before.
pub fn parse(text: &str) -> Vec<ArrayLine> {
    let mut lines: Vec<Vec<&str>> = Vec::new();
    for line in text.lines() {
        let words = line.split_whitespace();
        let words = words.take_while(|word| !word.starts_with('#'));
        match lines.last_mut() {
            Some(last) if line.starts_with([' ', '\t']) => last.extend(words),
            _ => lines.push(words.collect()),
        }
    }
    let arrays = lines.iter().filter_map(|words| array(words));
    arrays.take(MAX_ARRAYS).collect()
}

fn array(words: &[&str]) -> Option<ArrayLine> {
    let (keyword, fields) = words.split_first()?;
    // Keywords may be cut after three letters.
    let is_array = keyword.len() >= 3 && keyword.len() <= 5;
    if !is_array || !"array".starts_with(&keyword.to_ascii_lowercase()) {
        return None;
    }
    let mut line = ArrayLine {
        device: String::new(),
        uuid: None,
        name: None,
    };
    for field in fields {
        let field = field.replace(['"', '\''], "");
        match field.split_once('=') {
            Some((key, value)) if key.eq_ignore_ascii_case("uuid") => {
                line.uuid = Some(digits(value));
            }
            Some((key, value)) if key.eq_ignore_ascii_case("name") => {
                line.name = Some(value.to_owned());
            }
            Some(_) => {}
            None if field.starts_with('/') => line.device = field,
            None if !field.starts_with('<') => line.device = format!("/dev/md/{field}"),
            None => {}
        }
    }
    let is_identified = line.uuid.is_some() || line.name.is_some();
    (is_identified && !line.device.is_empty()).then_some(line)
}

/// The hexadecimal digits of a UUID, however it is divided.
pub fn digits(uuid: &str) -> String {
    let digits = uuid.chars().filter(char::is_ascii_hexdigit);
    digits.map(|digit| digit.to_ascii_lowercase()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_have_names_and_identities() {
        let text = "# mdadm.conf\nHOMEHOST <system>\nMAILADDR root\n\
                    ARRAY /dev/md/0 metadata=1.2 UUID=3AAA0122:29827cfa:5331ad66:ca767371 name=h:0\n\
                    array root # a comment, and not=this\n\tname=\"h:root\"\n\
                    ARRAY <ignore> UUID=00:11\nARRAY /dev/md7 devices=/dev/sda1\nARRAYS x name=y\n";
        let line = |device: &str, uuid: Option<&str>, name: &str| ArrayLine {
            device: device.to_owned(),
            uuid: uuid.map(str::to_owned),
            name: Some(name.to_owned()),
        };
        assert_eq!(
            parse(text),
            [
                line("/dev/md/0", Some("3aaa012229827cfa5331ad66ca767371"), "h:0"),
                line("/dev/md/root", None, "h:root"),
            ]
        );
    }
}
