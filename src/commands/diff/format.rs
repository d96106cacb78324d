//! Changes as text for people, a line each, or as JSON, an object a line.

use std::fmt::{self, Display, Formatter};

use super::change::{Change, FileState};
use crate::protocol::{ByteString, FileKind};
use crate::rpc::changes::{Aspect, ChangeKind};
use crate::text::escape::Plain;

/// `M /etc/passwd  content, size 10 -> 20`, and below it the unified diff, if there is one.
impl Display for Change {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mark = match self.change {
            ChangeKind::Added => 'A',
            ChangeKind::Removed => 'D',
            ChangeKind::Modified => 'M',
        };
        write!(f, "{mark} ")?;
        if let Some(filesystem) = &self.filesystem {
            write!(f, "{}:", Plain(filesystem.as_ref()))?;
        }
        write!(f, "{}", Plain(self.path.as_path()))?;
        let (before, after) = (self.before.as_ref(), self.after.as_ref());
        let mut separator = "  ";
        for aspect in &self.what {
            f.write_str(separator)?;
            separator = ", ";
            match (before, after) {
                (Some(before), Some(after)) => difference(f, *aspect, before, after)?,
                _ => f.write_str(name(*aspect))?,
            }
        }
        // What a file of another kind is, cannot be seen from its path.
        let only = after.or(before).and_then(|state| state.kind);
        match (self.change, only) {
            (ChangeKind::Modified, _) | (_, None | Some(FileKind::File)) => {}
            (_, Some(kind)) => write!(f, "  {}", kind_name(kind))?,
        }
        match &self.diff {
            Some(diff) => write!(f, "\n{}", diff.trim_end_matches('\n')),
            None => Ok(()),
        }
    }
}

fn difference(
    f: &mut Formatter<'_>,
    aspect: Aspect,
    before: &FileState,
    after: &FileState,
) -> fmt::Result {
    f.write_str(name(aspect))?;
    let link = |state: &FileState| {
        let target = state.target.clone().unwrap_or_default();
        Plain(target.as_path()).to_string()
    };
    let device = |state: &FileState| {
        let (major, minor) = state.device.unwrap_or_default();
        format!("{major}:{minor}")
    };
    let kind = |state: &FileState| state.kind.map_or("unknown", kind_name);
    match aspect {
        Aspect::Type => write!(f, " {} -> {}", kind(before), kind(after)),
        Aspect::Mode => write!(f, " {:04o} -> {:04o}", before.mode, after.mode),
        Aspect::Owner => {
            let owner = |state: &FileState| format!("{}:{}", state.uid, state.gid);
            write!(f, " {} -> {}", owner(before), owner(after))
        }
        Aspect::Size => write!(f, " {} -> {}", before.size, after.size),
        Aspect::Link => write!(f, " {} -> {}", link(before), link(after)),
        Aspect::Device => write!(f, " {} -> {}", device(before), device(after)),
        Aspect::Xattrs => {
            for key in changed_keys(before, after) {
                write!(f, " {}", Plain(key.as_path()))?;
            }
            Ok(())
        }
        Aspect::Content | Aspect::Times | Aspect::Filesystem => Ok(()),
    }
}

fn changed_keys<'a>(before: &'a FileState, after: &'a FileState) -> Vec<&'a ByteString> {
    let only = |one: &'a FileState, other: &'a FileState| {
        let new = one
            .xattrs
            .iter()
            .filter(|pair| !other.xattrs.contains(pair));
        new.map(|(key, _)| key)
    };
    let mut keys: Vec<_> = only(before, after).chain(only(after, before)).collect();
    keys.sort();
    keys.dedup();
    keys
}

fn name(aspect: Aspect) -> &'static str {
    match aspect {
        Aspect::Type => "type",
        Aspect::Mode => "mode",
        Aspect::Owner => "owner",
        Aspect::Size => "size",
        Aspect::Content => "content",
        Aspect::Link => "link",
        Aspect::Device => "device",
        Aspect::Xattrs => "xattrs",
        Aspect::Times => "times",
        Aspect::Filesystem => "filesystem",
    }
}

fn kind_name(kind: FileKind) -> &'static str {
    match kind {
        FileKind::File => "file",
        FileKind::Directory => "directory",
        FileKind::Link => "link",
        FileKind::Block => "block device",
        FileKind::Character => "character device",
        FileKind::Fifo => "fifo",
        FileKind::Socket => "socket",
        FileKind::Other => "other",
    }
}

/// The lines of a change.
pub(crate) fn lines(change: &Change, json: bool) -> serde_json::Result<String> {
    let mut text = match json {
        true => serde_json::to_string(change)?,
        false => change.to_string(),
    };
    text.push('\n');
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(kind: FileKind) -> FileState {
        FileState {
            kind: Some(kind),
            mode: 0o644,
            ..FileState::default()
        }
    }

    fn change(what: &[Aspect], before: Option<FileState>, after: Option<FileState>) -> Change {
        Change {
            filesystem: None,
            path: "/a b".into(),
            change: match (&before, &after) {
                (None, _) => ChangeKind::Added,
                (_, None) => ChangeKind::Removed,
                _ => ChangeKind::Modified,
            },
            what: what.to_vec(),
            before,
            after,
            diff: None,
        }
    }

    #[test]
    fn a_change_is_a_line() {
        let file = || Some(state(FileKind::File));
        let larger = FileState {
            size: 5,
            uid: 7,
            mode: 0o4755,
            xattrs: vec![("user.x".into(), "1".into())],
            ..state(FileKind::File)
        };
        let what = [
            Aspect::Mode,
            Aspect::Owner,
            Aspect::Size,
            Aspect::Content,
            Aspect::Xattrs,
        ];
        assert_eq!(
            change(&what, file(), Some(larger)).to_string(),
            "M /a b  mode 0644 -> 4755, owner 0:0 -> 7:0, size 0 -> 5, content, xattrs user.x"
        );
        let fifo = || Some(state(FileKind::Fifo));
        assert_eq!(change(&[], None, fifo()).to_string(), "A /a b  fifo");
        assert_eq!(change(&[], file(), None).to_string(), "D /a b");
        let typed = change(&[Aspect::Type], file(), fifo());
        assert_eq!(typed.to_string(), "M /a b  type file -> fifo");
    }

    #[test]
    fn json_has_both_states() {
        let other = FileState {
            mode: 0o600,
            ..state(FileKind::File)
        };
        let change = change(&[Aspect::Mode], Some(state(FileKind::File)), Some(other));
        let state = |mode| {
            serde_json::json!({
                "type": "file", "mode": mode, "uid": 0, "gid": 0, "size": 0,
                "modified": "1970-01-01T00:00:00Z",
            })
        };
        let expected = serde_json::json!({
            "filesystem": null, "path": "/a b", "change": "modified", "what": ["mode"],
            "before": state("0644"), "after": state("0600"),
        });
        let line = lines(&change, true).unwrap();
        assert!(line.ends_with("}\n"));
        let found: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(found, expected);
    }
}
