//! Lines of device-mapper tables (Documentation/admin-guide/device-mapper) for segments of
//! logical volumes.

use super::group::Segment;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TableLine {
    /// In sectors, as is the length.
    pub(crate) start: u64,
    pub(crate) length: u64,
    /// `linear` or `striped`.
    pub(crate) target: &'static str,
    pub(crate) arguments: String,
}

/// The line for `segment`; `device` gives the `MAJOR:MINOR` of a physical volume. Fails with the
/// identifier of a physical volume that is missing.
pub(crate) fn line(
    segment: &Segment,
    device: impl Fn(&str) -> Option<String>,
) -> Result<TableLine, String> {
    let mut places = Vec::new();
    for (id, at) in &segment.stripes {
        let device = device(id).ok_or_else(|| id.clone())?;
        places.push(format!("{device} {at}"));
    }
    let (target, arguments) = match &places[..] {
        [place] => ("linear", place.clone()),
        _ => {
            let stripes = places.join(" ");
            let (count, chunk) = (places.len(), segment.chunk);
            ("striped", format!("{count} {chunk} {stripes}"))
        }
    };
    Ok(TableLine {
        start: segment.start,
        length: segment.length,
        target,
        arguments,
    })
}
