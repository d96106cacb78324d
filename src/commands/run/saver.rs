//! Ctrl-A S at a console: asks for a name, saves the machine under it, and lets it go on.

use tokio::sync::mpsc;

use crate::launch::Failure;
use crate::launch::facts::LayerFacts;
use crate::launch::save::{self, SaveSpec};
use crate::launch::start::Launch;
use crate::launch::supervisor::Interrupted;
use crate::machine::Machine;
use crate::machine::phases::Phases;
use crate::session::Session;
use crate::template::store::parse_name;

pub(super) struct Saver<'a> {
    /// None if the machine was booted for its console, without the agent.
    pub session: Option<&'a Session>,
    /// The machine that gets a name.
    pub spec: &'a dyn Fn(&str) -> Result<SaveSpec, Failure>,
    /// Standard output, where what is typed is shown.
    pub echo: mpsc::Sender<Vec<u8>>,
}

impl Saver<'_> {
    /// An error of the machine itself is the end; any other is told, and the machine goes on.
    pub async fn save(
        &mut self,
        launch: &mut Launch<'_>,
        machine: &mut Machine,
    ) -> Result<(), Interrupted> {
        let Some(session) = self.session else {
            let tell = |text| launch.progress.message(text);
            tell("bivouac: this machine cannot be saved, as it was booted without bivouac's agent");
            tell("  hint: `bivouac run --warm` starts one that can");
            return Ok(());
        };
        // What is saved is what was seen when the keys were pressed.
        machine.pause().await?;
        let name = self.ask(launch, machine).await?;
        machine.cont().await?;
        let Some(name) = name else {
            launch.progress.message("bivouac: not saved");
            return Ok(());
        };
        launch
            .progress
            .message(&format!("bivouac: saving the machine as {name}"));
        let saving = async {
            let (spec, phases) = ((self.spec)(&name)?, Phases::default());
            save::save(machine, session, &mut launch.vm, &spec, &phases).await
        };
        let saved = launch.supervisor.guard(saving).await;
        // Its disks have more layers now.
        launch.facts.layers = LayerFacts::of(launch.vm.drives.chains());
        let saved = saved.map_err(|stopped| Interrupted::ended(stopped.0, machine))?;
        let tell = |text: String| launch.progress.message(&text);
        match saved {
            Ok(_) => {
                tell(format!("bivouac: saved as {name}; the machine goes on"));
                tell(format!(
                    "  hint: `bivouac run --from {name}` starts there, \
                     `bivouac template rm {name}` removes it"
                ));
            }
            Err(failure) => {
                tell(format!("bivouac: not saved: {:#}", failure.error));
                if let Some(hint) = failure.hint {
                    tell(format!("  hint: {hint}"));
                }
            }
        }
        Ok(())
    }

    /// The name; asked for again if it cannot be one. None if the user has thought better of it.
    async fn ask(
        &self,
        launch: &mut Launch<'_>,
        machine: &Machine,
    ) -> Result<Option<String>, Interrupted> {
        loop {
            launch
                .progress
                .message("bivouac: save the machine as which name? (Ctrl-C: do not save it)");
            // Dropped where the reader is slow: what is typed counts.
            let echo = |bytes: &[u8]| drop(self.echo.try_send(bytes.to_vec()));
            let mut keyboard = std::mem::take(&mut launch.supervisor.keyboard);
            let typed = launch.supervisor.guard(keyboard.line(echo)).await;
            launch.supervisor.keyboard = keyboard;
            echo(b"\r\n");
            let typed = typed.map_err(|stopped| Interrupted::ended(stopped.0, machine))?;
            let Some(typed) = typed else {
                return Ok(None);
            };
            match parse_name(&typed) {
                Ok(name) => return Ok(Some(name)),
                Err(why) => {
                    let text = format!("bivouac: {typed:?}: {why}");
                    launch.progress.message(&text);
                }
            }
        }
    }
}
