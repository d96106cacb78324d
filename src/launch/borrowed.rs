//! A program of this host that runs in the appliance: it is copied there, with its loader and its
//! libraries, when an image needs it. No template of an appliance has one.

use std::path::Path;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::send_tree::send;
use crate::host::tools::{self, Tool};
use crate::protocol::{Command, ExecEnd, PathAt, TarOptions};
use crate::session::{Session, SessionError, Stdio};

/// Where it goes in the appliance.
const PLACE: &str = "/run/tools";
/// How much of its messages is read, in bytes.
const MESSAGES: u64 = 64 << 10;

pub(super) struct Borrowed {
    session: Session,
    /// The program, after its loader.
    argv: Vec<String>,
}

/// The exit status, if there was one, and the last line that it has said.
pub(super) type Failed = (Option<u8>, String);

impl Borrowed {
    /// Copies a program into the appliance; the inner error says why there is none.
    pub(super) async fn send(
        session: &Session,
        name: &str,
    ) -> Result<Result<Self, String>, SessionError> {
        let tool = match tools::find(name).map(|path| Tool::of(&path)) {
            Some(Ok(tool)) => tool,
            Some(Err(error)) => return Ok(Err(format!("{name} of this host: {error}"))),
            None => {
                let why = format!("{name} is not installed on this host (`bivouac doctor`)");
                return Ok(Err(why));
            }
        };
        let argv = vec![
            format!("{PLACE}/{}", file_name(&tool.loader)),
            "--library-path".to_owned(),
            PLACE.to_owned(),
            format!("{PLACE}/{}", file_name(&tool.program)),
        ];
        for file in tool.files() {
            let target = format!("{PLACE}/{}", file_name(file)).into_bytes();
            let source = file.canonicalize().unwrap_or_else(|_| file.to_owned());
            let options = TarOptions::default();
            if let Err(failure) =
                send(session, source, PathAt::new("/", b"/"), target, options).await
            {
                return Ok(Err(format!("{}: {:#}", file.display(), failure.error)));
            }
        }
        let session = session.clone();
        Ok(Ok(Self { session, argv }))
    }

    /// Runs it with this on its standard input.
    pub(super) async fn run(
        &self,
        args: &[&str],
        input: &[u8],
    ) -> Result<Result<(), Failed>, SessionError> {
        let own = self.argv.iter().map(String::as_str);
        let mut command = Command::new(own.chain(args.iter().copied()));
        // Nothing answers for udev there.
        let env = [("DM_DISABLE_UDEV", "1"), ("LC_ALL", "C")];
        command.env = env.map(|(name, value)| (name.into(), value.into())).into();
        command.workdir = Some("/".into());
        let stdio = Stdio {
            stdin: true,
            stderr: true,
            ..Stdio::default()
        };
        let mut running = self.session.exec_with(command, stdio).await?;
        if let Some(mut stdin) = running.stdin.take() {
            // If it has ended, its status says why.
            let _ = stdin.write_all(input).await;
            let _ = stdin.shutdown().await;
        }
        let mut said = Vec::new();
        if let Some(stderr) = running.stderr.take() {
            let read = stderr.take(MESSAGES).read_to_end(&mut said).await;
            read.map_err(SessionError::of_stream)?;
        }
        let status = match running.wait().await? {
            ExecEnd::Exited(0) => return Ok(Ok(())),
            ExecEnd::Exited(status) => Some(status),
            _ => None,
        };
        let said = String::from_utf8_lossy(&said);
        let last = said.lines().map(str::trim).rfind(|line| !line.is_empty());
        let last = last.unwrap_or("it failed and said nothing").to_owned();
        Ok(Err((status, last)))
    }
}

fn file_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}
