//! The options of a machine in the order in which they were typed. A `--prepare` takes what stands
//! before it, and a message may show a command line that can be typed again.

use std::ffi::OsString;

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

use super::command::ContextArgs;
use super::machine::{HardwareArgs, LayerArgs, QemuArgs};

/// Ids of options with values that say what is done in a machine, in whichever struct they are.
const OTHERS: [(&str, &str); 4] = [
    ("prepare", "prepare"),
    ("copy_in", "copy-in"),
    ("wait_for", "wait-for"),
    ("inject_kernel", "inject-kernel"),
];

/// One option as typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GivenOption {
    /// Its place among all words of the command line; 0 if the environment sets it.
    pub place: usize,
    /// clap's id, the option's name with underscores.
    pub id: String,
    /// `--name=value`, or `--name`.
    pub word: OsString,
}

/// The options by their places. It adds none of its own, and is the first field of a command's
/// arguments: those behind it take the values away.
#[derive(Clone, Debug, Default)]
pub struct CommandLine {
    pub options: Vec<GivenOption>,
    pub image: Option<OsString>,
}

impl CommandLine {
    /// The places of an option, each time that it was typed.
    pub fn places(&self, id: &str) -> Vec<usize> {
        let is_it = |option: &&GivenOption| option.id == id && option.place > 0;
        let options = self.options.iter().filter(is_it);
        options.map(|option| option.place).collect()
    }
}

impl Args for CommandLine {
    fn augment_args(command: Command) -> Command {
        command
    }

    fn augment_args_for_update(command: Command) -> Command {
        command
    }
}

impl FromArgMatches for CommandLine {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut options: Vec<_> = known()
            .get_arguments()
            .flat_map(|argument| typed(matches, argument))
            .collect();
        options.sort_by_key(|option| option.place);
        let image = matches.try_contains_id("image").unwrap_or(false);
        let image = image.then(|| matches.get_raw("image")?.next().map(ToOwned::to_owned));
        Ok(Self {
            options,
            image: image.flatten(),
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// Every option that says what machine it is, and what is done in it.
fn known() -> Command {
    let command = LayerArgs::augment_args(Command::new("known"));
    let command = HardwareArgs::augment_args(command);
    let command = ContextArgs::augment_args(QemuArgs::augment_args(command));
    command.args(OTHERS.map(|(id, name)| Arg::new(id).long(name).action(ArgAction::Append)))
}

fn typed(matches: &ArgMatches, argument: &Arg) -> Vec<GivenOption> {
    let id = argument.get_id().as_str();
    let is_there = matches.try_contains_id(id).unwrap_or(false);
    let (true, Some(name)) = (is_there, argument.get_long()) else {
        return Vec::new();
    };
    let is_typed = match matches.value_source(id) {
        Some(ValueSource::CommandLine) => true,
        Some(ValueSource::EnvVariable) => false,
        _ => return Vec::new(),
    };
    let option = |place, word| GivenOption {
        place,
        id: id.to_owned(),
        word,
    };
    let places = matches.indices_of(id).into_iter().flatten();
    if !argument.get_action().takes_values() {
        let words = places.map(|place| option(place, format!("--{name}").into()));
        return words.collect();
    }
    let values = matches.get_raw(id).into_iter().flatten();
    let word = |value| {
        let mut word = OsString::from(format!("--{name}="));
        word.push(value);
        word
    };
    let words = places.zip(values.map(word));
    let words = words.map(|(place, word)| option(if is_typed { place } else { 0 }, word));
    words.collect()
}
