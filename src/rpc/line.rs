//! The messages of JSON-RPC 2.0 (jsonrpc.org), one a line. Batches are not supported.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::error::{ErrorKind, RpcError};

/// The name of a request, chosen by the client.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(untagged)]
pub enum Id {
    Number(i64),
    Text(String),
}

/// A request of the client.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// None if no answer is wanted.
    pub id: Option<Id>,
    pub method: String,
    /// An object.
    pub params: Value,
}

/// A request that cannot be served.
#[derive(Debug)]
pub struct Malformed {
    /// Its name, as far as it could be read.
    pub id: Option<Id>,
    pub error: RpcError,
}

impl Request {
    pub fn parse(line: &[u8]) -> Result<Self, Malformed> {
        let value = serde_json::from_slice(line).map_err(|error| Malformed {
            id: None,
            error: RpcError::new(ErrorKind::Parse, format!("not JSON: {error}")),
        })?;
        Self::of(value)
    }

    pub fn of(value: Value) -> Result<Self, Malformed> {
        let invalid = |id: &Option<Id>, why: &str| Malformed {
            id: id.clone(),
            error: RpcError::new(ErrorKind::InvalidRequest, why),
        };
        let Value::Object(mut object) = value else {
            return Err(invalid(
                &None,
                "a request is an object; batches are not supported",
            ));
        };
        let id = match object.remove("id") {
            None => None,
            Some(id) => match serde_json::from_value(id) {
                Ok(id) => Some(id),
                Err(_) => return Err(invalid(&None, "an id is a whole number or a string")),
            },
        };
        if object.remove("jsonrpc") != Some(Value::from("2.0")) {
            return Err(invalid(&id, "a request has \"jsonrpc\": \"2.0\""));
        }
        let Some(Value::String(method)) = object.remove("method") else {
            return Err(invalid(&id, "a request has a method, which is a string"));
        };
        let params = match object.remove("params") {
            None => Value::Object(serde_json::Map::new()),
            Some(params @ Value::Object(_)) => params,
            Some(_) => return Err(invalid(&id, "params are an object, by name")),
        };
        if let Some(name) = object.keys().next() {
            return Err(invalid(&id, &format!("a request has no {name:?}")));
        }
        Ok(Self { id, method, params })
    }
}

/// What bivouac writes, as one line of JSON without line feed.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum Message {
    Result {
        jsonrpc: Version,
        id: Id,
        result: Value,
    },
    Error {
        jsonrpc: Version,
        /// Null if it could not be read.
        id: Option<Id>,
        error: RpcError,
    },
    Notification {
        jsonrpc: Version,
        method: &'static str,
        params: Value,
    },
}

/// `"2.0"`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Version;

impl Serialize for Version {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("2.0")
    }
}

/// What bivouac says unasked.
pub trait Notification: Serialize {
    const METHOD: &'static str;
}

impl Message {
    pub fn answer(id: Id, result: Result<Value, RpcError>) -> Self {
        match result {
            Ok(result) => Self::Result {
                jsonrpc: Version,
                id,
                result,
            },
            Err(error) => Self::Error {
                jsonrpc: Version,
                id: Some(id),
                error,
            },
        }
    }

    pub fn malformed(malformed: Malformed) -> Self {
        Self::Error {
            jsonrpc: Version,
            id: malformed.id,
            error: malformed.error,
        }
    }

    pub fn notification<N: Notification>(params: &N) -> Self {
        Self::Notification {
            jsonrpc: Version,
            method: N::METHOD,
            params: to_value(params),
        }
    }

    /// The line, with its end.
    pub fn line(&self) -> Vec<u8> {
        let mut line = serde_json::to_vec(self).unwrap_or_default();
        line.push(b'\n');
        line
    }
}

/// A value as JSON. What this protocol has is always JSON: no map has keys that are no text.
pub fn to_value(value: &impl Serialize) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_request_is_read_with_and_without_params_and_id() {
        let line = br#"{"jsonrpc":"2.0","id":7,"method":"stat","params":{"path":"/"}}"#;
        let request = Request::parse(line).unwrap();
        assert_eq!(request.id, Some(Id::Number(7)));
        assert_eq!(request.params, json!({"path": "/"}));
        let line = br#"{"jsonrpc":"2.0","method":"stop"}"#;
        let request = Request::parse(line).unwrap();
        assert_eq!((request.id, request.params), (None, json!({})));
    }

    #[test]
    fn what_is_no_request_is_refused_with_its_id_if_it_has_one() {
        let refused = [
            ("nonsense", -32700),
            ("[]", -32600),
            ("7", -32600),
            (r#"{"id":1,"method":"stat"}"#, -32600),
            (r#"{"jsonrpc":"1.0","id":1,"method":"stat"}"#, -32600),
            (r#"{"jsonrpc":"2.0","id":1}"#, -32600),
            (
                r#"{"jsonrpc":"2.0","id":1,"method":"stat","params":[]}"#,
                -32600,
            ),
            (
                r#"{"jsonrpc":"2.0","id":1,"method":"stat","parms":{}}"#,
                -32600,
            ),
            (r#"{"jsonrpc":"2.0","id":null,"method":"stat"}"#, -32600),
            (r#"{"jsonrpc":"2.0","id":1.5,"method":"stat"}"#, -32600),
        ];
        for (line, code) in refused {
            let malformed = Request::parse(line.as_bytes()).unwrap_err();
            assert_eq!(malformed.error.code, code, "{line}");
            assert_eq!(
                malformed.id.is_some(),
                line.contains(r#""id":1,"#) || line.ends_with(r#""id":1}"#),
                "{line}"
            );
        }
    }

    #[test]
    fn a_message_is_one_line() {
        let error = RpcError::new(ErrorKind::Failed, "two\nlines").hint("a fix");
        let line = Message::answer(Id::Text("a".into()), Err(error)).line();
        assert_eq!(
            String::from_utf8(line).unwrap(),
            "{\"jsonrpc\":\"2.0\",\"id\":\"a\",\"error\":{\"code\":-32000,\"message\":\"two\\nlines\",\
             \"data\":{\"kind\":\"failed\",\"hint\":\"a fix\"}}}\n"
        );
        let line = Message::answer(Id::Number(1), Ok(json!({}))).line();
        assert_eq!(line, b"{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}\n");
    }
}
