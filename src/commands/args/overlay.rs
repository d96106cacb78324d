//! Where the guest's writes go, and what templates may take.

use std::path::PathBuf;

use clap::ValueHint;

use crate::launch::spec::{OverlaySpec, TemplateSpec};
use crate::text::size::parse_size;

/// Where the guest's writes go until they are gone.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Overlay")]
pub struct OverlayArgs {
    /// Directory of the overlay; default $TMPDIR, else /var/tmp
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    overlay_dir: Option<PathBuf>,
    /// Keep the overlay on disk, or in memory
    #[arg(
        long,
        value_enum,
        value_name = "disk|memory",
        default_value = "disk",
        conflicts_with = "overlay_dir"
    )]
    overlay: OverlayKind,
    /// Limit on what the guest writes to each disk (512M, 10G)
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    max_write: Option<u64>,
    /// Limit on the size of a compressed image or an OVA when it is unpacked (10G); default half of the free
    /// space
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    max_unpack: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum OverlayKind {
    /// An unlinked file in the overlay directory
    Disk,
    /// A memory file
    Memory,
}

impl OverlayArgs {
    pub(crate) fn spec(&self) -> OverlaySpec {
        OverlaySpec {
            in_memory: self.overlay == OverlayKind::Memory,
            directory: self.overlay_dir.clone(),
            max_write: self.max_write,
            max_unpack: self.max_unpack,
        }
    }
}

/// Whether the appliance is restored from its template.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Appliance")]
pub struct TemplateArgs {
    /// Boot the appliance instead of restoring it from its template
    #[arg(long)]
    no_template: bool,
    #[command(flatten)]
    limit: TemplateLimit,
}

/// What all templates may take.
#[derive(Clone, Debug, clap::Args)]
pub struct TemplateLimit {
    /// Limit on the disk space used by templates
    #[arg(long, env = "BIVOUAC_TEMPLATES_MAX", value_name = "SIZE", default_value = "4G",
          value_parser = parse_size)]
    pub templates_max: u64,
}

impl TemplateArgs {
    pub(crate) fn spec(&self) -> TemplateSpec {
        TemplateSpec {
            enabled: !self.no_template,
            max_bytes: self.limit.templates_max,
        }
    }
}
