//! All facts about one system.

use serde::Serialize;

use super::image_files::ImageFiles;
use super::kernels::Kernel;
use super::last_boot::LastBoot;
use super::packages::Packages;
use super::users::User;
use super::{architecture, hostname, init, kernels, last_boot, packages, users};
use crate::linux::elf;
use crate::protocol::disks::Mount;
use crate::session::SessionError;

/// The most that is read of /etc/passwd.
const PASSWD: u64 = 1 << 20;

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Facts {
    /// The processor, by its name in uname(1).
    pub architecture: Option<String>,
    pub hostname: Option<String>,
    pub init: Option<&'static str>,
    /// The kernels that are installed, the newest last.
    pub kernels: Vec<Kernel>,
    pub packages: Option<Packages>,
    /// Users with a shell to log in with.
    pub users: Vec<User>,
    /// When it ran last; `None` if it never did.
    pub last_boot: Option<LastBoot>,
}

/// Finds out everything, concurrently: each request is a round trip to the guest. `mounts` are those
/// of the system.
pub async fn facts(files: ImageFiles<'_>, mounts: &[Mount]) -> Result<Facts, SessionError> {
    let users = async {
        let passwd = files.bytes("/etc/passwd", PASSWD).await?;
        Ok(users::with_a_shell(&passwd.unwrap_or_default()))
    };
    let (architecture, hostname, init, kernels, packages, users, last_boot) = tokio::try_join!(
        architecture(files),
        hostname::hostname(files),
        init::system(files),
        kernels::kernels(files, mounts),
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
