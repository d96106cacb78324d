//! The files behind a machine's block devices: the layers of the images, read-only, and an overlay
//! for each disk that the guest may write to.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::PathBuf;
use std::sync::Arc;

use super::overlay::{Overlay, Place};
use super::plan::{ChildFd, Disk, Layer};
use crate::image::ChainError;
use crate::image::chain::Chain;
use crate::image::file_kind::FileKind;
use crate::image::remote_image::RemoteImage;
use crate::linux::proc_fd;

#[derive(Debug, thiserror::Error)]
pub enum DriveError {
    #[error("making an overlay in {}", place.display())]
    Overlay {
        place: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    Layer(#[from] Box<ChainError>),
    #[error("{}: its header was changed while QEMU opened it", path.display())]
    HeaderChanged { path: PathBuf },
    #[error("reading {} again", path.display())]
    Header {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

impl DriveError {
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::HeaderChanged { .. } => {
                Some("run it again when no other process writes to it".to_owned())
            }
            Self::Overlay { .. } | Self::Header { .. } | Self::Layer(_) => None,
        }
    }
}

/// An overlay that a disk gets when a checkpoint is made.
#[derive(Debug)]
pub struct NewOverlay {
    /// The name of its node.
    pub node: String,
    /// The node that it is put over.
    pub below: String,
    pub overlay: Overlay,
}

/// A disk's overlay and the layers below it.
pub type Stack = (ChildFd, Vec<Layer>);

#[derive(Debug)]
pub struct Drives {
    pub place: Place,
    chains: Vec<Chain>,
    overlays: Vec<Overlay>,
    sizes: Vec<u64>,
    /// For each disk, the index of its chain.
    of_disks: Vec<usize>,
    /// How many checkpoints were made of the machine.
    checkpoints: usize,
    /// The overlays that it had. QEMU knows them by their numbers, which must not be used again.
    replaced: Vec<Overlay>,
}

impl Drives {
    pub fn new(place: Place) -> Self {
        Self {
            place,
            chains: Vec::new(),
            overlays: Vec::new(),
            sizes: Vec::new(),
            of_disks: Vec::new(),
            checkpoints: 0,
            replaced: Vec::new(),
        }
    }

    /// Adds a disk with an overlay over `chain`. `name` is that of its node.
    pub fn disk(
        &mut self,
        name: &str,
        chain: Chain,
        serial: Option<String>,
    ) -> Result<Disk, DriveError> {
        let overlay = new_overlay(name, &self.place, &chain)?;
        let disk = Disk {
            overlay: overlay.fd(),
            layers: layers(&chain),
            serial,
            sector_size: None,
        };
        self.overlays.push(overlay);
        self.sizes.push(chain.virtual_size());
        self.of_disks.push(self.chains.len());
        self.chains.push(chain);
        Ok(disk)
    }

    /// Adds one more layer on top of each disk and replaces its overlay by an empty one. `saved` are
    /// the overlays of an earlier machine with the same disks. Returns each disk's overlay and layers.
    pub fn push_layer(&mut self, saved: &[PathBuf]) -> Result<Vec<Stack>, DriveError> {
        let mut stacked = Vec::new();
        for (path, (overlay, at)) in saved
            .iter()
            .zip(self.overlays.iter_mut().zip(&self.of_disks))
        {
            let chain = &mut self.chains[*at];
            chain.put_on_top(path).map_err(Box::new)?;
            *overlay = new_overlay(overlay.name(), &self.place, chain)?;
            stacked.push((overlay.fd(), layers(chain)));
        }
        Ok(stacked)
    }

    /// The overlays that the disks get at the next checkpoint.
    pub fn new_overlays(&self) -> Result<Vec<NewOverlay>, DriveError> {
        let overlays = self.overlays.iter().zip(&self.of_disks);
        let new = overlays.map(|(overlay, at)| {
            let name = overlay.name();
            Ok(NewOverlay {
                node: node_name(name, self.checkpoints + 1),
                below: node_name(name, self.checkpoints),
                overlay: new_overlay(name, &self.place, &self.chains[*at])?,
            })
        });
        new.collect()
    }

    /// The disks' overlays are layers now, and `new` are their overlays.
    pub fn replace_overlays(&mut self, new: Vec<NewOverlay>) -> Result<(), DriveError> {
        self.checkpoints += 1;
        let mut done = Ok(());
        for ((new, overlay), at) in new.into_iter().zip(&mut self.overlays).zip(&self.of_disks) {
            let path = proc_fd::path(&*overlay);
            let layer = self.chains[*at].put_on_top(&path);
            done = done.and(layer.map_err(|error| Box::new(error).into()));
            let old = std::mem::replace(overlay, new.overlay);
            done = done.and(old.seal(&self.place).map_err(|source| DriveError::Overlay {
                place: self.place.name(),
                source,
            }));
            self.replaced.push(old);
        }
        done
    }

    /// The disks as they are, for another QEMU, after the one that had them has exited.
    pub fn restack(&mut self) -> Vec<Stack> {
        self.checkpoints = 0;
        self.replaced.clear();
        let disks = self.overlays.iter().zip(&self.of_disks);
        disks
            .map(|(overlay, at)| (overlay.fd(), layers(&self.chains[*at])))
            .collect()
    }

    /// The same disks for another machine, with empty overlays. Both share the layers.
    pub fn branch(&self) -> Result<(Self, Vec<Stack>), DriveError> {
        let mut branch = Self {
            place: self.place.clone(),
            chains: self.chains.clone(),
            overlays: Vec::new(),
            sizes: self.sizes.clone(),
            of_disks: self.of_disks.clone(),
            checkpoints: 0,
            replaced: Vec::new(),
        };
        let mut disks = Vec::new();
        for (overlay, at) in self.overlays.iter().zip(&self.of_disks) {
            let chain = &self.chains[*at];
            let overlay = new_overlay(overlay.name(), &self.place, chain)?;
            disks.push((overlay.fd(), layers(chain)));
            branch.overlays.push(overlay);
        }
        Ok((branch, disks))
    }

    /// Adds the top layer of `chain` for a read-only device.
    pub fn read_only(&mut self, chain: Chain) -> Layer {
        let layer = layers(&chain).remove(0);
        self.chains.push(chain);
        layer
    }

    pub fn chains(&self) -> &[Chain] {
        &self.chains
    }

    /// The chain below the overlay of a disk.
    pub fn chain_of(&self, disk: usize) -> Option<&Chain> {
        self.chains.get(*self.of_disks.get(disk)?)
    }

    /// The images alone.
    pub fn into_chains(self) -> Vec<Chain> {
        self.chains
    }

    /// In the order of the disks.
    pub fn overlays(&self) -> &[Overlay] {
        &self.overlays
    }

    /// In bytes, in the order of the disks.
    pub fn disk_sizes(&self) -> &[u64] {
        &self.sizes
    }

    pub fn files(&self) -> Vec<BorrowedFd<'_>> {
        let layers = self
            .chains
            .iter()
            .flat_map(Chain::layers)
            .map(|layer| layer.fd());
        let overlays = self.overlays.iter().chain(&self.replaced);
        layers.chain(overlays.map(AsFd::as_fd)).collect()
    }

    /// The images on other hosts, each of which a QEMU needs a connection to.
    pub fn remotes(&self) -> Vec<&RemoteImage> {
        let layers = self.chains.iter().flat_map(Chain::layers);
        layers
            .filter_map(|layer| layer.remote().map(Arc::as_ref))
            .collect()
    }

    /// Fails if a layer's header is not the one that was checked. Call it when QEMU has opened every
    /// layer, before the guest runs.
    pub fn check_headers(&self) -> Result<(), DriveError> {
        for layer in self.chains.iter().flat_map(Chain::layers) {
            let path = || layer.path().to_owned();
            let header = |source| DriveError::Header {
                path: path(),
                source,
            };
            if !layer.header_is_unchanged().map_err(header)? {
                return Err(DriveError::HeaderChanged { path: path() });
            }
        }
        Ok(())
    }
}

/// The name of the node of a disk's overlay. A node's name has at most 31 bytes.
fn node_name(disk: &str, checkpoints: usize) -> String {
    match checkpoints {
        0 => disk.to_owned(),
        count => format!("{disk}-{count}"),
    }
}

fn new_overlay(name: &str, place: &Place, chain: &Chain) -> Result<Overlay, DriveError> {
    let (top, size) = (chain.top(), chain.virtual_size());
    let made = Overlay::create(name, place, size, top.path(), top.format());
    made.map_err(|source| DriveError::Overlay {
        place: place.name(),
        source,
    })
}

fn layers(chain: &Chain) -> Vec<Layer> {
    let described = chain.layers().iter().map(|layer| Layer {
        fd: ChildFd(layer.fd().as_raw_fd()),
        format: layer.format(),
        block_device: layer.kind() == FileKind::BlockDevice,
        remote: layer.remote().is_some(),
        label: layer.path().display().to_string(),
    });
    described.collect()
}
