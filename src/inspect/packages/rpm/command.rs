//! The packages as the image's own `rpm` lists them: it is run in the appliance.

use std::time::Duration;

use tokio::io::AsyncReadExt;

use super::super::package::{Listing, Package, text};
use crate::inspect::image_files::ImageFiles;
use crate::protocol::ByteString;
use crate::session::{Command, ExecEnd, SessionError, Stdio, StreamReader};

/// The timeout for the image's rpm, and the most that is read of its output.
const TIMEOUT: Duration = Duration::from_secs(120);
const OUTPUT: u64 = 64 << 20;
const ERRORS: u64 = 1 << 20;

const NOT_RUN: &str = "the image's rpm could not be run";

/// One line for each package, in the order of [`package`]. Of several licenses rpm has one text.
const FORMAT: &str = "%{NAME}\\t%|EPOCH?{%{EPOCH}:}|%{VERSION}-%{RELEASE}\\t%{ARCH}\\t\
                      %{SOURCERPM}\\t%{VENDOR}\\t%{LICENSE}\\n";

/// Runs the image's own rpm, which needs a writable root with /proc and /dev. It exits with 0 also if it
/// could not read some or all of the packages, and only says so.
pub async fn packages(files: ImageFiles<'_>, directory: &str) -> Result<Listing, SessionError> {
    let mut words = vec!["rpm", "-qa", "--nodigest", "--nosignature", "--qf", FORMAT];
    // Debian's rpm would not look there.
    words.extend(["--dbpath", directory]);
    let command = Command {
        argv: words.into_iter().map(ByteString::from).collect(),
        env: vec![("LC_ALL".into(), "C".into())],
        workdir: Some("/".into()),
        root: Some(files.root().into()),
        ..Command::default()
    };
    let stdio = Stdio {
        stdin: false,
        stdout: true,
        stderr: true,
    };
    let asking = async {
        let mut exec = match files.session().exec_with(command, stdio).await {
            Ok(exec) => exec,
            Err(SessionError::Refused(_)) => return Ok(Listing::unread(NOT_RUN)),
            Err(error) => return Err(error),
        };
        let (stdout, stderr) = (exec.stdout.take(), exec.stderr.take());
        let read = async |stream: Option<StreamReader>, limit| {
            let mut said = Vec::new();
            if let Some(stream) = stream {
                let read = stream.take(limit).read_to_end(&mut said).await;
                read.map_err(SessionError::of_stream)?;
            }
            Ok::<_, SessionError>(said)
        };
        let (said, errors) = tokio::try_join!(read(stdout, OUTPUT), read(stderr, ERRORS))?;
        let end = exec.wait().await?;
        Ok(answer(&said, &errors, end == ExecEnd::Exited(0)))
    };
    match tokio::time::timeout(TIMEOUT, asking).await {
        Ok(answer) => answer,
        Err(_) => Ok(Listing::unread("the image's rpm takes too long")),
    }
}

/// What it printed, and the first of its errors.
fn answer(said: &[u8], errors: &[u8], is_success: bool) -> Listing {
    let mut errors = errors.split(|byte| *byte == b'\n');
    let error = errors.find_map(|line| text(line.strip_prefix(b"error: ")?));
    let problem = match (error, is_success) {
        (Some(error), _) => Some(format!("the image's rpm: {error}")),
        // Without its libraries, say.
        (None, false) => Some(NOT_RUN.to_owned()),
        (None, true) => None,
    };
    let packages = listed(said);
    Listing {
        packages: (is_success || !packages.is_empty()).then_some(packages),
        problem,
    }
}

fn listed(said: &[u8]) -> Vec<Package> {
    let lines = said.split(|byte| *byte == b'\n');
    lines.filter_map(package).collect()
}

/// Imported keys are in the database too, but are no packages.
fn package(line: &[u8]) -> Option<Package> {
    let mut fields = line.split(|byte| *byte == b'\t');
    let mut next = || fields.next().and_then(text).filter(|text| text != "(none)");
    let name = next().filter(|name| name != "gpg-pubkey")?;
    Some(Package {
        name,
        version: next().unwrap_or_default(),
        architecture: next(),
        source: next(),
        vendor: next(),
        license: next(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_is_a_package_unless_it_is_a_key() {
        let said = b"bash\t5.2-1\tx86_64\tbash-5.2-1.src.rpm\tFedora Project\tGPL-3.0\n\
            gpg-pubkey\t1-2\t(none)\t(none)\t(none)\tpubkey\n\
            perl\t4:5.36-1\tx86_64\t(none)\t(none)\tGPL+\n";
        let found = listed(said);
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].source.as_deref(), Some("bash-5.2-1.src.rpm"));
        assert_eq!((&*found[1].version, &found[1].vendor), ("4:5.36-1", &None));
        assert!(listed(b"").is_empty());
    }
}
