//! How a command in a guest is run.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use clap::builder::{OsStringValueParser, TypedValueParser};

use crate::protocol::{ByteString, User};
use crate::session::Command;

/// What `chroot` and `run` take for the command.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Command")]
pub struct CommandArgs {
    /// Give the command a terminal
    #[arg(long, short)]
    pub tty: bool,
    #[command(flatten)]
    pub context: ContextArgs,
}

/// As whom and where a command runs, and with which variables.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Command")]
pub struct ContextArgs {
    /// Run it as this user of the guest: NAME, UID or UID:GID; default root
    #[arg(long, short, value_name = "USER", value_parser = parse_user)]
    pub user: Option<User>,
    /// Run it in this directory of the guest
    #[arg(long, short, value_name = "DIR")]
    pub workdir: Option<OsString>,
    /// Set an environment variable; without a value, copy it from the caller (repeatable)
    #[arg(long, short, value_name = "K[=V]", value_parser = variable())]
    pub env: Vec<(OsString, Option<OsString>)>,
}

impl ContextArgs {
    /// The command, as the session takes it. A variable without a value, and not set here, is
    /// left out.
    pub fn command(&self, argv: &[OsString]) -> Command {
        let bytes = |text: &OsStr| ByteString(text.as_bytes().to_vec());
        let env = self.env.iter().filter_map(|(name, value)| {
            let value = value.clone().or_else(|| std::env::var_os(name))?;
            Some((bytes(name), bytes(&value)))
        });
        Command {
            argv: argv.iter().map(|word| bytes(word)).collect(),
            env: env.collect(),
            workdir: self.workdir.as_deref().map(bytes),
            user: self.user.clone(),
            ..Command::default()
        }
    }
}

pub(crate) fn parse_user(text: &str) -> Result<User, String> {
    let number = |text: &str| text.parse::<u32>().ok().filter(|id| *id != u32::MAX);
    let wrong = || "not a name, UID or UID:GID".to_owned();
    match text.split_once(':') {
        Some((uid, gid)) => Ok(User::Id {
            uid: number(uid).ok_or_else(wrong)?,
            gid: Some(number(gid).ok_or_else(wrong)?),
        }),
        None if text.is_empty() => Err(wrong()),
        None => Ok(match number(text) {
            Some(uid) => User::Id { uid, gid: None },
            None => User::Name(text.into()),
        }),
    }
}

fn variable() -> impl TypedValueParser<Value = (OsString, Option<OsString>)> {
    OsStringValueParser::new().try_map(|text| {
        let bytes = text.as_bytes();
        let (name, value) = match bytes.iter().position(|byte| *byte == b'=') {
            Some(at) => (&bytes[..at], Some(&bytes[at + 1..])),
            None => (bytes, None),
        };
        match name {
            [] => Err("a variable needs a name"),
            _ => Ok((
                OsString::from_vec(name.to_vec()),
                value.map(|value| OsString::from_vec(value.to_vec())),
            )),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_a_name_or_numbers() {
        assert_eq!(parse_user("daemon"), Ok(User::Name("daemon".into())));
        let id = |uid, gid| Ok(User::Id { uid, gid });
        assert_eq!(parse_user("7"), id(7, None));
        assert_eq!(parse_user("7:8"), id(7, Some(8)));
        for wrong in ["", "a:b", "7:", ":8", "7:users", "7:4294967295"] {
            assert!(parse_user(wrong).is_err(), "{wrong}");
        }
    }
}
