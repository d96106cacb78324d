//! A backing chain, from the top image down to its base: resolved, opened and checked.
//!
//! Each file is opened once. A name from a header is followed only if it is the name of a plain
//! file and its format is recorded; the format of a lower layer is never guessed.

use super::backing_name;
use super::error::ChainError;
use super::file_kind::FileKind;
use super::format::{Evidence, Format};
use super::hints::Likely;
use super::image_file::ImageFile;
use super::layer::{Layer, Warning, names_no_file};
use super::likely;
use super::origin::{BackingRef, Origin};
use super::trust::{Access, Right};
use std::path::Path;
use std::sync::Arc;

pub(crate) use super::explicit::Explicit;
pub use super::explicit::{GivenAs, Request};

/// The most layers that a chain may have.
pub const MAX_LAYERS: usize = 64;

/// The most bytes of L1 tables that a chain may have: QEMU holds them all in memory.
const MAX_L1_BYTES: u64 = 128 << 20;

/// A chain that a machine may run on. Clones share its open files.
#[derive(Clone, Debug)]
pub struct Chain {
    layers: Vec<Arc<Layer>>,
    /// How many of them, from the top, are overlays that bivouac created.
    overlays: usize,
}

impl Chain {
    /// The layers, the top first; never empty.
    pub fn layers(&self) -> &[Arc<Layer>] {
        &self.layers
    }

    pub fn top(&self) -> &Layer {
        &self.layers[0]
    }

    /// How many layers, from the top, were added by [`Chain::put_on_top`].
    pub fn overlays(&self) -> usize {
        self.overlays
    }

    /// The top layer of the image itself.
    pub fn image(&self) -> &Layer {
        &self.layers[self.overlays]
    }

    /// Adds an overlay that bivouac created over this chain. Fails if it is not a qcow2 image.
    pub fn put_on_top(&mut self, path: &Path) -> Result<(), ChainError> {
        let origin = Origin::given(path);
        let file = ImageFile::open(&origin)?;
        let head = file
            .head()
            .map_err(|source| ChainError::reading(&origin, source))?;
        let format = (Format::Qcow2, Evidence::Flag);
        let layer = Layer::read(file, &head, format, &origin)?;
        self.layers.insert(0, layer.into());
        self.overlays += 1;
        Ok(())
    }

    /// The size in bytes of the disk that a guest sees: the top's, rounded up to 512.
    pub fn virtual_size(&self) -> u64 {
        self.top().virtual_size().next_multiple_of(512)
    }
}

/// What was found of a chain, accepted or not.
#[derive(Debug, Default)]
pub struct Examined {
    /// The layers that could be opened and read, the top first.
    pub layers: Vec<Layer>,
    /// Everything for which the chain is refused, from the top down.
    pub problems: Vec<ChainError>,
}

/// Resolves a chain, or returns the first problem.
pub fn resolve(request: &Request) -> Result<Chain, ChainError> {
    let Examined { layers, problems } = walk(request, false);
    match problems.into_iter().next() {
        Some(problem) => Err(problem),
        None => Ok(Chain {
            layers: layers.into_iter().map(Arc::new).collect(),
            overlays: 0,
        }),
    }
}

/// Resolves a chain as far as possible and collects every problem.
///
/// Below a layer that records no backing format it goes on by the content, with
/// [`Evidence::Guess`], only to find what else is wrong.
pub fn examine(request: &Request) -> Examined {
    walk(request, true)
}

/// The next layer to open, and its format if that is declared.
struct Next {
    origin: Origin,
    declared: Option<(Format, Evidence)>,
}

fn walk(request: &Request, go_on: bool) -> Examined {
    let mut found = Examined::default();
    let (above, _) = request
        .backing
        .split_at(request.backing.len().saturating_sub(1));
    if above.contains(&Explicit::End) {
        found.problems.push(ChainError::explicit_below_none());
        return found;
    }
    let mut explicit = request.backing.iter();
    let mut next = Some(Next {
        origin: Origin::requested(request),
        declared: request.format.map(|format| (format, Evidence::Flag)),
    });
    while let Some(wanted) = next.take() {
        match step(request, wanted, explicit.next(), &mut found, go_on) {
            Ok(below) => next = below,
            Err(problem) => found.problems.push(problem),
        }
    }
    found
}

/// Opens one layer, adds it to `found`, and returns what is below it.
fn step(
    request: &Request,
    Next { origin, declared }: Next,
    explicit: Option<&Explicit>,
    found: &mut Examined,
    go_on: bool,
) -> Result<Option<Next>, ChainError> {
    if found.layers.len() >= MAX_LAYERS {
        return Err(ChainError::too_deep(&origin, MAX_LAYERS));
    }
    let file = ImageFile::open(&origin)?;
    let same = |layer: &&Layer| layer.identity().same_file(&file.identity);
    if let Some(first) = found.layers.iter().find(same) {
        return Err(ChainError::in_a_loop(&origin, first.path()));
    }
    let head = file
        .head()
        .map_err(|source| ChainError::reading(&origin, source))?;
    let format = match declared {
        Some(declared) => declared,
        None if found.layers.is_empty() => (top_format(&file, &head, &origin)?, Evidence::Content),
        None => (file.content(&head).unwrap_or(Format::Raw), Evidence::Guess),
    };
    if !origin.has_format_option()
        && let Some(packed) = file.packed(&head)
    {
        return Err(ChainError::packed(&origin, packed));
    }
    if file.remote().is_some() && !matches!(format.0, Format::Raw | Format::Qcow2) {
        return Err(ChainError::remote_format(&origin, format.0));
    }
    let mut layer = Layer::read(file, &head, format, &origin)?;

    let tables = found.layers.iter().chain([&layer]).map(Layer::l1_bytes);
    if tables.sum::<u64>() > MAX_L1_BYTES {
        return Err(ChainError::tables_too_large(&origin, MAX_L1_BYTES));
    }

    let below = match explicit {
        Some(explicit) => explicit_below(&mut layer, explicit),
        None => recorded_below(request, &layer, found, go_on),
    };
    found.layers.push(layer);
    below
}

/// The format of the top image by its content, if its name does not contradict it.
///
/// Many qcow2 images have another name: cloud images are `*.img`. A guest can write such a header
/// to its raw disk, but without the name of another file in it that gains nothing. Only `.raw` says
/// without doubt that this is what happened.
fn top_format(file: &ImageFile, head: &[u8], origin: &Origin) -> Result<Format, ChainError> {
    let content = file.content(head);
    if let Some(content) = content {
        if file.is_iso() {
            return Err(ChainError::iso_with_header(origin, content));
        }
        if file.kind == FileKind::BlockDevice {
            return Err(ChainError::header_on_device(origin, content));
        }
    } else if let Some(packed) = file.packed(head) {
        return Err(ChainError::packed(origin, packed));
    }
    let format = content.unwrap_or(Format::Raw);
    match Format::promised_by_name(file.name()) {
        Some(promised) if promised != format => {
            let is_raw = file
                .name()
                .extension()
                .is_some_and(|e| e.eq_ignore_ascii_case("raw"));
            let names_a_file = format == Format::Qcow2 && !names_no_file(file, head);
            match format == Format::Qcow2 && !is_raw && !names_a_file {
                true => Ok(format),
                false => Err(ChainError::name_disagrees(
                    origin,
                    promised,
                    content,
                    names_a_file,
                )),
            }
        }
        _ => Ok(format),
    }
}

/// The layer that `--backing` puts below `layer`.
fn explicit_below(layer: &mut Layer, explicit: &Explicit) -> Result<Option<Next>, ChainError> {
    let recorded = layer.recorded_backing().map(|backing| backing.name.clone());
    match (explicit, recorded) {
        (Explicit::End, None) => Ok(None),
        (Explicit::End, Some(name)) => {
            layer.warn(Warning::BackingLeftOut(name));
            Ok(None)
        }
        (Explicit::Layer { path, .. }, _) if layer.format() != Format::Qcow2 => Err(
            ChainError::explicit_below_base(layer.path(), layer.format(), path),
        ),
        (Explicit::Layer { format, path }, recorded) => {
            if recorded.is_none() {
                layer.warn(Warning::BackingAdded);
            }
            Ok(Some(Next {
                origin: Origin::stated(path),
                declared: Some((*format, Evidence::Stated)),
            }))
        }
    }
}

/// The layer that the header of `layer` records below it; `found` are the layers above. Where no
/// format is recorded, that is a problem, after which the walk may `go_on`.
fn recorded_below(
    request: &Request,
    layer: &Layer,
    found: &mut Examined,
    go_on: bool,
) -> Result<Option<Next>, ChainError> {
    let Some(backing) = layer.recorded_backing() else {
        return Ok(None);
    };
    let (above, name) = (layer.path(), &backing.name);
    if layer.copy().is_some() || layer.remote().is_some() {
        return Err(ChainError::lies_on_another(layer, name));
    }
    let recorded = backing.format.as_deref().map(String::from_utf8_lossy);
    let known = recorded.as_deref().and_then(Format::of_driver);
    let path = backing_name::resolve(above, name)
        .map_err(|source| ChainError::backing_name(above, name, known, source))?;
    let mut named_by = BackingRef {
        layer: above.to_owned(),
        name: name.clone(),
        format: known,
    };
    let devices = layer.kind() == FileKind::BlockDevice && layer.evidence() != Evidence::Guess;
    let right = match request.trust.right(above, devices, &path) {
        Ok(Some(right)) => right,
        Ok(None) => {
            let stated = found.layers.iter().chain([layer]).skip(1);
            // A format that was guessed is not to be stated.
            let stated = stated.map(|layer| match layer.evidence() {
                Evidence::Guess => None,
                _ => Some((layer.format(), layer.path())),
            });
            let stated = stated.collect::<Option<Vec<_>>>();
            let given_as = request.given_as;
            return Err(ChainError::not_followed(&named_by, &path, given_as, stated));
        }
        Err(source) => {
            let nowhere = (Right::Directory, Access::Path);
            let origin = Origin::named(path, named_by, nowhere, request.given_as);
            return Err(ChainError::opening(&origin, source));
        }
    };
    let likely = match known {
        Some(format) => Likely::Record(Some(format)),
        None => likely::guess(&path, recorded.as_deref()),
    };
    match (recorded, known) {
        (Some(recorded), None) => {
            return Err(ChainError::format_unknown(above, name, &recorded, &likely));
        }
        (None, _) => {
            let problem = ChainError::format_missing(above, name, &likely);
            if !go_on {
                return Err(problem);
            }
            found.problems.push(problem);
        }
        (Some(_), Some(_)) => {}
    }
    named_by.format = likely.format();
    Ok(Some(Next {
        origin: Origin::named(path, named_by, right, request.given_as),
        declared: known.map(|format| (format, Evidence::Recorded)),
    }))
}
