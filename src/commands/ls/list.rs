//! The listing itself: one directory after the other, each sorted, as GNU ls goes through a
//! tree. A directory is held in memory while it is shown, the names of those that wait, and of a
//! [`Tree`] as much as comes at once.

use super::Form;
use super::held::Room;
use super::long::{self, Style};
use super::names::Names;
use super::records::Record;
use super::tree::Tree;
use crate::commands::Failure;
use crate::commands::image_path::ImagePath;
use crate::commands::inspection::is_torn_read;
use crate::commands::results::Results;
use crate::guest::session::{Session, SessionError};
use crate::guest::wire::{ByteString, Entry, FileKind, PathAt};

/// How many entries are held before it is their turn to be shown.
const AT_ONCE: usize = 20_000;
/// As much of passwd and group as is read.
const ACCOUNTS: u64 = 1 << 20;

/// What is to be shown.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// In which form.
    pub form: Form,
    /// Everything below, too.
    pub recursive: bool,
    /// Names with a dot, too.
    pub all: bool,
    /// Numbers instead of names.
    pub numeric: bool,
    /// Each directory's name before its entries.
    pub headed: bool,
    /// Seconds since 1970.
    pub now: i64,
}

/// Lists places below one root.
pub struct Lister<'a> {
    session: &'a Session,
    root: &'a str,
    wanted: Wanted,
    names: Names,
    results: &'a mut Results,
    /// Another process writes to the image: what it tears is no result.
    in_use: bool,
    is_first: bool,
    /// Everything could be looked at.
    complete: bool,
}

impl<'a> Lister<'a> {
    /// Reads who the image's users are, where that is wanted.
    pub async fn new(
        session: &'a Session,
        root: &'a str,
        wanted: Wanted,
        results: &'a mut Results,
        in_use: bool,
        is_first: bool,
    ) -> Self {
        let mut names = Names::default();
        if wanted.form != Form::Short && !wanted.numeric {
            let read = |path: &'static str| async move {
                // An image without any has numbers only.
                let at = place(root, path.as_bytes());
                session.read_all(at, ACCOUNTS).await.unwrap_or_default()
            };
            names = Names::parse(&read("/etc/passwd").await, &read("/etc/group").await);
        }
        Self {
            session,
            root,
            wanted,
            names,
            results,
            in_use,
            is_first,
            complete: true,
        }
    }

    /// Lists every place; false where something could not be looked at, which was said.
    ///
    /// # Errors
    /// The session ends, the image was torn, or nothing more can be written.
    pub async fn list(mut self, places: &[ImagePath]) -> Result<bool, Failure> {
        let mut directories = Vec::new();
        let mut files = Vec::new();
        for wanted in places {
            let follow = self.wanted.form == Form::Short || wanted.path.ends_with(b"/");
            match self.session.stat(self.at(&wanted.path), follow).await {
                Ok(stat) if stat.kind == FileKind::Directory => directories.push(wanted),
                Ok(stat) => {
                    let link = match stat.kind {
                        FileKind::Link => self.session.read_link(self.at(&wanted.path)).await.ok(),
                        _ => None,
                    };
                    let path = ByteString(wanted.path.clone());
                    let stat = Some(stat);
                    let error = None;
                    let entry = Entry {
                        path,
                        stat,
                        link,
                        error,
                    };
                    files.push((wanted, entry));
                }
                Err(error) => self.error(error)?,
            }
        }
        // As GNU ls: files first.
        let image = places.first().map(|place| place.image.as_os_str().into());
        let image: ByteString = image.unwrap_or_default();
        if !files.is_empty() {
            let entries: Vec<_> = files.into_iter().map(|(_, entry)| entry).collect();
            self.show(&image, b"", &entries).await?;
            self.is_first = false;
        }
        for directory in directories {
            self.directory(&image, &directory.path).await?;
        }
        Ok(self.complete)
    }

    async fn directory(&mut self, image: &ByteString, path: &[u8]) -> Result<(), Failure> {
        let mut tree = Tree::default();
        let mut stack = vec![path.to_vec()];
        let mut waiting = Room::default();
        waiting.take_text(path.len())?;
        while let Some(path) = stack.pop() {
            waiting.give_text(path.len());
            if self.wanted.recursive && !tree.has(&path) {
                tree.grow(self.session, self.at(&path), AT_ONCE).await?;
            }
            let all = self.wanted.all;
            let listed = collect(self.session, self.at(&path), all, tree.take(&path)).await;
            let entries = match listed {
                Ok(entries) => entries,
                Err(error) => {
                    self.error(error)?;
                    continue;
                }
            };
            let entries = self.sorted(entries)?;
            self.header(image, &path, &entries).await?;
            self.show(image, &path, &entries).await?;
            if self.wanted.recursive {
                for entry in entries.iter().rev().filter(|entry| is_below(entry)) {
                    let below = join(&path, &entry.path.0);
                    waiting.take_text(below.len())?;
                    stack.push(below);
                }
            }
        }
        Ok(())
    }

    /// What is shown of a directory, in order.
    fn sorted(&mut self, mut entries: Vec<Entry>) -> Result<Vec<Entry>, Failure> {
        if !self.wanted.all {
            entries.retain(|entry| !entry.path.0.starts_with(b"."));
        }
        for error in entries.iter().filter_map(|entry| entry.error.clone()) {
            self.error(SessionError::Refused(error))?;
        }
        entries.sort_by(|one, other| one.path.cmp(&other.path));
        Ok(entries)
    }

    async fn header(
        &mut self,
        image: &ByteString,
        path: &[u8],
        entries: &[Entry],
    ) -> Result<(), Failure> {
        if !matches!(self.wanted.form, Form::Short | Form::Long) {
            return Ok(());
        }
        let mut text = Vec::new();
        if self.wanted.headed || self.wanted.recursive {
            if !self.is_first {
                text.push(b'\n');
            }
            let place = [&image.0, b":" as &[u8], path].concat();
            text.extend(self.style().name(&place));
            text.extend_from_slice(b":\n");
        }
        if self.wanted.form == Form::Long {
            text.extend_from_slice(long::total(entries).as_bytes());
        }
        self.is_first = false;
        Ok(self.results.put(&text).await?)
    }

    async fn show(
        &mut self,
        image: &ByteString,
        directory: &[u8],
        entries: &[Entry],
    ) -> Result<(), Failure> {
        let record = |entry: &Entry| {
            let path = join(directory, &entry.path.0);
            Record::new(image.clone(), path, entry, &self.names)
        };
        let text = match self.wanted.form {
            Form::Short => self.style().short(entries),
            Form::Long => self.style().long(entries),
            Form::Csv => entries
                .iter()
                .flat_map(|entry| record(entry).csv())
                .collect(),
            Form::Json => {
                let lines = entries.iter().map(|entry| record(entry).json());
                let lines = lines.collect::<Result<Vec<_>, _>>();
                lines.map_err(anyhow::Error::from)?.concat()
            }
        };
        Ok(self.results.put(&text).await?)
    }

    fn style(&self) -> Style<'_> {
        Style {
            names: &self.names,
            now: self.wanted.now,
            escaped: self.results.is_terminal(),
        }
    }

    fn at(&self, path: &[u8]) -> PathAt {
        place(self.root, path)
    }

    /// Says what could not be looked at, and goes on, unless that is of no use.
    fn error(&mut self, error: SessionError) -> Result<(), Failure> {
        match &error {
            SessionError::Refused(error) if !(self.in_use && is_torn_read(error)) => {}
            _ => return Err(error.into()),
        }
        tracing::error!("{error}");
        self.complete = false;
        Ok(())
    }
}

/// The entries of a directory, unsorted, with the two that lead to itself and up where `all` are
/// wanted; the others are asked for where they are not yet `known`.
async fn collect(
    session: &Session,
    at: PathAt,
    all: bool,
    known: Option<Vec<Entry>>,
) -> Result<Vec<Entry>, SessionError> {
    let mut entries = Vec::new();
    for name in [".", ".."].into_iter().filter(|_| all) {
        let path = ByteString(join(&at.path.0, name.as_bytes()));
        let at = PathAt { path, ..at.clone() };
        entries.push(Entry {
            path: name.into(),
            stat: Some(session.stat(at, false).await?),
            link: None,
            error: None,
        });
    }
    if let Some(known) = known {
        entries.extend(known);
        return Ok(entries);
    }
    let mut listed = session.list(at).await?;
    let mut room = Room::default();
    while let Some(entry) = listed.next().await? {
        room.take(&entry)?;
        // A name is a name: what has a slash, or is none, would lead elsewhere.
        if !entry.path.0.is_empty() && !entry.path.0.contains(&b'/') {
            entries.push(entry);
        }
    }
    Ok(entries)
}

fn is_below(entry: &Entry) -> bool {
    let is_directory = (entry.stat.as_ref()).is_some_and(|stat| stat.kind == FileKind::Directory);
    is_directory && !matches!(&entry.path.0[..], b"." | b"..")
}

fn place(root: &str, path: &[u8]) -> PathAt {
    PathAt {
        root: root.into(),
        path: ByteString(path.to_vec()),
    }
}

/// A name behind its directory; an empty directory is none.
pub(super) fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    match directory {
        b"" => name.to_vec(),
        directory if directory.ends_with(b"/") => [directory, name].concat(),
        directory => [directory, b"/", name].concat(),
    }
}
