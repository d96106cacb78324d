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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{ErrorStage, FileKind, RemoteError};

    fn of(kind: FileKind) -> FileState {
        FileState {
            kind: Some(kind),
            ..FileState::default()
        }
    }

    fn said(digest: Option<&str>) -> Details {
        Details {
            digest: digest.map(str::to_owned),
            ..Details::default()
        }
    }

    #[test]
    fn a_file_whose_digest_one_side_does_not_say_was_not_compared() {
        let added = |kind, wanted, answer| {
            let (mut before, mut after) = (of(kind), of(kind));
            let added = add([&mut before, &mut after], wanted, answer);
            (added.is_ok(), before, after)
        };
        let one = || [said(Some("1")), said(None)];
        for wanted in [DigestKind::Keyed, DigestKind::Sha256] {
            for answer in [one(), [said(None), said(None)]] {
                assert!(!added(FileKind::File, wanted, answer).0);
            }
        }
        assert!(
            added(
                FileKind::File,
                DigestKind::Nothing,
                [said(None), said(None)]
            )
            .0
        );
        assert!(
            added(
                FileKind::Link,
                DigestKind::Nothing,
                [said(None), said(None)]
            )
            .0
        );
        let both = || [said(Some("1")), said(Some("2"))];
        let (_, before, after) = added(FileKind::File, DigestKind::Keyed, both());
        let digests = (before.keyed.as_deref(), after.keyed.as_deref());
        assert_eq!(digests, (Some("1"), Some("2")));
        assert_eq!((before.sha256, after.sha256), (None, None));
        let (_, before, after) = added(FileKind::File, DigestKind::Sha256, both());
        assert_ne!(before.sha256, after.sha256);
        let mut failed = both();
        failed[1].error = Some(RemoteError::new(ErrorStage::File, "unreadable"));
        assert!(!added(FileKind::File, DigestKind::Keyed, failed).0);
    }
}
