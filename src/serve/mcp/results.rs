//! What a tool returns, in the form and size that a model can use.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use crate::rpc::{ErrorKind, RpcError};

/// The most bytes of JSON that a tool returns.
const MAX_RESULT: usize = 2 << 20;

/// The result of `tools/call`. An error is a result, too: the model has to read it.
pub(super) fn of_tool(done: Result<Value, RpcError>) -> Value {
    let done = done.and_then(|result| match result.to_string() {
        text if text.len() <= MAX_RESULT => Ok((result, text)),
        text => Err(RpcError::new(
            ErrorKind::Limit,
            format!(
                "the result has {} bytes, more than {MAX_RESULT}",
                text.len()
            ),
        )
        .hint("ask for less, by limit or without content")),
    });
    match done {
        Ok((result, text)) => json!({
            "content": [{"type": "text", "text": text}],
            "structuredContent": result,
            "isError": false,
        }),
        Err(error) => {
            let hint = error.data.hint.map(|hint| format!("\nhint: {hint}"));
            let text = format!("{}{}", error.message, hint.unwrap_or_default());
            json!({"content": [{"type": "text", "text": text}], "isError": true})
        }
    }
}

/// Replaces bytes that are no text by text with replacement characters, as far as `names` says.
pub(super) fn as_text(result: &mut Value, names: &[&str]) {
    for name in names {
        let bytes = result[*name]["base64"]
            .as_str()
            .map(|text| BASE64_STANDARD.decode(text));
        if let Some(Ok(bytes)) = bytes {
            result[*name] = String::from_utf8_lossy(&bytes).into();
        }
    }
}

/// An entry of a directory in short.
pub(super) fn entry(entry: &Value) -> Value {
    let mut short = json!({"name": entry["name"]});
    as_text(&mut short, &["name"]);
    let stat = &entry["stat"];
    for member in ["type", "size", "uid", "gid"] {
        if !stat[member].is_null() {
            short[member] = stat[member].clone();
        }
    }
    if let Some(mode) = stat["mode"].as_u64() {
        short["mode"] = format!("{mode:04o}").into();
    }
    if !stat["link"].is_null() {
        short["link"] = stat["link"].clone();
        as_text(&mut short, &["link"]);
    }
    if !entry["error"].is_null() {
        short["error"] = entry["error"].clone();
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_a_result_that_can_be_read() {
        let error = RpcError::new(ErrorKind::Failed, "no").hint("do this");
        let result = of_tool(Err(error));
        assert_eq!(result["isError"], true);
        assert_eq!(result["content"][0]["text"], "no\nhint: do this");
        let result = of_tool(Ok(json!({"a": 1})));
        assert_eq!(result["content"][0]["text"], "{\"a\":1}");
        assert_eq!(result["structuredContent"], json!({"a": 1}));
    }

    #[test]
    fn a_result_that_is_too_long_says_so() {
        let result = of_tool(Ok(json!({"text": "x".repeat(MAX_RESULT)})));
        let text = result["content"][0]["text"].as_str().unwrap();
        assert!(
            result["isError"] == true && text.contains("hint: ask for less"),
            "{text}"
        );
    }

    #[test]
    fn bytes_and_entries_become_short_text() {
        let mut result = json!({"stdout": {"base64": "/2E="}, "stderr": "x"});
        as_text(&mut result, &["stdout", "stderr", "nothing"]);
        assert_eq!(result["stdout"], "\u{fffd}a");
        assert_eq!(result["stderr"], "x");
        let long = json!({"name": "a", "stat": {"type": "link", "mode": 511, "size": 1, "uid": 0,
                          "gid": 0, "links": 1, "link": "b"}});
        let short = json!({"name": "a", "type": "link", "mode": "0777", "size": 1, "uid": 0,
                           "gid": 0, "link": "b"});
        assert_eq!(entry(&long), short);
    }
}
