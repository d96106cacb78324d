//! Images that are on another host ([`remote`]); those that are compressed, and archives with the disks of a machine (OVA): each image is copied to a
//! file without a name, beside the overlays, and that is opened in its place.

mod contents;
pub(super) mod job;
mod ova;

use std::collections::VecDeque;
use std::fs::{File, Metadata};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use anyhow::anyhow;
use nix::libc;

use super::failure::Failure;
use super::progress::Progress;
use super::spec::{DiskSpec, OverlaySpec, StartMode, VmSpec};
use super::supervisor::Supervisor;
use super::{prepare, remote};
use crate::host::memory_limit;
use crate::image::chain::Request;
use crate::image::open_image::{OpenedImage, UnpackedCopy};
use crate::image::packed;
use crate::image::remote_url::RemoteUrl;
use crate::machine::overlay::Place;
use crate::package::decompressed;
use crate::sandbox;
use crate::text::escape::{Quoted, Untrusted};
use crate::text::size::Size;
use contents::Unpacked;
use job::{Job, UnpackError};

/// The images of one machine.
pub(super) struct Images<'a> {
    pub image: Option<Request>,
    pub disks: Vec<DiskSpec>,
    pub overlay: &'a OverlaySpec,
    /// Of the servers of images on other hosts.
    pub sandbox: &'a sandbox::Settings,
}

impl VmSpec {
    /// The same machine with a copy of each image that is packed. Called once for a machine, however often
    /// it is prepared.
    pub(crate) async fn unpacked(
        self,
        supervisor: &mut Supervisor,
        progress: &dyn Progress,
    ) -> Result<Self, Failure> {
        let images = Images {
            image: self.image.clone(),
            disks: self.disks.clone(),
            overlay: &self.overlay,
            sandbox: &self.sandbox,
        };
        let (image, disks) = supervisor.guard(images.unpacked(progress)).await??;
        let opened = image.as_ref().and_then(|image| image.opened.as_ref());
        if self.start == StartMode::Warm
            && let Some(copy) = opened.and_then(OpenedImage::copy)
        {
            tracing::warn!("each start unpacks it anew; faster is, once: {}", copy.hint);
        }
        Ok(Self {
            image,
            disks,
            ..self
        })
    }
}

impl Images<'_> {
    /// The image and the other disks, each with its copy if it is packed. An archive may hold several: they
    /// are further disks, directly after the first.
    pub async fn unpacked(
        self,
        progress: &dyn Progress,
    ) -> Result<(Option<Request>, Vec<DiskSpec>), Failure> {
        let (mut image, mut disks) = (self.image, Vec::new());
        if let Some(image) = &mut image {
            let mut found = opened(image, (self.overlay, self.sandbox), progress).await?;
            image.opened = found.pop_front();
            disks.extend(found.into_iter().map(|further| DiskSpec {
                image: image.image.clone(),
                format: None,
                serial: None,
                sector_size: None,
                trust: image.trust.clone(),
                opened: Some(further),
            }));
        }
        for mut disk in self.disks {
            let mut found = opened(&disk.request(), (self.overlay, self.sandbox), progress).await?;
            disk.opened = found.pop_front();
            disks.push(disk.clone());
            disks.extend(found.into_iter().map(|further| DiskSpec {
                serial: None,
                opened: Some(further),
                ..disk.clone()
            }));
        }
        Ok((image, disks))
    }
}

/// Copies of what the image holds, if it is packed and nothing says that its bytes are meant. Else the
/// image itself, or nothing if it was not to be opened for that.
async fn opened(
    request: &Request,
    (overlay, sandbox): (&OverlaySpec, &sandbox::Settings),
    progress: &dyn Progress,
) -> Result<VecDeque<OpenedImage>, Failure> {
    let image = &request.image;
    if let Some(opened) = &request.opened {
        return Ok([opened.clone()].into());
    }
    if let (Some(limit), Some(url)) = (request.trust.remote, RemoteUrl::parse(image)) {
        let url = url.map_err(|error| {
            let name = Quoted(image).to_string();
            Failure::from(anyhow::Error::from(error).context(format!("cannot open {name}")))
        })?;
        progress.status(&format!("opening {}", url.as_str()));
        let place = prepare::place(overlay)?;
        let opened = match remote::open(url, limit, sandbox, &place).await {
            Ok(opened) => remote::checked(request, opened).await,
            Err(failure) => Err(failure),
        };
        progress.clear_status();
        return Ok([opened?].into());
    }
    let file = (request.format.is_none()).then(|| regular_file(image));
    let original = match file.flatten() {
        Some(file) if is_packed(&file) => Arc::new(file),
        other => {
            return Ok(other
                .map(Arc::new)
                .map(OpenedImage::File)
                .into_iter()
                .collect());
        }
    };
    let place = prepare::place(overlay)?;
    let limit = overlay.max_unpack.unwrap_or_else(|| free(&place) / 2);
    progress.status(&format!("unpacking {}", image.display()));
    let (path, name, file) = (image.clone(), place.name(), Arc::clone(&original));
    let done = job::in_thread(move |is_wanted| {
        let job = Job {
            original: &file,
            path: &path,
            place: &place,
            limit,
            is_wanted,
        };
        Unpacked::of(&job)
    });
    let done = done.await;
    progress.clear_status();
    let Unpacked { copies, how } =
        done.map_err(|error| failed((&original, image), error, limit))?;
    let (image, name) = (image.display(), name.display());
    match (how, &copies[..]) {
        (_, []) => return Ok([OpenedImage::File(original)].into()),
        (Some(kind), [copy, ..]) => {
            let length = Size(length(copy));
            tracing::warn!("{image}: compressed with {kind}; decompressed to {length} in {name}");
        }
        (None, copies) => {
            let list: Vec<String> = copies.iter().map(listed).collect();
            let list = list.join(", ");
            tracing::warn!("{image}: an OVA; its disks were copied to {name}: {list}");
        }
    }
    let copies = copies.into_iter().map(Arc::new);
    Ok(copies.map(OpenedImage::Copy).collect())
}

/// What cannot be opened, or is no file, is told by those who open it next.
fn regular_file(path: &Path) -> Option<File> {
    let is_file = |metadata: Metadata| metadata.is_file();
    // Opening a device may do things, and a FIFO is not to be waited for.
    path.metadata().is_ok_and(is_file).then_some(())?;
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = File::options().read(true).custom_flags(flags).open(path);
    file.ok().filter(|file| file.metadata().is_ok_and(is_file))
}

fn length(copy: &UnpackedCopy) -> u64 {
    copy.file.metadata().map_or(0, |metadata| metadata.len())
}

fn listed(copy: &UnpackedCopy) -> String {
    let name = copy.name.to_string_lossy();
    format!("{} ({})", Untrusted(&name), Size(length(copy)))
}

fn is_packed(file: &File) -> bool {
    let mut head = [0; 512];
    let Ok(length) = file.read_at(&mut head, 0) else {
        return false;
    };
    let head = &head[..length];
    packed::tar(head) || decompressed(head).is_ok_and(|found| found.is_some())
}

/// In bytes.
fn free(place: &Place) -> u64 {
    match place {
        Place::Directory(scratch) => scratch.space().map_or(0, |space| space.free),
        Place::Memory => memory_limit::available().unwrap_or(0),
    }
}

fn failed((original, image): (&File, &Path), error: UnpackError, limit: u64) -> Failure {
    let name = image.display();
    match error {
        UnpackError::TooLarge => Failure::with_hint(
            anyhow!("{name} is more than {} when it is unpacked", Size(limit)),
            "--max-unpack SIZE for another limit, --overlay-dir DIR for more space",
        ),
        UnpackError::Changed => Failure::with_hint(
            anyhow!("{name} was changed while it was unpacked"),
            "run it again when no other process writes to it",
        ),
        error => {
            let hint = contents::hint(original, image);
            let error = anyhow::Error::from(error).context(format!("unpacking {name}"));
            match hint {
                Some(hint) => Failure::with_hint(error, hint),
                None => error.into(),
            }
        }
    }
}
