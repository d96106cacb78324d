//! Mounting an image to look at it: also one that holds no system, but data alone.

use anyhow::anyhow;

use super::Inside;
use crate::commands::Failure;
use crate::guest::boot::ROOT;
use crate::guest::inspect::filesystems::{Found, filesystems, main_filesystem};
use crate::guest::wire::disks::Mount;

impl Inside {
    /// Mounts what the image is about, read-only, at [`ROOT`]: its system, as its fstab says; or,
    /// where there is none, its only filesystem; or the device that `--root` names.
    ///
    /// # Errors
    /// It is not clear what is meant, or it cannot be mounted.
    pub async fn enter_to_look(&self) -> Result<(), Failure> {
        match self.data() {
            None => self.enter(true, false).await.map(drop),
            Some(Ok(mount)) => {
                self.session.mount(&[mount], ROOT, true, false).await?;
                Ok(())
            }
            Some(Err(failure)) => Err(failure),
        }
    }

    /// The filesystem to be mounted where no system is meant.
    fn data(&self) -> Option<Result<Mount, Failure>> {
        let all = filesystems(&self.survey);
        let found = match &self.wanted {
            Some(wanted) if self.root().is_err() => {
                let (device, subvolume) = match wanted.split_once(':') {
                    Some((device, subvolume)) => (device, Some(subvolume)),
                    None => (&wanted[..], None),
                };
                let found = all.iter().find(|found| found.device == device)?;
                return Some(Ok(mount_of(found, subvolume)));
            }
            None if self.survey.roots.is_empty() => main_filesystem(&self.survey),
            _ => return None,
        };
        match found {
            Some(found) => Some(Ok(mount_of(&found, None))),
            None if all.is_empty() => None,
            None => {
                let lines = all.iter().map(|found| {
                    let label = found.content.label.as_deref().unwrap_or_default();
                    format!("  {}  {} {label}", found.device, found.content.kind.name())
                });
                let lines: Vec<_> = lines.collect();
                let message = "the image holds no operating system, and several filesystems:";
                Some(Err(Failure::with_mend(
                    anyhow!("{message}\n{}", lines.join("\n")),
                    "one of them by --root DEVICE",
                )))
            }
        }
    }
}

fn mount_of(found: &Found<'_>, subvolume: Option<&str>) -> Mount {
    Mount {
        source: found.device.to_owned(),
        target: "/".to_owned(),
        kind: Some(found.content.kind),
        options: subvolume
            .map(|path| format!("subvol={path}"))
            .into_iter()
            .collect(),
    }
}
