//! All facts about one system.

use serde::Serialize;

use super::image_files::ImageFiles;
use super::kernels::Kernel;
use super::last_boot::LastBoot;
use super::locale::Locale;
use super::packages::Packages;
use super::users::User;
use super::{architecture, hostname, init, kernels, last_boot, locale, packages, services, users};
use crate::linux::elf;
use crate::protocol::disks::Mount;
use crate::session::SessionError;

/// The most that is read of /etc/passwd.
const PASSWD: u64 = 1 << 20;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Facts {
    /// The processor, by its name in uname(1).
    pub architecture: Option<String>,
    pub hostname: Option<String>,
    pub init: Option<&'static str>,
    /// The kernels that are installed, the newest last.
    pub kernels: Vec<Kernel>,
    pub packages: Option<Packages>,
    /// What is enabled to start at boot, by the names of the init system.
    pub services: Vec<String>,
    pub locale: Locale,
    /// Users with a shell to log in with.
    pub users: Vec<User>,
    /// When it ran last; `None` if it never did.
    pub last_boot: Option<LastBoot>,
}

/// Finds out everything, concurrently: each request is a round trip to the guest. `mounts` are those
/// of the system. `wants_packages` is for a list of the packages and not only their number.
pub async fn facts(
    files: ImageFiles<'_>,
    mounts: &[Mount],
    wants_packages: bool,
) -> Result<Facts, SessionError> {
    let users = async {
        let passwd = files.bytes("/etc/passwd", PASSWD).await?;
        Ok(users::with_a_shell(&passwd.unwrap_or_default()))
    };
    let started = async {
        let init = init::system(files).await?;
        Ok((init, services::enabled(files, init).await?))
    };
    let (architecture, hostname, started, kernels, packages, users, last_boot, locale) = tokio::try_join!(
        architecture(files),
        hostname::hostname(files),
        started,
        kernels::kernels(files, mounts),
        packages::packages(files, wants_packages),
        users,
        last_boot::last_boot(files),
        locale::locale(files),
    )?;
    let (init, services) = started;
    Ok(Facts {
        architecture,
        hostname,
        init,
        kernels,
        packages,
        services,
        locale,
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
