//! All that is found out about one system.

use serde::Serialize;

use super::image_files::ImageFiles;
use super::kernels::Kernel;
use super::last_boot::LastBoot;
use super::packages::Packages;
use super::users::User;
use super::{architecture, hostname, init, kernels, last_boot, packages, users};
use crate::guest::session::SessionError;
use crate::linux::elf;

/// As much of /etc/passwd as is read.
const PASSWD: u64 = 1 << 20;

/// What a mounted system shows of itself. What could not be found out is none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Facts {
    /// As uname(1) names its processor.
    pub architecture: Option<String>,
    /// What it calls itself.
    pub hostname: Option<String>,
    /// Which program starts its services.
    pub init: Option<&'static str>,
    /// The kernels that are installed, the newest last.
    pub kernels: Vec<Kernel>,
    /// Its packages.
    pub packages: Option<Packages>,
    /// Users with a shell to log in with.
    pub users: Vec<User>,
    /// When it ran last; none of a system that never did.
    pub last_boot: Option<LastBoot>,
}

/// Finds out everything, all at once: each question is a way to the guest and back.
///
/// # Errors
/// The session ends, or the image is torn.
pub async fn facts(files: ImageFiles<'_>) -> Result<Facts, SessionError> {
    let users = async {
        let passwd = files.bytes("/etc/passwd", PASSWD).await?;
        Ok(users::with_a_shell(&passwd.unwrap_or_default()))
    };
    let (architecture, hostname, init, kernels, packages, users, last_boot) = tokio::try_join!(
        architecture(files),
        hostname::hostname(files),
        init::system(files),
        kernels::kernels(files),
        packages::packages(files),
        users,
        last_boot::last_boot(files),
    )?;
    Ok(Facts {
        architecture,
        hostname,
        init,
        kernels,
        packages,
        users,
        last_boot,
    })
}

async fn architecture(files: ImageFiles<'_>) -> Result<Option<String>, SessionError> {
    for program in architecture::PROGRAMS {
        let header = files.bytes(program, elf::MACHINE_LENGTH as u64).await?;
        if let Some(name) = header.as_deref().and_then(architecture::of_program) {
            return Ok(Some(name));
        }
    }
    Ok(None)
}
