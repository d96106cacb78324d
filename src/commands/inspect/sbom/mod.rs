//! Software bills of materials: the packages of an image in a form that other programs read.
//!
//! [`purl`] names a package, [`cyclonedx`] and [`spdx`] are the two formats.

mod cyclonedx;
mod purl;
mod spdx;

use std::time::{SystemTime, UNIX_EPOCH};

use clap::ValueEnum;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::report::{ImageInfo, System};
use crate::inspect::packages::{Package, Packages};
use crate::text::time::as_rfc3339;

/// The formats of a bill of materials.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SbomFormat {
    /// CycloneDX 1.5, JSON
    Cyclonedx,
    /// SPDX 2.3, JSON
    Spdx,
}

/// What a document is named by, besides its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// When it was made: RFC 3339, in seconds, UTC.
    pub created: String,
    /// The version of this program.
    pub version: &'static str,
}

impl Origin {
    pub fn now() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let seconds = now.map_or(0, |now| now.as_secs() as i64);
        Self {
            created: as_rfc3339((seconds, 0)),
            version: env!("CARGO_PKG_VERSION"),
        }
    }
}

/// The bill of materials of an image whose packages were listed.
pub fn sbom(report: &ImageInfo, format: SbomFormat, origin: &Origin) -> Value {
    match format {
        SbomFormat::Cyclonedx => cyclonedx::document(report, origin),
        SbomFormat::Spdx => spdx::document(report, origin),
    }
}

/// The image's name, without its directory.
fn image_name(report: &ImageInfo) -> String {
    let name = report.image.0.rsplit(|byte| *byte == b'/').next();
    String::from_utf8_lossy(name.unwrap_or_default()).into_owned()
}

/// The packages of a system, with their number.
fn packages(system: &System) -> impl Iterator<Item = (usize, &Packages, &Package)> {
    let packages = system.facts.packages.iter();
    packages.flat_map(|packages| {
        let list = packages.list.iter().flatten().enumerate();
        list.map(move |(number, package)| (number, packages, package))
    })
}

/// Whether something could be missing.
fn is_incomplete(report: &ImageInfo) -> bool {
    let mut warnings = report.warnings.iter();
    warnings.any(|warning| warning.code.is_incomplete())
}

/// A UUID of version 8 (RFC 9562, 5.8) made of a digest: the same document has the same one.
fn uuid(report: &ImageInfo, origin: &Origin) -> String {
    let mut hash = Sha256::new();
    let content = serde_json::to_vec(report).unwrap_or_default();
    for part in [&content, origin.created.as_bytes()] {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash.finalize()[..16]);
    bytes[6] = bytes[6] & 0x0f | 0x80;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    [
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..],
    ]
    .join("-")
}
