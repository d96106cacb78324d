//! What both sides say of files besides stat(2): asked at once, and checked.

use super::change::FileState;
use crate::appliance::boot::ROOT;
use crate::protocol::{ByteString, Details, DigestKey, DigestKind};
use crate::session::{Session, SessionError};

/// A file, and what is wanted of its content.
pub(super) type Question = (ByteString, DigestKind);

/// What both sides say of a file.
pub(super) type Answer = [Details; 2];

/// The answers to questions, in their order.
pub(super) async fn ask(
    [before, after]: [&Session; 2],
    key: DigestKey,
    questions: Vec<Question>,
) -> Result<Vec<Answer>, SessionError> {
    if questions.is_empty() {
        return Ok(Vec::new());
    }
    let before = before.details(ROOT, questions.clone(), key);
    let after = after.details(ROOT, questions, key);
    let (before, after) = tokio::try_join!(before, after)?;
    let answers = before.into_iter().zip(after);
    Ok(answers.map(|(before, after)| [before, after]).collect())
}

/// Adds what was said of a file of the same type on both sides. Fails with what is missing.
pub(super) fn add(
    states: [&mut FileState; 2],
    kind: DigestKind,
    answer: Answer,
) -> Result<(), String> {
    if let Some(error) = answer.iter().find_map(|details| details.error.as_ref()) {
        return Err(error.to_string());
    }
    let is_digest_wanted = kind != DigestKind::Nothing && states[0].is_file();
    if is_digest_wanted && answer.iter().any(|details| details.digest.is_none()) {
        return Err("there is no digest of it".to_owned());
    }
    for (state, details) in states.into_iter().zip(answer) {
        match kind {
            DigestKind::Nothing => {}
            DigestKind::Keyed => state.keyed = details.digest,
            DigestKind::Sha256 => state.sha256 = details.digest,
        }
        state.xattrs = details.attributes;
    }
    Ok(())
}
