//! The files behind a machine's block devices: the layers of the images, read-only, and an overlay
//! for each disk that the guest may write to.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::PathBuf;

use super::overlay::{Overlay, Place};
use super::plan::{ChildFd, Disk, Layer};
use crate::image::ChainError;
use crate::image::chain::Chain;
use crate::image::file_kind::FileKind;

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

#[derive(Debug)]
pub struct Drives {
    pub place: Place,
    chains: Vec<Chain>,
    overlays: Vec<Overlay>,
    sizes: Vec<u64>,
    /// For each disk, the index of its chain.
    of_disks: Vec<usize>,
}

impl Drives {
    pub fn new(place: Place) -> Self {
        Self {
            place,
            chains: Vec::new(),
            overlays: Vec::new(),
            sizes: Vec::new(),
            of_disks: Vec::new(),
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
    pub fn push_layer(
        &mut self,
        saved: &[PathBuf],
    ) -> Result<Vec<(ChildFd, Vec<Layer>)>, DriveError> {
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

    /// Adds the top layer of `chain` for a read-only device.
    pub fn read_only(&mut self, chain: Chain) -> Layer {
        let layer = layers(&chain).remove(0);
        self.chains.push(chain);
        layer
    }

    pub fn chains(&self) -> &[Chain] {
        &self.chains
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
        layers
            .chain(self.overlays.iter().map(AsFd::as_fd))
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
        label: layer.path().display().to_string(),
    });
    described.collect()
}
