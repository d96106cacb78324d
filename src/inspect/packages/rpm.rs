//! The database of rpm. It comes in three formats (SQLite, NDB, Berkeley DB), which the image's own `rpm`
//! reads: it is run in the appliance.

use std::time::Duration;

use tokio::io::AsyncReadExt;

use super::package::{Package, text};
use crate::inspect::image_files::{ImageFiles, name};
use crate::protocol::ByteString;
use crate::session::{Command, ExecEnd, SessionError, Stdio};

/// The timeout for the image's rpm, and the most that is read of its output.
const TIMEOUT: Duration = Duration::from_secs(120);
const OUTPUT: u64 = 64 << 20;

/// Where rpm keeps its database.
const DIRECTORIES: [&str; 2] = ["/var/lib/rpm", "/usr/lib/sysimage/rpm"];
/// The files that are one.
const DATABASES: [&str; 3] = ["rpmdb.sqlite", "Packages.db", "Packages"];

/// One line for each package, in the order of [`package`]. Of several licenses rpm has one text.
const FORMAT: &str = "%{NAME}\\t%|EPOCH?{%{EPOCH}:}|%{VERSION}-%{RELEASE}\\t%{ARCH}\\t\
                      %{SOURCERPM}\\t%{VENDOR}\\t%{LICENSE}\\n";

/// Whether there is a database.
pub async fn has_rpm(files: ImageFiles<'_>) -> Result<bool, SessionError> {
    Ok(directory(files).await?.is_some())
}

/// The directory that has a database.
async fn directory(files: ImageFiles<'_>) -> Result<Option<&'static str>, SessionError> {
    for directory in DIRECTORIES {
        let entries = files.list(directory).await?;
        let mut names = entries.iter().filter_map(name);
        if names.any(|name| DATABASES.contains(&name)) {
            return Ok(Some(directory));
        }
    }
    Ok(None)
}

/// The program that downloads packages.
pub async fn manager(files: ImageFiles<'_>) -> Result<&'static str, SessionError> {
    for program in ["zypper", "dnf", "dnf5", "microdnf", "tdnf", "yum"] {
        if files.stat(&format!("/usr/bin/{program}")).await?.is_some() {
            return Ok(program);
        }
    }
    Ok("rpm")
}

/// Runs the image's own rpm, which needs a writable root with /proc and /dev. `None` if it cannot be
/// run, fails, or takes too long.
pub async fn packages(files: ImageFiles<'_>) -> Result<Option<Vec<Package>>, SessionError> {
    let Some(directory) = directory(files).await? else {
        return Ok(None);
    };
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
        stderr: false,
    };
    let asking = async {
        let mut exec = match files.session().exec_with(command, stdio).await {
            Ok(exec) => exec,
            Err(SessionError::Refused(_)) => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut said = Vec::new();
        if let Some(stdout) = exec.stdout.take() {
            let read = stdout.take(OUTPUT).read_to_end(&mut said).await;
            read.map_err(SessionError::of_stream)?;
        }
        let end = exec.wait().await?;
        Ok((end == ExecEnd::Exited(0)).then(|| listed(&said)))
    };
    match tokio::time::timeout(TIMEOUT, asking).await {
        Ok(answer) => answer,
        Err(_) => Ok(None),
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
