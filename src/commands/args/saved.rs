//! Machines with a name: the options that say what machine it is are kept with the template, and read
//! again by `--from`.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use clap::{Args, FromArgMatches};

use super::command_line::{CommandLine, GivenOption};
use super::machine::{HardwareArgs, LayerArgs, QemuArgs};
use crate::launch::save::SaveSpec;
use crate::launch::spec::{AgentSpec, SavedMachine, WaitFor};
use crate::launch::{Failure, VmSpec};
use crate::template::store::{NameRecord, Named, Store, parse_name};

/// Options, by their ids, that are those of each run.
const OF_RUNS: [&str; 4] = ["publish", "display", "sandbox", "sandbox_read"];

/// The options of a machine, and nothing of what is done with it.
#[derive(Clone, Debug, clap::Args)]
struct MachineArgs {
    image: Option<PathBuf>,
    #[command(flatten)]
    layers: LayerArgs,
    #[command(flatten)]
    hardware: HardwareArgs,
    #[command(flatten)]
    qemu: QemuArgs,
    #[arg(long, value_enum, default_value = "multi-user")]
    wait_for: WaitFor,
    #[arg(long)]
    inject_kernel: Option<PathBuf>,
}

fn definition() -> clap::Command {
    MachineArgs::augment_args(clap::Command::new("machine"))
}

/// What is kept of a machine under `name`.
pub(crate) fn record(name: &str, typed: &CommandLine) -> Result<NameRecord, Failure> {
    let definition = definition();
    let is_known = |option: &&GivenOption| {
        let mut arguments = definition.get_arguments();
        arguments.any(|argument| argument.get_id() == option.id.as_str())
            && !OF_RUNS.contains(&option.id.as_str())
    };
    let options = typed.options.iter().filter(is_known);
    let mut words = options.map(absolute).collect::<Result<Vec<_>, _>>()?;
    if let Some(image) = &typed.image {
        words.push(path(image)?);
    }
    Ok(NameRecord {
        name: name.to_owned(),
        words,
    })
}

/// The word of an option with an absolute path, where it has one.
fn absolute(option: &GivenOption) -> Result<OsString, Failure> {
    let bytes = option.word.as_bytes();
    let Some(at) = bytes.iter().position(|byte| *byte == b'=') else {
        return Ok(option.word.clone());
    };
    let value = &bytes[at + 1..];
    let start = match option.id.as_str() {
        "kernel" | "initrd" | "cdrom" | "disk" | "qemu" | "inject_kernel" => at + 1,
        "firmware" if !matches!(value, b"auto" | b"bios" | b"uefi") => at + 1,
        // FORMAT:PATH, or `none`.
        "backing" => match value.iter().position(|byte| *byte == b':') {
            Some(colon) => at + 2 + colon,
            None => return Ok(option.word.clone()),
        },
        _ => return Ok(option.word.clone()),
    };
    let (before, name) = bytes.split_at(start);
    let mut word = OsString::from_vec(before.to_vec());
    word.push(path(OsStr::from_bytes(name))?);
    Ok(word)
}

fn path(typed: &OsStr) -> Result<OsString, Failure> {
    let absolute = std::path::absolute(Path::new(typed));
    let absolute = absolute.with_context(|| format!("{}", typed.display()))?;
    Ok(absolute.into_os_string())
}

/// The machine that was saved under `name`, to be restored with the options of this run.
pub(crate) fn spec(name: &str, typed: &CommandLine) -> Result<VmSpec, Failure> {
    let hardware = HardwareArgs::augment_args(LayerArgs::augment_args(clap::Command::new("of")));
    let is_fixed = |option: &&GivenOption| {
        let mut arguments = hardware.get_arguments();
        option.place > 0 && arguments.any(|argument| argument.get_id() == option.id.as_str())
    };
    if let Some(option) = typed.options.iter().find(is_fixed) {
        let word = option.word.display();
        return Err(Failure::with_hint(
            anyhow!("{word}: the machine {name} is restored with what it was saved with"),
            "leave it out, or save another machine",
        ));
    }
    let unknown = || {
        Failure::with_hint(
            anyhow!("no machine was saved under the name {name:?}"),
            "`bivouac template ls` lists the names, `bivouac template build --name` gives one",
        )
    };
    let Named { record, key } = Store::open()?.named(name)?.ok_or_else(unknown)?;
    Ok(VmSpec {
        from: Some(SavedMachine {
            name: name.to_owned(),
            key: Box::new(key),
        }),
        ..machine(&record)?
    })
}

/// A name that a machine may be saved under.
pub(crate) fn name(text: &str) -> Result<String, &'static str> {
    parse_name(text)
}

/// The machine of a running one that is to be saved as `name`: it was given by `typed`, or restored as
/// the one that has the name `from`.
pub(crate) fn save_spec(
    name: &str,
    typed: &CommandLine,
    from: Option<&str>,
) -> Result<SaveSpec, Failure> {
    let origin = match from {
        Some(origin) => Store::open()?.named(origin)?,
        None => None,
    };
    let record = match origin {
        Some(Named { record, .. }) => NameRecord {
            name: name.to_owned(),
            ..record
        },
        None => record(name, typed)?,
    };
    let machine = machine(&record)?;
    Ok(SaveSpec { record, machine })
}

/// The machine of a record, before it was saved.
fn machine(record: &NameRecord) -> Result<VmSpec, Failure> {
    let name = &record.name;
    let words = std::iter::once("machine".into()).chain(record.words.iter().cloned());
    let parsed = definition().try_get_matches_from(words);
    let parsed = parsed.and_then(|matches| MachineArgs::from_arg_matches(&matches));
    let args = parsed.map_err(|_| anyhow!("the options of the machine {name} cannot be read"))?;
    Ok(VmSpec {
        image: args.image.as_deref().map(|path| args.layers.image(path)),
        qemu: args.qemu.qemu.clone(),
        agent: AgentSpec {
            wait_for: args.wait_for,
            kernel: args.inject_kernel,
            ..AgentSpec::default()
        },
        ..args.hardware.spec(&args.layers.trust)?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(options: &[(&str, &str)]) -> Vec<String> {
        let options = options.iter().map(|(id, word)| GivenOption {
            place: 1,
            id: (*id).to_owned(),
            word: word.into(),
        });
        let typed = CommandLine {
            options: options.collect(),
            image: Some("image.raw".into()),
        };
        let record = record("name", &typed).unwrap();
        let words = record.words.into_iter();
        words.map(|word| word.into_string().unwrap()).collect()
    }

    #[test]
    fn what_a_machine_is_is_kept_with_absolute_paths() {
        let here = std::env::current_dir().unwrap();
        let here = here.display();
        let kept = words(&[
            ("memory", "--memory=1G"),
            ("kernel", "--kernel=boot/vmlinuz"),
            ("disk", "--disk=/b.img,serial=S"),
            ("disk", "--disk=c.img"),
            ("firmware", "--firmware=uefi"),
            ("backing", "--backing=raw:base.raw"),
            ("backing", "--backing=none"),
            ("reboot", "--reboot"),
        ]);
        let expected = [
            "--memory=1G".to_owned(),
            format!("--kernel={here}/boot/vmlinuz"),
            "--disk=/b.img,serial=S".to_owned(),
            format!("--disk={here}/c.img"),
            "--firmware=uefi".to_owned(),
            format!("--backing=raw:{here}/base.raw"),
            "--backing=none".to_owned(),
            "--reboot".to_owned(),
            format!("{here}/image.raw"),
        ];
        assert_eq!(kept, expected);
        let words = std::iter::once("machine".to_owned()).chain(kept);
        assert!(definition().try_get_matches_from(words).is_ok());
    }

    #[test]
    fn what_is_done_with_it_and_how_it_is_confined_is_not() {
        let kept = words(&[
            ("prepare", "--prepare=true"),
            ("copy_in", "--copy-in=a:/b"),
            ("sandbox", "--sandbox=off"),
            ("publish", "--publish=80:80"),
        ]);
        assert_eq!(kept.len(), 1, "{kept:?}");
    }
}
