//! `bivouac chain`: the backing chain of an image, with every problem and its mend.
//!
//! It reads headers and nothing else: no process is started, no file is written.

use super::Failure;
use crate::exit::Status;
use crate::image::chain::{self, Examined, Request, Stated};
use crate::image::layer::{Layer, Warning};
use crate::image::opened::Kind;
use crate::image::{ChainError, Evidence, Format, backing_name};
use crate::linux::file_id::FileId;
use crate::text::escape::{Plain, Quoted, as_path};
use crate::text::one_line;
use crate::text::size::Size;
use clap::builder::{OsStringValueParser, TypedValueParser};
use std::fmt;
use std::path::PathBuf;

/// The backing chain of a disk image, its problems and what mends each
///
/// Reads headers and nothing else. Exits with 0 only where `bivouac run` would accept the
/// image, else with 125.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The disk image
    pub image: PathBuf,
    /// The image's format; without it the content is believed, if the file's name agrees
    #[arg(long, value_enum, ignore_case = true)]
    pub format: Option<Format>,
    /// A layer below the image, from the top down (repeatable); `none` ends the chain
    #[arg(long, value_name = "FORMAT:PATH|none", value_parser = stated())]
    pub backing: Vec<Stated>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// The clap parser of one `--backing` value.
pub fn stated() -> impl TypedValueParser<Value = Stated> {
    OsStringValueParser::new().try_map(|value| Stated::parse(&value))
}

/// What was found.
#[derive(Debug, serde::Serialize)]
pub struct Report {
    /// The image as it was named.
    pub image: String,
    /// Whether `run` would accept the chain.
    pub accepted: bool,
    /// Size in bytes of the disk that a guest would see.
    pub virtual_size: Option<u64>,
    /// The layers that could be read, the top first.
    pub layers: Vec<LayerReport>,
    /// What keeps the chain from being run on.
    pub problems: Vec<Problem>,
}

/// One layer, as it is shown.
#[derive(Debug, serde::Serialize)]
pub struct LayerReport {
    /// Absolute path.
    pub path: PathText,
    /// The format that is believed.
    pub format: Format,
    /// Why it is believed.
    pub evidence: Evidence,
    /// Regular file or block device.
    pub kind: Kind,
    /// Size of the disk in bytes.
    pub virtual_size: u64,
    /// Bytes on the host's disk.
    pub actual_size: u64,
    /// What the header records below.
    pub backing: Option<BackingReport>,
    /// Whether another process writes it.
    pub in_use: bool,
    /// What is worth saying of it.
    pub warnings: Vec<String>,
    /// Which file it is, and which state of it.
    pub identity: FileId,
}

/// A recorded backing file.
#[derive(Debug, serde::Serialize)]
pub struct BackingReport {
    /// The name as recorded.
    pub name: PathText,
    /// The format as recorded.
    pub format: Option<String>,
    /// The path that the name stands for, if it is a file's.
    pub resolved: Option<PathText>,
}

/// What is wrong, and what mends it.
#[derive(Debug, serde::Serialize)]
pub struct Problem {
    /// The layer that it is about.
    pub layer: Option<PathText>,
    /// One line.
    pub error: String,
    /// A command or flag.
    pub mend: Option<String>,
}

/// A path in a report. JSON has no bytes: what is not UTF-8 is replaced there.
#[derive(Debug)]
pub struct PathText(PathBuf);

impl serde::Serialize for PathText {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0.to_string_lossy())
    }
}

/// Examines the chain. An image that cannot be read at all is a failure, unless the answer
/// is to be JSON, which then has no layers and one problem.
pub fn run(args: &Args) -> Result<Report, Failure> {
    let request = Request {
        image: args.image.clone(),
        format: args.format,
        backing: args.backing.clone(),
    };
    let Examined {
        layers,
        mut problems,
    } = chain::examine(&request);
    if layers.is_empty() && !args.json && !problems.is_empty() {
        return Err(problems.swap_remove(0).into());
    }
    Ok(Report {
        image: args.image.to_string_lossy().into_owned(),
        accepted: problems.is_empty(),
        virtual_size: layers
            .first()
            .map(|top| top.virtual_size().next_multiple_of(512)),
        layers: layers.iter().map(LayerReport::of).collect(),
        problems: problems.iter().map(Problem::of).collect(),
    })
}

impl Report {
    /// 0 only where `run` would accept the chain.
    pub fn status(&self) -> Status {
        if self.accepted {
            Status::Success
        } else {
            Status::Failed
        }
    }
}

impl LayerReport {
    fn of(layer: &Layer) -> Self {
        let backing = layer.recorded_backing().map(|backing| BackingReport {
            resolved: backing_name::resolve(layer.path(), &backing.name)
                .ok()
                .map(PathText),
            name: PathText(as_path(&backing.name).to_owned()),
            format: backing
                .format
                .as_ref()
                .map(|name| String::from_utf8_lossy(name).into_owned()),
        });
        let warnings = layer.warnings();
        Self {
            path: PathText(layer.path().to_owned()),
            format: layer.format(),
            evidence: layer.evidence(),
            kind: layer.kind(),
            virtual_size: layer.virtual_size(),
            actual_size: layer.actual_size(),
            backing,
            in_use: warnings.contains(&Warning::InUse),
            warnings: warnings.iter().map(ToString::to_string).collect(),
            identity: layer.identity(),
        }
    }
}

impl Problem {
    fn of(error: &ChainError) -> Self {
        Self {
            layer: error.layer().map(|path| PathText(path.to_owned())),
            error: one_line(error),
            mend: error.mend(),
        }
    }
}

/// The tree: each layer one step to the right of the one above.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (depth, layer) in self.layers.iter().enumerate() {
            match depth {
                0 => writeln!(f, "{}", Plain(&layer.path.0))?,
                _ => writeln!(f, "{:1$}└─ {2}", "", (depth - 1) * 3, Plain(&layer.path.0))?,
            }
            layer.details(f, depth * 3, depth + 1 < self.layers.len())?;
        }
        for problem in &self.problems {
            writeln!(f, "problem: {}", problem.error)?;
            if let Some(mend) = &problem.mend {
                writeln!(f, "   mend: {mend}")?;
            }
        }
        match (self.layers.len(), self.accepted) {
            (1, true) => f.write_str("ok: 1 layer"),
            (layers, true) => write!(f, "ok: {layers} layers"),
            (_, false) => f.write_str("not accepted: bivouac would not run this image"),
        }
    }
}

impl LayerReport {
    /// The lines below the path; a bar leads on to the next layer if there is one.
    fn details(&self, f: &mut fmt::Formatter<'_>, indent: usize, leads_on: bool) -> fmt::Result {
        let lead = format!("{:indent$}{}  ", "", if leads_on { '│' } else { ' ' });
        write!(
            f,
            "{lead}{} ({}), {}",
            self.format,
            self.evidence,
            Size(self.virtual_size)
        )?;
        match self.kind {
            Kind::BlockDevice => f.write_str(", block device")?,
            _ => write!(f, ", {} on disk", Size(self.actual_size))?,
        }
        writeln!(f, ", {}", if self.in_use { "in use" } else { "not in use" })?;
        if let Some(backing) = &self.backing {
            write!(f, "{lead}records {} ", Quoted(&backing.name.0))?;
            match &backing.format {
                Some(format) => write!(f, "as {}", format.escape_debug())?,
                None => f.write_str("without a format")?,
            }
            match &backing.resolved {
                Some(resolved) if resolved.0 != backing.name.0 => {
                    writeln!(f, ", that is {}", Quoted(&resolved.0))?;
                }
                _ => writeln!(f)?,
            }
        }
        for warning in &self.warnings {
            writeln!(f, "{lead}warning: {warning}")?;
        }
        Ok(())
    }
}
