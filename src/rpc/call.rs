//! The methods: each with the type of its parameters and that of its result.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::error::{ErrorKind, RpcError};
use super::{changes, exec, files, machines};

/// The parameters of a method.
pub trait Method: DeserializeOwned {
    type Output: Serialize;
}

macro_rules! methods {
    ($($name:literal $variant:ident($params:ty) -> $result:ty;)*) => {
        /// A request whose parameters fit its method.
        #[derive(Clone, Debug)]
        pub enum Call {
            $($variant($params),)*
        }

        $(impl Method for $params {
            type Output = $result;
        })*

        /// The names of all methods.
        pub const METHODS: &[&str] = &[$($name),*];

        impl Call {
            pub fn parse(method: &str, params: Value) -> Result<Self, RpcError> {
                match method {
                    $($name => parse(params).map(Self::$variant),)*
                    _ => Err(unknown(method)),
                }
            }
        }

        #[cfg(test)]
        pub(super) fn schemas(generator: &mut schemars::SchemaGenerator) -> Vec<[(String, schemars::Schema); 2]> {
            vec![$([
                (format!("{}.params", $name), generator.subschema_for::<$params>()),
                (format!("{}.result", $name), generator.subschema_for::<$result>()),
            ]),*]
        }
    };
}

methods! {
    "exec" Exec(exec::Exec) -> exec::ExecResult;
    "write" Write(exec::Write) -> exec::Done;
    "signal" Signal(exec::Signal) -> exec::Done;
    "resize" Resize(exec::Resize) -> exec::Done;
    "put" Put(files::Put) -> files::Copied;
    "get" Get(files::Get) -> files::Copied;
    "read" Read(files::Read) -> files::ReadResult;
    "stat" Stat(files::Stat) -> files::FileStat;
    "list" List(files::List) -> files::ListResult;
    "checkpoint" Checkpoint(machines::CheckpointParams) -> machines::CheckpointResult;
    "branch" Branch(machines::Branch) -> machines::BranchResult;
    "revert" Revert(machines::Revert) -> machines::RevertResult;
    "release" Release(machines::Release) -> exec::Done;
    "keep" Keep(machines::Keep) -> machines::KeepResult;
    "save" Save(machines::Save) -> machines::SaveResult;
    "diff" Diff(changes::Diff) -> changes::DiffResult;
    "console" Console(machines::Console) -> machines::ConsoleResult;
    "stop" Stop(machines::Stop) -> exec::Done;
}

fn parse<P: DeserializeOwned>(params: Value) -> Result<P, RpcError> {
    serde_json::from_value(params).map_err(|error| RpcError::invalid_params(error.to_string()))
}

fn unknown(method: &str) -> RpcError {
    let short: String = method.chars().take(100).collect();
    RpcError::new(ErrorKind::UnknownMethod, format!("no method {short:?}"))
        .hint(format!("one of {}", METHODS.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_call_has_a_known_method_and_its_params_alone() {
        let call = Call::parse("exec", json!({"argv": ["true"], "env": {"A": "b"}}));
        assert!(matches!(call, Ok(Call::Exec(exec)) if exec.argv.len() == 1));
        for (method, params, kind, text) in [
            (
                "exce",
                json!({}),
                ErrorKind::UnknownMethod,
                "no method \"exce\"",
            ),
            (
                "exec",
                json!({}),
                ErrorKind::InvalidParams,
                "missing field `argv`",
            ),
            (
                "stop",
                json!({"machin": "m1"}),
                ErrorKind::InvalidParams,
                "unknown field `machin`",
            ),
        ] {
            let error = Call::parse(method, params).unwrap_err();
            assert_eq!(error.kind(), kind);
            assert!(error.message.contains(text), "{error:?}");
        }
    }
}
