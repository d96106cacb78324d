//! The package manager and the number of packages.
//!
//! The databases of dpkg, apk and pacman are lines or directories, and are read here. That of rpm
//! comes in three formats: the image's own `rpm` is run in the appliance instead.

use std::time::Duration;

use serde::Serialize;
use tokio::io::AsyncReadExt;

use super::image_files::{ImageFiles, name};
use crate::protocol::{ByteString, FileKind};
use crate::session::{Command, ExecEnd, SessionError, Stdio};

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Packages {
    /// The format: deb, rpm, apk or pacman.
    pub format: &'static str,
    /// The program that downloads them.
    pub manager: &'static str,
    pub installed: Option<u64>,
}

/// The most that is read of a database. Debian's has 1 MiB for 700 packages.
const DATABASE: u64 = 256 << 20;
/// The timeout for the image's rpm, and the most that is read of its output.
const RPM_TIMEOUT: Duration = Duration::from_secs(120);
const RPM_OUTPUT: u64 = 64 << 20;

/// Where rpm keeps its database.
const RPM: [&str; 2] = ["/var/lib/rpm", "/usr/lib/sysimage/rpm"];
/// The files that are one.
const RPM_DATABASES: [&str; 3] = ["rpmdb.sqlite", "Packages.db", "Packages"];

/// Finds the database. `rpm` needs a writable root with /proc and /dev.
pub async fn packages(files: ImageFiles<'_>) -> Result<Option<Packages>, SessionError> {
    let dpkg = count(files, "/var/lib/dpkg/status", is_installed_deb).await?;
    if let Some(installed) = dpkg {
        return found("deb", "apt", Some(installed));
    }
    for path in ["/lib/apk/db/installed", "/usr/lib/apk/db/installed"] {
        if let Some(installed) = count(files, path, |line| line.starts_with(b"P:")).await? {
            return found("apk", "apk", Some(installed));
        }
    }
    let pacman = files.list("/var/lib/pacman/local").await?;
    if !pacman.is_empty() {
        let is_package = |kind| kind == FileKind::Directory;
        let stats = pacman.iter().filter_map(|entry| entry.stat.as_ref());
        let installed = stats.filter(|stat| is_package(stat.kind)).count();
        return found("pacman", "pacman", Some(installed as u64));
    }
    if has_rpm(files).await? {
        let mut manager = "rpm";
        for program in ["zypper", "dnf", "dnf5", "microdnf", "tdnf", "yum"] {
            if files.stat(&format!("/usr/bin/{program}")).await?.is_some() {
                manager = program;
                break;
            }
        }
        return found("rpm", manager, run_rpm(files).await?);
    }
    Ok(None)
}

fn found(
    format: &'static str,
    manager: &'static str,
    installed: Option<u64>,
) -> Result<Option<Packages>, SessionError> {
    Ok(Some(Packages {
        format,
        manager,
        installed,
    }))
}

pub async fn has_rpm(files: ImageFiles<'_>) -> Result<bool, SessionError> {
    for directory in RPM {
        let entries = files.list(directory).await?;
        if entries
            .iter()
            .filter_map(name)
            .any(|name| RPM_DATABASES.contains(&name))
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The number of lines of a file that match; `None` if there is no such file.
async fn count(
    files: ImageFiles<'_>,
    path: &str,
    is_one: impl Fn(&[u8]) -> bool,
) -> Result<Option<u64>, SessionError> {
    let database = files.bytes(path, DATABASE).await?;
    Ok(database.map(|bytes| {
        let lines = bytes.split(|byte| *byte == b'\n');
        lines.filter(|line| is_one(line)).count() as u64
    }))
}

/// A line of dpkg's status file: `Status: WANTED FLAG STATE`.
fn is_installed_deb(line: &[u8]) -> bool {
    let Some(words) = line.strip_prefix(b"Status: ") else {
        return false;
    };
    let state = words.split(|byte| *byte == b' ').nth(2);
    state.is_some_and(|state| state == b"installed")
}

/// Runs the image's own rpm; `None` if it cannot be run, fails, or takes too long.
async fn run_rpm(files: ImageFiles<'_>) -> Result<Option<u64>, SessionError> {
    let words = ["rpm", "-qa", "--nodigest", "--nosignature"];
    let command = Command {
        argv: words.map(ByteString::from).into(),
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
            let read = stdout.take(RPM_OUTPUT).read_to_end(&mut said).await;
            read.map_err(SessionError::of_stream)?;
        }
        let end = exec.wait().await?;
        Ok((end == ExecEnd::Exited(0)).then(|| count_rpms(&said)))
    };
    match tokio::time::timeout(RPM_TIMEOUT, asking).await {
        Ok(answer) => answer,
        Err(_) => Ok(None),
    }
}

/// Imported keys are in the database too, but are not packages.
fn count_rpms(said: &[u8]) -> u64 {
    let lines = said.split(|byte| *byte == b'\n');
    let packages = lines.filter(|line| !line.is_empty() && !line.starts_with(b"gpg-pubkey-"));
    packages.count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_installed_counts() {
        assert!(is_installed_deb(b"Status: install ok installed"));
        assert!(is_installed_deb(b"Status: hold ok installed"));
        for not in [
            &b"Status: deinstall ok config-files"[..],
            b"Status: install ok half-installed",
            b"Status: install ok not-installed",
            b" Status: install ok installed",
            b"Status: installed",
        ] {
            assert!(!is_installed_deb(not));
        }
        let said = b"bash-5.2-1.x86_64\ngpg-pubkey-1-2\nglibc-2.3-4.x86_64\n";
        assert_eq!(count_rpms(said), 2);
        assert_eq!(count_rpms(b""), 0);
    }
}
