//! Where the names that images record may lead, as typed and as the environment has it.

use std::env;

use crate::image::Trust;
use crate::launch::spec::DiskSpec;

/// Where the names that images record may lead.
#[derive(Clone, Debug, clap::Args)]
pub struct TrustArgs {
    /// Follow the backing names in images to any file, not only to those in or below the directory
    /// of the layer that records them, or of $BIVOUAC_IMAGE_PATH
    #[arg(long)]
    trust_chain: bool,
}

impl TrustArgs {
    pub(crate) fn trust(&self) -> Trust {
        let defaults = Trust::default();
        Trust {
            anywhere: self.trust_chain,
            image_path: match env::var_os("BIVOUAC_IMAGE_PATH") {
                Some(path) => env::split_paths(&path).collect(),
                None => defaults.image_path,
            },
        }
    }

    /// `disks`, each opened with this trust.
    pub(crate) fn disks(&self, disks: &[DiskSpec]) -> Vec<DiskSpec> {
        let trust = self.trust();
        let trusting = |disk: &DiskSpec| DiskSpec {
            trust: trust.clone(),
            ..disk.clone()
        };
        disks.iter().map(trusting).collect()
    }
}
