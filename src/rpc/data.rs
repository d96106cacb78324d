//! Bytes in JSON: text where they are UTF-8, else base64.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};

use super::error::RpcError;

/// Bytes: a string, or an object with their base64 (RFC 4648, with padding) where they are no
/// UTF-8. Both forms are understood everywhere.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(untagged)]
pub enum Data {
    Text(String),
    Encoded(Base64),
}

/// Bytes in base64.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Base64 {
    base64: String,
}

impl Data {
    /// The bytes. `what` names them in the error about what is no base64.
    pub fn bytes(self, what: &str) -> Result<Vec<u8>, RpcError> {
        match self {
            Self::Text(text) => Ok(text.into_bytes()),
            Self::Encoded(Base64 { base64 }) => BASE64_STANDARD
                .decode(base64)
                .map_err(|error| RpcError::invalid_params(format!("{what}: {error}"))),
        }
    }
}

impl From<Vec<u8>> for Data {
    fn from(bytes: Vec<u8>) -> Self {
        match String::from_utf8(bytes) {
            Ok(text) => Self::Text(text),
            Err(error) => Self::Encoded(Base64 {
                base64: BASE64_STANDARD.encode(error.as_bytes()),
            }),
        }
    }
}

/// How many of the first `bytes` of a stream to pass on now: all, or all but a character that is
/// cut off at the end, so that text stays text.
pub fn whole_characters(bytes: &[u8]) -> usize {
    match std::str::from_utf8(bytes) {
        Err(error) if error.error_len().is_none() && error.valid_up_to() > 0 => error.valid_up_to(),
        _ => bytes.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn text_is_text_and_the_rest_is_base64() {
        let json = |bytes: &[u8]| serde_json::to_value(Data::from(bytes.to_vec())).unwrap();
        assert_eq!(json(b"hello\n"), json!("hello\n"));
        assert_eq!(json(b"\xff\0"), json!({"base64": "/wA="}));
        assert_eq!(json(b""), json!(""));
    }

    #[test]
    fn what_is_no_base64_is_said() {
        let data: Data = serde_json::from_value(json!({"base64": "/w"})).unwrap();
        let error = data.bytes("stdin").unwrap_err();
        assert!(error.message.starts_with("stdin: "), "{error:?}");
        assert!(serde_json::from_value::<Data>(json!({"base64": "", "x": 1})).is_err());
    }

    #[test]
    fn a_character_that_is_cut_off_waits_for_its_rest() {
        let text = "a€".as_bytes();
        assert_eq!(whole_characters(text), 4);
        assert_eq!(whole_characters(&text[..3]), 1);
        // Alone it is passed on: there may be no rest.
        assert_eq!(whole_characters(&text[1..3]), 2);
        assert_eq!(whole_characters(b"a\xffb"), 3);
    }

    proptest! {
        #[test]
        fn bytes_come_back_as_they_were(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let json = serde_json::to_string(&Data::from(bytes.clone())).unwrap();
            let data: Data = serde_json::from_str(&json).unwrap();
            prop_assert_eq!(data.bytes("x").unwrap(), bytes);
        }
    }
}
