//! What `run` takes for a command in the guest, as typed: no I/O.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use anyhow::anyhow;
use clap::ValueHint;
use clap::builder::{OsStringValueParser, TypedValueParser};

use crate::commands::Failure;
use crate::commands::exec::CommandArgs;
use crate::commands::inside::options::TemplateArgs;
use crate::guest::session::random;
use crate::guest::wire::CloneIdentity;
use crate::guest::wire::seed::Stage;

/// A command in the booted guest.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Command")]
pub struct GuestArgs {
    /// The command; without one, --tty gives a shell
    #[arg(last = true, value_name = "CMD")]
    pub command: Vec<OsString>,
    /// How it is run.
    #[command(flatten)]
    pub run: CommandArgs,
    /// What runs it: bivouac's agent, put into the overlay, or the QEMU guest agent of the image
    #[arg(long, value_enum, default_value = "auto")]
    pub via: Via,
    /// How far the guest's init is to be before it runs
    #[arg(long, value_enum, default_value = "multi-user", value_name = "STAGE")]
    pub wait_for: WaitFor,
    /// Copy a file or tree into the guest before the command (repeatable)
    #[arg(long, value_name = "SRC:DST", value_parser = copy_in())]
    pub copy_in: Vec<Copy>,
    /// Copy a file or tree out of it afterwards, also if it failed (repeatable)
    #[arg(long, value_name = "SRC:DST", value_parser = copy_out())]
    pub copy_out: Vec<Copy>,
    /// Restore the machine as it was saved when it had booted, instead of booting it; the first
    /// such run boots it, and saves it
    #[arg(long)]
    pub warm: bool,
    /// The guest's host name
    #[arg(long, value_name = "NAME", value_parser = host_name)]
    pub hostname: Option<String>,
    /// Give the guest a machine-id of its own
    #[arg(long)]
    pub new_machine_id: bool,
    /// The kernel of the appliance that prepares the overlay; default the newest of /boot that
    /// has modules
    #[arg(long, env = "BIVOUAC_KERNEL", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub seed_kernel: Option<PathBuf>,
    /// The appliance's template.
    #[command(flatten)]
    pub template: TemplateArgs,
}

impl GuestArgs {
    /// Whether anything is to be run in the guest, or its console is the user's.
    ///
    /// # Errors
    /// Options of a command, and none.
    pub fn is_wanted(&self) -> Result<bool, Failure> {
        let wanted = !self.command.is_empty() || self.run.tty;
        let run = &self.run;
        let given = [
            ("--user", run.user.is_some()),
            ("--workdir", run.workdir.is_some()),
            ("--env", !run.env.is_empty()),
            ("--copy-in", !self.copy_in.is_empty()),
            ("--copy-out", !self.copy_out.is_empty()),
            ("--hostname", self.hostname.is_some() && !self.warm),
            ("--new-machine-id", self.new_machine_id && !self.warm),
        ];
        match given.iter().find(|(_, given)| *given) {
            Some((option, _)) if !wanted => Err(Failure::with_mend(
                anyhow!("{option} is for a command in the guest, and there is none"),
                "-- CMD, or --tty for a shell",
            )),
            _ => Ok(wanted),
        }
    }

    /// Whether the machine has a port for an agent.
    ///
    /// # Errors
    /// As [`GuestArgs::is_wanted`].
    pub fn has_agent(&self) -> Result<bool, Failure> {
        Ok(self.is_wanted()? || self.warm)
    }

    /// What is to tell the guest apart; none where nothing was asked for.
    ///
    /// # Errors
    /// This host has no random numbers.
    pub fn identity(&self) -> Result<Option<CloneIdentity>, Failure> {
        if self.hostname.is_none() && !self.new_machine_id {
            return Ok(None);
        }
        Ok(Some(CloneIdentity {
            hostname: self.hostname.clone(),
            machine_id: match self.new_machine_id {
                true => Some(machine_id(random()?)),
                false => None,
            },
            hardware_address: None,
        }))
    }

    /// The command, or the user's shell in the guest.
    pub fn argv(&self) -> Vec<OsString> {
        match self.command.is_empty() {
            // Which shell that is, the agent has looked up.
            true => ["/bin/sh", "-c", "exec \"${SHELL:-/bin/sh}\" -l"]
                .map(OsString::from)
                .into(),
            false => self.command.clone(),
        }
    }
}

/// A random id in the form of machine-id(5): a UUID of version 4 without its dashes.
fn machine_id(mut bytes: [u8; 16]) -> String {
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// hostname(7): labels of letters, digits and hyphens; 64 bytes in Linux.
fn host_name(text: &str) -> Result<String, &'static str> {
    let fits = |label: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        (1..=63).contains(&label.len())
            && label.bytes().all(plain)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    match text.len() <= 64 && text.split('.').all(fits) {
        true => Ok(text.to_owned()),
        false => Err("not a host name of letters, digits, hyphens and dots"),
    }
}

/// What runs a command in a booted guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Via {
    /// seed, or qga where that finds no Linux system
    Auto,
    /// bivouac's agent, which the image's own init starts
    Seed,
    /// The QEMU guest agent, which the image brings
    Qga,
}

/// How far the guest's init is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum WaitFor {
    /// File systems and devices are there
    Basic,
    /// Every service was started
    MultiUser,
    /// Nothing is being started any more
    Running,
}

impl WaitFor {
    /// When the agent is to be started.
    pub fn stage(self) -> Stage {
        match self {
            Self::Basic => Stage::Basic,
            Self::MultiUser | Self::Running => Stage::MultiUser,
        }
    }
}

/// From where to where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copy {
    /// What is read.
    pub source: OsString,
    /// What is written.
    pub target: OsString,
}

/// The guest's path is absolute, so the last colon before a slash parts the two.
fn copy_in() -> impl TypedValueParser<Value = Copy> {
    OsStringValueParser::new().try_map(|text| {
        let at = text.as_bytes().windows(2).rposition(|two| two == b":/");
        match at {
            Some(at) if at > 0 => Ok(split(&text, at)),
            _ => Err("not HOST-PATH:/GUEST/PATH"),
        }
    })
}

/// And here the first colon does.
fn copy_out() -> impl TypedValueParser<Value = Copy> {
    OsStringValueParser::new().try_map(|text| {
        let bytes = text.as_bytes();
        match bytes.iter().position(|byte| *byte == b':') {
            Some(at) if bytes.starts_with(b"/") && at + 1 < bytes.len() => Ok(split(&text, at)),
            _ => Err("not /GUEST/PATH:HOST-PATH"),
        }
    })
}

fn split(text: &OsStr, at: usize) -> Copy {
    let bytes = text.as_bytes();
    let part = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
    Copy {
        source: part(&bytes[..at]),
        target: part(&bytes[at + 1..]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::run::Args;
    use clap::{FromArgMatches, error::ErrorKind};

    fn parsed(args: &[&str]) -> Result<Args, clap::Error> {
        let command = <Args as clap::Args>::augment_args(clap::Command::new("run"));
        let args = ["run", "image"].into_iter().chain(args.iter().copied());
        Args::from_arg_matches(&command.try_get_matches_from(args)?)
    }

    #[test]
    fn copies_are_parted_where_the_guests_path_shows() {
        let copy = |source: &str, target: &str| Copy {
            source: source.into(),
            target: target.into(),
        };
        let args = parsed(&[
            "--copy-in=a:b:/c:d",
            "--copy-in=./x:/y:/z",
            "--copy-out=/a:b:c",
            "--",
            "true",
        ]);
        let guest = args.unwrap().guest;
        assert_eq!(guest.copy_in, [copy("a:b", "/c:d"), copy("./x:/y", "/z")]);
        assert_eq!(guest.copy_out, [copy("/a", "b:c")]);
        for wrong in [
            "--copy-in=a:b",
            "--copy-in=:/b",
            "--copy-out=a:b",
            "--copy-out=/a:",
        ] {
            let error = parsed(&[wrong]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ValueValidation, "{wrong}");
        }
    }

    #[test]
    fn a_host_name_is_one() {
        for right in ["a", "web-1.example.org", "1"] {
            assert_eq!(host_name(right), Ok(right.to_owned()));
        }
        let long = "a".repeat(64);
        for wrong in ["", "-a", "a-", "a..b", "a b", "ä", "a_b", &long] {
            assert!(host_name(wrong).is_err(), "{wrong}");
        }
        let id = machine_id([0xff; 16]);
        assert_eq!(id, "ffffffffffff4fffbfffffffffffffff");
    }

    #[test]
    fn options_of_a_command_want_one() {
        assert!(!parsed(&[]).unwrap().guest.is_wanted().unwrap());
        assert!(parsed(&["--", "id"]).unwrap().guest.is_wanted().unwrap());
        let shell = parsed(&["-t", "-u", "daemon"]).unwrap().guest;
        assert!(shell.is_wanted().unwrap());
        assert_eq!(shell.argv()[0], "/bin/sh");
        for lonely in ["--user=a", "--workdir=/", "--env=A=b", "--copy-out=/a:b"] {
            let failure = parsed(&[lonely]).unwrap().guest.is_wanted().unwrap_err();
            let option = lonely.split('=').next().unwrap();
            assert!(failure.error.to_string().starts_with(option), "{lonely}");
        }
    }
}
