//! Where the names that images record may lead, as typed and as the environment has it.

use std::env;
use std::time::Duration;

use crate::image::Trust;
use crate::launch::spec::DiskSpec;
use crate::text::time::parse_duration;

/// Where the names that images record may lead.
#[derive(Clone, Debug, clap::Args)]
pub struct ChainTrustArgs {
    /// Follow the backing names in images to any file, not only to those in or below the directory
    /// of the layer that records them, or of $BIVOUAC_IMAGE_PATH
    #[arg(long)]
    trust_chain: bool,
}

/// The same, and whether images may be on other hosts.
#[derive(Clone, Debug, clap::Args)]
pub struct TrustArgs {
    #[command(flatten)]
    chain: ChainTrustArgs,
    /// Let images be URLs: nbd://HOST[:PORT]/EXPORT, nbd+unix:///EXPORT?socket=PATH, http:// or https://
    #[arg(long)]
    remote: bool,
    /// How long the server of such an image may take for an answer (30, 30s, 2m)
    #[arg(long, value_name = "TIME", requires = "remote", default_value = "30s", value_parser = parse_duration)]
    remote_timeout: Duration,
}

impl ChainTrustArgs {
    pub(crate) fn trust(&self) -> Trust {
        let defaults = Trust::default();
        Trust {
            anywhere: self.trust_chain,
            image_path: match env::var_os("BIVOUAC_IMAGE_PATH") {
                Some(path) => env::split_paths(&path).collect(),
                None => defaults.image_path,
            },
            remote: None,
        }
    }
}

impl TrustArgs {
    pub(crate) fn trust(&self) -> Trust {
        Trust {
            remote: self.remote.then_some(self.remote_timeout),
            ..self.chain.trust()
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
