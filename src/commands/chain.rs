//! `bivouac chain`: the backing chain of an image, with every problem and a suggested fix.
//!
//! It reads only headers: no process is started, no file is written.

use super::args::trust::ChainTrustArgs;
use crate::exit::Status;
use crate::image::chain::{self, Examined, Explicit, Request};
use crate::image::file_kind::FileKind;
use crate::image::layer::{Layer, Warning};
use crate::image::remote_url::scheme_length;
use crate::image::{ChainError, Evidence, Format, Right, backing_name};
use crate::launch::Failure;
use crate::linux::file_id::FileId;
use crate::text::escape::{Plain, Quoted, as_path};
use crate::text::one_line;
use crate::text::size::Size;
use anyhow::anyhow;
use std::fmt;
use std::path::PathBuf;

/// Show the backing chain of a disk image and its problems
///
/// Reads only headers. Exits with 0 only if `bivouac run` would accept the image, else with 125.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The disk image
    pub image: PathBuf,
    /// Format of the image; by default that of its content, if the file's name does not contradict it
    #[arg(long, value_enum, ignore_case = true)]
    pub format: Option<Format>,
    /// A layer below the image, from the top down (repeatable); `none` ends the chain
    #[arg(long, value_name = "FORMAT:PATH|none", value_parser = super::args::explicit())]
    pub backing: Vec<Explicit>,
    #[command(flatten)]
    pub trust: ChainTrustArgs,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, serde::Serialize)]
pub struct ChainInfo {
    /// The image as the user named it.
    image: String,
    /// Whether `run` would accept the chain.
    accepted: bool,
    /// Size in bytes of the disk that a guest would see.
    virtual_size: Option<u64>,
    /// The layers that could be read, the top first.
    layers: Vec<LayerInfo>,
    problems: Vec<Problem>,
}

#[derive(Debug, serde::Serialize)]
struct LayerInfo {
    path: PathText,
    format: Format,
    evidence: Evidence,
    /// By which right the file was opened.
    by: Right,
    kind: FileKind,
    virtual_size: u64,
    /// Bytes on the host's disk.
    actual_size: u64,
    backing: Option<BackingInfo>,
    in_use: bool,
    warnings: Vec<String>,
    identity: FileId,
}

/// A backing file as recorded in a header.
#[derive(Debug, serde::Serialize)]
struct BackingInfo {
    name: PathText,
    format: Option<String>,
    /// The path that the name stands for, if it is the name of a file.
    resolved: Option<PathText>,
}

#[derive(Debug, serde::Serialize)]
struct Problem {
    layer: Option<PathText>,
    error: String,
    hint: Option<String>,
}

/// A path. JSON has no bytes: what is not UTF-8 is replaced there.
#[derive(Debug)]
struct PathText(PathBuf);

impl serde::Serialize for PathText {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0.to_string_lossy())
    }
}

/// Examines the chain. An image that cannot be read at all is a failure; with `--json`, it is an
/// answer without layers and with one problem.
pub fn run(args: &Args) -> Result<ChainInfo, Failure> {
    if scheme_length(args.image.as_os_str().as_encoded_bytes()).is_some() {
        return Err(Failure::with_hint(
            anyhow!(
                "the layers of a server's image are not listed: it has to be complete in itself"
            ),
            "bivouac inspect --remote, for what is in it",
        ));
    }
    let request = Request {
        format: args.format,
        backing: args.backing.clone(),
        trust: args.trust.trust(),
        ..Request::of(&args.image)
    };
    let Examined {
        layers,
        mut problems,
    } = chain::examine(&request);
    for remark in layers.iter().filter_map(Layer::remark) {
        tracing::debug!("{remark}");
    }
    if layers.is_empty() && !args.json && !problems.is_empty() {
        return Err(problems.swap_remove(0).into());
    }
    Ok(ChainInfo {
        image: args.image.to_string_lossy().into_owned(),
        accepted: problems.is_empty(),
        virtual_size: layers
            .first()
            .map(|top| top.virtual_size().next_multiple_of(512)),
        layers: layers.iter().map(LayerInfo::of).collect(),
        problems: problems.iter().map(Problem::of).collect(),
    })
}

impl ChainInfo {
    /// 0 only where `run` would accept the chain.
    pub fn status(&self) -> Status {
        match self.accepted {
            true => Status::Success,
            false => Status::Failed,
        }
    }
}

impl LayerInfo {
    fn of(layer: &Layer) -> Self {
        let text = |bytes: &Vec<u8>| String::from_utf8_lossy(bytes).into_owned();
        let resolve = |name: &[u8]| backing_name::resolve(layer.path(), name).ok();
        let backing = layer.recorded_backing().map(|backing| BackingInfo {
            resolved: resolve(&backing.name).map(PathText),
            name: PathText(as_path(&backing.name).to_owned()),
            format: backing.format.as_ref().map(text),
        });
        let warnings = layer.warnings();
        Self {
            path: PathText(layer.path().to_owned()),
            format: layer.format(),
            evidence: layer.evidence(),
            by: layer.right(),
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
            hint: error.hint(),
        }
    }
}

/// The tree: each layer one step to the right of the one above.
impl fmt::Display for ChainInfo {
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
            if let Some(hint) = &problem.hint {
                writeln!(f, "   hint: {hint}")?;
            }
        }
        match (self.layers.len(), self.accepted) {
            (1, true) => f.write_str("ok: 1 layer"),
            (layers, true) => write!(f, "ok: {layers} layers"),
            (_, false) => f.write_str("not accepted: bivouac would not run this image"),
        }
    }
}

impl LayerInfo {
    /// The lines below the path; a bar leads to the next layer if there is one.
    fn details(&self, f: &mut fmt::Formatter<'_>, indent: usize, leads_on: bool) -> fmt::Result {
        let lead = format!("{:indent$}{}  ", "", if leads_on { '│' } else { ' ' });
        let size = Size(self.virtual_size);
        write!(f, "{lead}{} ({}), {size}", self.format, self.evidence)?;
        match self.kind {
            FileKind::BlockDevice => f.write_str(", block device")?,
            _ => write!(f, ", {} on disk", Size(self.actual_size))?,
        }
        writeln!(f, ", {}", if self.in_use { "in use" } else { "not in use" })?;
        if self.by != Right::Given {
            writeln!(f, "{lead}{}", self.by)?;
        }
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
