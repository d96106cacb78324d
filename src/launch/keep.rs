//! Keeps the disks of a machine as images: its overlays, with the names and formats of the images below
//! recorded, or all that is on the disks. Nothing has a name until all of it is complete.

use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, anyhow};
use tokio::sync::oneshot;

use super::failure::Failure;
use super::start::Launch;
use super::supervisor::Interrupted;
use crate::host::new_file::{NewFile, NewFileError, directory_of};
use crate::image::Format;
use crate::image::chain::{self, Chain, Request};
use crate::image::qcow2::{EmptyOverlay, Geometry, merge};
use crate::machine::Machine;
use crate::machine::block_jobs::JobError;
use crate::machine::drives::Drives;
use crate::machine::overlay::{GEOMETRY, Overlay};
use crate::session::Session;
use crate::text::escape::Quoted;

/// How long a guest may take to write everything to its disks.
const SYNC_LIMIT: Duration = Duration::from_secs(60);

/// What is to be kept of a machine.
#[derive(Clone, Debug)]
pub struct KeepSpec {
    /// The image of the first disk; those of further disks are named after it ([`path_of_disk`]).
    pub path: PathBuf,
    /// Everything that is on the disks, so that the images need no others.
    pub full: bool,
    /// Whether existing files are replaced.
    pub force: bool,
}

/// An image that was kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Where it is.
    pub path: PathBuf,
    /// The backing file that its header records, and that file's format.
    pub backing: Option<(PathBuf, Format)>,
}

/// Where no image can lie on that of the machine.
const FULL: &str = "--keep-full, for an image that needs no other";

/// The files that will hold the disks of a machine. Dropping it leaves nothing.
#[derive(Debug)]
pub(crate) struct Keep {
    full: bool,
    files: Vec<NewFile>,
}

impl Keep {
    /// Creates the files for the first `disks` disks of `drives`. Fails if one of them may not be
    /// replaced: an existing file, or an image of the machine.
    pub fn create(spec: &KeepSpec, drives: &Drives, disks: usize) -> Result<Self, Failure> {
        if disks == 0 {
            let error = anyhow!("--keep: the machine has no disk that it may write to");
            return Err(error.into());
        }
        let images = || drives.chains().iter().map(Chain::image);
        let remote = images().find(|image| image.remote().is_some());
        if let Some(image) = remote.filter(|_| !spec.full) {
            return Err(Failure::with_hint(
                anyhow!(
                    "--keep: {} is an image of a server, so no image can lie on it",
                    Quoted(image.path())
                ),
                FULL,
            ));
        }
        let packed = images().filter_map(|image| image.copy()).next();
        if let Some(copy) = packed.filter(|_| !spec.full) {
            return Err(Failure::with_hint(
                anyhow!(
                    "--keep: {} is packed, so no image can lie on it",
                    Quoted(&copy.path)
                ),
                FULL,
            ));
        }
        let files = (0..disks).map(|disk| {
            let path = path_of_disk(&spec.path, disk);
            let file = NewFile::create(&path, spec.force)?;
            let present = file.present();
            let layers = drives.chains().iter().flat_map(Chain::layers);
            let mut identities = layers.map(|layer| layer.identity());
            match present.is_some_and(|present| identities.any(|one| one.same_file(&present))) {
                true => Err(Failure::with_hint(
                    anyhow!("--keep {}: this is an image of the machine", path.display()),
                    "another file for --keep",
                )),
                false => Ok(file),
            }
        });
        Ok(Self {
            full: spec.full,
            files: files.collect::<Result<_, Failure>>()?,
        })
    }

    /// The file of the first disk.
    pub fn path(&self) -> &Path {
        self.files.first().map_or(Path::new(""), NewFile::path)
    }

    /// Stops the CPUs of `machine`, and has QEMU copy what only it can. The overlays are complete then,
    /// whether the machine is ended or goes on after [`Keep::publish`].
    pub async fn collect(&mut self, machine: &mut Machine, drives: &Drives) -> Result<(), Failure> {
        machine.pause().await?;
        for (disk, (new, overlay)) in self.files.iter().zip(drives.overlays()).enumerate() {
            let Some(chain) = drives.chain_of(disk) else {
                continue;
            };
            if self.full {
                let empty = EmptyOverlay {
                    virtual_size: chain.virtual_size(),
                    backing_file: b"",
                    backing_format: Format::Raw,
                    geometry: Geometry::default(),
                };
                empty.write_to(new.file()).with_context(|| kept(new))?;
                let target = new.file().as_fd().try_clone_to_owned();
                let target = target.with_context(|| kept(new))?;
                machine.copy_disk(overlay.name(), target).await?;
            }
        }
        // QEMU writes what it still holds of the overlays' tables.
        machine.pause().await?;
        Ok(())
    }

    /// Completes the images and gives them their names. The machine has to be stopped or ended; see
    /// [`Keep::collect`].
    pub async fn publish(self, drives: &Drives) -> Result<Vec<Kept>, Failure> {
        let mut backings = Vec::new();
        for (disk, (new, overlay)) in self.files.iter().zip(drives.overlays()).enumerate() {
            let backing = match drives.chain_of(disk) {
                Some(chain) if !self.full => {
                    let image = chain.image();
                    let name = recorded_name(image.path(), new.path());
                    let merged = merge_over(chain, overlay, &name, new.file());
                    merged
                        .await
                        .map_err(|error| not_merged(error, &name, new))?;
                    Some((name, image.format()))
                }
                _ => None,
            };
            backings.push(backing);
        }
        let mut all = Vec::new();
        for (new, backing) in self.files.into_iter().zip(backings) {
            let path = new.path().to_owned();
            new.publish()?;
            all.push(Kept { path, backing });
        }
        Ok(all)
    }
}

impl Launch<'_> {
    /// Stops the CPUs of a machine when everything is on its disks that `session` can have written there.
    /// Its overlays are complete then.
    pub async fn settle(
        &mut self,
        machine: &mut Machine,
        session: Option<&Session>,
    ) -> Result<(), Interrupted> {
        if let Some(session) = session {
            self.progress.status("syncing the guest's filesystems");
            let syncing = tokio::time::timeout(SYNC_LIMIT, session.sync());
            match self.supervisor.run(machine, syncing).await? {
                Ok(Ok(())) => {}
                Ok(Err(error)) => not_synced(&error.to_string()),
                Err(_) => not_synced("the guest does not answer"),
            }
        }
        // QEMU writes what it still holds of the overlays' tables.
        Ok(machine.pause().await?)
    }

    /// [`Keep::collect`], unless a signal or a deadline ends it.
    pub async fn collect(&mut self, keep: &mut Keep, machine: &mut Machine) -> Result<(), Failure> {
        self.progress.status("keeping the disks");
        let collecting = keep.collect(machine, &self.vm.drives);
        let collected = self.supervisor.guard(collecting).await;
        self.progress.clear_status();
        collected??;
        self.facts.phases.mark("collected");
        Ok(())
    }

    /// [`Keep::publish`], and a line for each image.
    pub async fn publish(&mut self, keep: Keep) -> Result<(), Failure> {
        self.progress.status("keeping the disks");
        let published = self.supervisor.guard(keep.publish(&self.vm.drives)).await;
        self.progress.clear_status();
        for kept in published?? {
            self.progress.message(&format!("bivouac: kept {kept}"));
            if let Some(hint) = kept.hint() {
                self.progress.message(&format!("  hint: {hint}"));
            }
        }
        self.facts.phases.mark("kept");
        Ok(())
    }
}

fn not_synced(why: &str) {
    tracing::warn!("the guest's filesystems could not be synced ({why})");
}

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", Quoted(&self.path))?;
        match &self.backing {
            Some((name, format)) => write!(f, ", over {} ({format})", Quoted(name)),
            None => f.write_str(", which needs no other image"),
        }
    }
}

impl Kept {
    /// What it is to be opened with, if its name alone does not do.
    fn hint(&self) -> Option<String> {
        let problem = chain::resolve(&Request::of(&self.path)).err()?;
        let hint = problem.hint().unwrap_or_else(|| problem.to_string());
        Some(format!("to open it, {hint}"))
    }
}

/// The file of a disk: `path`, and for the others `path` with `-disk1` and so on before its extension.
pub fn path_of_disk(path: &Path, disk: usize) -> PathBuf {
    if disk == 0 {
        return path.to_owned();
    }
    let mut name = OsString::from(path.file_stem().unwrap_or_default());
    name.push(format!("-disk{disk}"));
    if let Some(extension) = path.extension() {
        name.push(".");
        name.push(extension);
    }
    path.with_file_name(name)
}

/// The name by which the header of the image at `above` records `image`, which is absolute: relative, if
/// it is beside it or below, so that both can be moved together.
fn recorded_name(image: &Path, above: &Path) -> PathBuf {
    let real = |path: &Path| path.canonicalize();
    let Ok(image) = real(image) else {
        return image.to_owned();
    };
    let relative = real(directory_of(above))
        .ok()
        .and_then(|directory| image.strip_prefix(directory).ok().map(Path::to_owned));
    match relative {
        // QEMU takes what is before a colon for a protocol.
        Some(name) if !name.as_os_str().as_bytes().contains(&b':') => name,
        _ => image,
    }
}

/// Writes all that the overlays of a disk hold into `to`, an image over the file `name`. In a thread: it
/// may be much, and the event loop waits for nothing.
pub(super) async fn merge_over(
    chain: &Chain,
    overlay: &Overlay,
    name: &Path,
    to: &File,
) -> io::Result<()> {
    let below = &chain.layers()[..chain.overlays()];
    let all = std::iter::once(overlay.as_fd()).chain(below.iter().map(|layer| layer.fd()));
    let files = all.map(|fd| fd.try_clone_to_owned().map(File::from));
    let files = files.collect::<io::Result<Vec<_>>>()?;
    let (to, name, format) = (to.try_clone()?, name.to_owned(), chain.image().format());
    let virtual_size = chain.virtual_size();
    let (send, done) = oneshot::channel();
    std::thread::Builder::new().spawn(move || {
        let empty = EmptyOverlay {
            virtual_size,
            backing_file: name.as_os_str().as_bytes(),
            backing_format: format,
            geometry: GEOMETRY,
        };
        // The receiver is gone if the run was ended meanwhile.
        let _ = send.send(merge(&files.iter().collect::<Vec<_>>(), empty, &to));
    })?;
    done.await.map_err(io::Error::other)?
}

fn kept(new: &NewFile) -> String {
    format!("--keep {}", new.path().display())
}

fn not_merged(error: io::Error, name: &Path, new: &NewFile) -> Failure {
    match error.kind() {
        io::ErrorKind::InvalidFilename => Failure::with_hint(
            anyhow!(
                "{}: the name {} is too long for its header",
                kept(new),
                Quoted(name)
            ),
            "--keep-full, for an image that needs no other",
        ),
        _ => anyhow::Error::from(error).context(kept(new)).into(),
    }
}

impl From<NewFileError> for Failure {
    fn from(error: NewFileError) -> Self {
        let hint = match &error {
            NewFileError::Exists(_) => "--force replaces it",
            NewFileError::NotAFile(_) | NewFileError::NoName(_) => "name a file that is to be made",
            NewFileError::Io { .. } => "name a file in a directory that you may write to",
        };
        Self::with_hint(anyhow::Error::from(error).context("--keep"), hint)
    }
}

impl From<JobError> for Failure {
    fn from(error: JobError) -> Self {
        match error {
            JobError::Qemu(error) => error.into(),
            JobError::Failed { .. } => Self::with_hint(
                anyhow::Error::from(error).context("--keep"),
                "a larger --max-write, or more room in the directories of the overlay and of the image",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn further_disks_are_named_after_the_first() {
        let name = |path: &str, disk| path_of_disk(Path::new(path), disk);
        assert_eq!(name("/a/b.qcow2", 0), Path::new("/a/b.qcow2"));
        assert_eq!(name("/a/b.qcow2", 1), Path::new("/a/b-disk1.qcow2"));
        assert_eq!(name("b", 2), Path::new("b-disk2"));
    }

    #[test]
    fn a_backing_file_is_recorded_relative_to_an_image_beside_or_above_it() {
        let scratch = tempfile::tempdir().unwrap();
        let root = scratch.path().canonicalize().unwrap();
        fs::create_dir(root.join("sub")).unwrap();
        for file in ["base", "a:b", "sub/base"] {
            fs::write(root.join(file), "").unwrap();
        }
        let name = |image: &str, above: &str| recorded_name(&root.join(image), &root.join(above));
        assert_eq!(name("base", "kept"), Path::new("base"));
        assert_eq!(name("sub/base", "kept"), Path::new("sub/base"));
        assert_eq!(name("base", "sub/kept"), root.join("base"));
        assert_eq!(name("a:b", "kept"), root.join("a:b"));
        assert_eq!(name("missing", "kept"), root.join("missing"));
    }
}
