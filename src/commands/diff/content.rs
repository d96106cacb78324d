//! The content of text files as a unified diff.

use similar::{Algorithm, TextDiff};
use std::time::Duration;

use crate::protocol::PathAt;
use crate::session::{Session, SessionError};

/// The largest file, in bytes, whose content is shown.
const MAX_FILE: u64 = 1 << 20;

/// How long is spent on finding a small difference; a larger one is shown after that.
const LIMIT: Duration = Duration::from_secs(1);

/// A file on one side. `None` in its place is one that does not exist.
pub(super) struct File<'a> {
    pub session: &'a Session,
    pub at: PathAt,
    pub size: u64,
}

/// The difference of two files, with the heads of diff(1) -u: `a` and `b` before `path`. `None` if one
/// of them is large, or is not text.
pub(super) async fn unified(
    path: &str,
    before: Option<File<'_>>,
    after: Option<File<'_>>,
) -> Result<Option<String>, SessionError> {
    let (before, after) = tokio::try_join!(text(before), text(after))?;
    let (Some(before), Some(after)) = (before, after) else {
        return Ok(None);
    };
    let head = |side, content: &Option<String>| match content {
        Some(_) => format!("{side}{path}"),
        None => "/dev/null".to_owned(),
    };
    let (old, new) = (head("a", &before), head("b", &after));
    let (before, after) = (before.unwrap_or_default(), after.unwrap_or_default());
    let diff = TextDiff::configure()
        .algorithm(Algorithm::Myers)
        .timeout(LIMIT)
        .diff_lines(&before, &after);
    Ok(Some(diff.unified_diff().header(&old, &new).to_string()))
}

/// The text of a file: `Some(None)` if there is none, `None` if it is large or not text.
async fn text(file: Option<File<'_>>) -> Result<Option<Option<String>>, SessionError> {
    let Some(File { session, at, size }) = file else {
        return Ok(Some(None));
    };
    if size > MAX_FILE {
        return Ok(None);
    }
    let bytes = session.read_from(at, 0, MAX_FILE).await?;
    let text = String::from_utf8(bytes).ok();
    Ok(text.filter(|text| !text.contains('\0')).map(Some))
}
