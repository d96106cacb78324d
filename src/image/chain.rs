//! A backing chain, from the top image down to its base: resolved, opened and checked.
//!
//! Each file is opened once. A name out of a header is followed only where it is a plain
//! file's and its format is recorded; nothing is guessed from the content of a lower layer.

use super::backing_name;
use super::error::ChainError;
use super::format::{Evidence, Format, unpacking_command};
use super::layer::{Layer, Warning};
use super::opened::{Kind, Opened};
use super::place::{NamedBy, Place};
use std::path::{Path, PathBuf};

pub use super::request::{Request, Stated, StatedError};

/// The most layers that a chain may have.
pub const MAX_LAYERS: usize = 64;

/// A chain that is fit to be run on.
#[derive(Debug)]
pub struct Chain {
    layers: Vec<Layer>,
}

impl Chain {
    /// The layers, the top first; never empty.
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// The top layer.
    pub fn top(&self) -> &Layer {
        &self.layers[0]
    }

    /// Puts one more layer on top: the overlay at `path` over this chain, which we made.
    ///
    /// # Errors
    /// It is no qcow2 image.
    pub fn put_on_top(&mut self, path: &Path) -> Result<(), ChainError> {
        let place = Place {
            path: absolute(path),
            named_by: None,
        };
        let opened = Opened::open(&place)?;
        let head = opened.head().map_err(|source| ChainError::Read {
            place: place.clone(),
            source,
        })?;
        let layer = Layer::read(opened, &head, Format::Qcow2, Evidence::Flag, &place)?;
        self.layers.insert(0, layer);
        Ok(())
    }

    /// The size in bytes of the disk that a guest sees: the top's, rounded up to 512.
    pub fn virtual_size(&self) -> u64 {
        self.top().virtual_size().next_multiple_of(512)
    }
}

/// What was found of a chain, fit or not.
#[derive(Debug, Default)]
pub struct Examined {
    /// The layers that could be opened and read, the top first.
    pub layers: Vec<Layer>,
    /// Everything that keeps the chain from being run on, from the top down.
    pub problems: Vec<ChainError>,
}

/// Resolves a chain, or says what is wrong with it first.
pub fn resolve(request: &Request) -> Result<Chain, ChainError> {
    let Examined { layers, problems } = walk(request, false);
    match problems.into_iter().next() {
        Some(problem) => Err(problem),
        None => Ok(Chain { layers }),
    }
}

/// Resolves a chain as far as it goes and collects every problem on the way.
///
/// Below a layer that records no backing format it goes on by the content, with
/// [`Evidence::Guess`], only to find what else is wrong.
pub fn examine(request: &Request) -> Examined {
    walk(request, true)
}

/// The next layer to open.
struct Next {
    place: Place,
    told: Option<(Format, Evidence)>,
}

fn walk(request: &Request, go_on: bool) -> Examined {
    let mut found = Examined::default();
    let last = request.backing.len().saturating_sub(1);
    if request
        .backing
        .iter()
        .take(last)
        .any(|stated| *stated == Stated::End)
    {
        found.problems.push(ChainError::StatedBelowNone);
        return found;
    }
    let mut stated = request.backing.iter();
    let top = Place {
        path: absolute(&request.image),
        named_by: None,
    };
    let told = request.format.map(|format| (format, Evidence::Flag));
    let mut next = Some(Next { place: top, told });
    while let Some(wanted) = next.take() {
        match step(wanted, stated.next(), &mut found, go_on) {
            Ok(below) => next = below,
            Err(problem) => found.problems.push(problem),
        }
    }
    found
}

/// Opens one layer, adds it to `found`, and says what is below it.
fn step(
    wanted: Next,
    stated: Option<&Stated>,
    found: &mut Examined,
    go_on: bool,
) -> Result<Option<Next>, ChainError> {
    let Next { place, told } = wanted;
    if found.layers.len() >= MAX_LAYERS {
        return Err(ChainError::TooDeep {
            place,
            limit: MAX_LAYERS,
        });
    }
    let opened = Opened::open(&place)?;
    let same = |layer: &&Layer| layer.identity().same_file(&opened.identity());
    if let Some(first) = found.layers.iter().find(same) {
        return Err(ChainError::Loop {
            place,
            first: first.path().to_owned(),
        });
    }
    let head = opened.head().map_err(|source| ChainError::Read {
        place: place.clone(),
        source,
    })?;
    let (format, evidence) = match told {
        Some(told) => told,
        None if found.layers.is_empty() => (top_format(&opened, &head)?, Evidence::Content),
        None => (
            opened.content(&head).unwrap_or(Format::Raw),
            Evidence::Guess,
        ),
    };
    let mut layer = Layer::read(opened, &head, format, evidence, &place)?;

    let below = match stated {
        Some(stated) => stated_below(&mut layer, stated),
        None => recorded_below(&layer, found, go_on),
    };
    found.layers.push(layer);
    below
}

/// The format of the top image, of which only its content tells, if its name agrees.
fn top_format(opened: &Opened, head: &[u8]) -> Result<Format, ChainError> {
    let content = opened.content(head);
    let path = || opened.path().to_owned();
    if let Some(content) = content {
        if opened.is_iso() {
            return Err(ChainError::IsoWithHeader {
                path: path(),
                content,
            });
        }
        if opened.kind() == Kind::BlockDevice {
            return Err(ChainError::HeaderOnDevice {
                path: path(),
                content,
            });
        }
    }
    if let Some(command) = unpacking_command(opened.path(), head) {
        return Err(ChainError::Packed {
            path: path(),
            command,
        });
    }
    match Format::promised_by_name(opened.path()) {
        Some(promised) if promised != content.unwrap_or(Format::Raw) => {
            Err(ChainError::NameDisagrees {
                path: path(),
                promised,
                content,
            })
        }
        _ => Ok(content.unwrap_or(Format::Raw)),
    }
}

/// What `--backing` states below `layer`.
fn stated_below(layer: &mut Layer, stated: &Stated) -> Result<Option<Next>, ChainError> {
    let recorded = layer.recorded_backing().map(|backing| backing.name.clone());
    match stated {
        Stated::End => {
            if let Some(name) = recorded {
                layer.warn(Warning::BackingLeftOut(name));
            }
            Ok(None)
        }
        Stated::Layer { path, .. } if layer.format() != Format::Qcow2 => {
            Err(ChainError::StatedBelowBase {
                layer: layer.path().to_owned(),
                format: layer.format(),
                stated: path.clone(),
            })
        }
        Stated::Layer { format, path } => {
            if recorded.is_none() {
                layer.warn(Warning::BackingAdded);
            }
            let place = Place {
                path: absolute(path),
                named_by: None,
            };
            Ok(Some(Next {
                place,
                told: Some((*format, Evidence::Stated)),
            }))
        }
    }
}

/// What the header of `layer` records below it.
fn recorded_below(
    layer: &Layer,
    found: &mut Examined,
    go_on: bool,
) -> Result<Option<Next>, ChainError> {
    let Some(backing) = layer.recorded_backing() else {
        return Ok(None);
    };
    let (above, name) = (layer.path().to_owned(), backing.name.clone());
    let path = match backing_name::resolve(&above, &name) {
        Ok(path) => path,
        Err(source) => {
            let recorded = backing.format.as_deref().map(String::from_utf8_lossy);
            let format = recorded.and_then(|name| Format::of_driver(&name));
            return Err(ChainError::BackingName {
                layer: above,
                name,
                format,
                source,
            });
        }
    };
    let Some(recorded) = &backing.format else {
        let likely = likely_format(&path);
        let missing = ChainError::FormatMissing {
            layer: above.clone(),
            name: name.clone(),
            likely,
        };
        if !go_on {
            return Err(missing);
        }
        found.problems.push(missing);
        let named_by = Some(NamedBy {
            layer: above,
            name,
            format: likely,
        });
        return Ok(Some(Next {
            place: Place { path, named_by },
            told: None,
        }));
    };
    let recorded = String::from_utf8_lossy(recorded);
    let Some(format) = Format::of_driver(&recorded) else {
        let (recorded, likely) = (recorded.into_owned(), likely_format(&path));
        return Err(ChainError::FormatUnknown {
            layer: above,
            name,
            recorded,
            likely,
        });
    };
    let named_by = Some(NamedBy {
        layer: above,
        name,
        format: Some(format),
    });
    Ok(Some(Next {
        place: Place { path, named_by },
        told: Some((format, Evidence::Recorded)),
    }))
}

/// The format to propose for a file whose format nobody recorded: what its content shows,
/// unless its name promises something else. A proposal only; a person confirms it.
fn likely_format(path: &Path) -> Option<Format> {
    let promised = Format::promised_by_name(path);
    let place = Place {
        path: path.to_owned(),
        named_by: None,
    };
    let Ok(opened) = Opened::open(&place) else {
        return promised;
    };
    let content = opened.content(&opened.head().ok()?).unwrap_or(Format::Raw);
    (promised.is_none_or(|promised| promised == content)).then_some(content)
}

/// The path made absolute without looking at the file system; symbolic links stay.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}
