//! The listing itself: one directory after the other, each sorted, in the order of GNU ls. Kept in
//! memory are the directory that is printed, the names of those to come, and a part of the tree
//! ([`Tree`]).

use super::Form;
use super::accounts::AccountNames;
use super::extras::{Extras, details};
use super::format_long::{self, Style};
use super::format_records::Record;
use super::limits::Budget;
use super::tree::{Tree, join};
use crate::commands::image_path::ImagePath;
use crate::commands::inspection::is_torn_read;
use crate::commands::stdout_sink::StdoutSink;
use crate::launch::Failure;
use crate::protocol::{ByteString, Details, DigestKind, Entry, FileKind, PathAt};
use crate::session::{Session, SessionError};

/// How many entries are read ahead.
const READ_AHEAD: usize = 20_000;
/// The most that is read of passwd and group.
const ACCOUNTS: u64 = 1 << 20;

#[derive(Clone, Copy, Debug)]
pub struct ListOptions {
    pub form: Form,
    pub recursive: bool,
    pub all: bool,
    pub numeric: bool,
    pub extras: Extras,
    /// Each directory's name before its entries.
    pub headed: bool,
    /// The time now, in seconds since 1970.
    pub now: i64,
}

pub struct Lister<'a> {
    session: &'a Session,
    root: &'a str,
    options: ListOptions,
    names: AccountNames,
    output: &'a mut StdoutSink,
    /// Another process writes to the image: read errors may be its doing.
    in_use: bool,
    is_first: bool,
    complete: bool,
}

impl<'a> Lister<'a> {
    /// Reads the names of the image's users, if they are needed.
    pub async fn new(
        session: &'a Session,
        root: &'a str,
        options: ListOptions,
        output: &'a mut StdoutSink,
        in_use: bool,
        is_first: bool,
    ) -> Self {
        let mut names = AccountNames::default();
        if options.form != Form::Short && !options.numeric {
            let read = |path: &'static str| async move {
                // Without the file there are numbers only.
                let at = PathAt::new(root, path.as_bytes());
                session.read_from(at, 0, ACCOUNTS).await.unwrap_or_default()
            };
            names = AccountNames::parse(&read("/etc/passwd").await, &read("/etc/group").await);
        }
        Self {
            session,
            root,
            options,
            names,
            output,
            in_use,
            is_first,
            complete: true,
        }
    }

    /// Lists every path. What cannot be read is reported, and the result is then false.
    pub async fn list(mut self, places: &[ImagePath]) -> Result<bool, Failure> {
        let mut directories = Vec::new();
        let mut files = Vec::new();
        for wanted in places {
            let follow = self.options.form == Form::Short || wanted.path.ends_with(b"/");
            match self.session.stat(self.at(&wanted.path), follow).await {
                Ok(stat) if stat.kind == FileKind::Directory => directories.push(wanted),
                Ok(stat) => {
                    let link = match stat.kind {
                        FileKind::Link => self.session.read_link(self.at(&wanted.path)).await.ok(),
                        _ => None,
                    };
                    files.push(Entry {
                        path: ByteString(wanted.path.clone()),
                        stat: Some(stat),
                        link,
                        error: None,
                    });
                }
                Err(error) => self.report(error)?,
            }
        }
        // As GNU ls: files first.
        let image = places.first().map(|place| place.image.as_os_str().into());
        let image: ByteString = image.unwrap_or_default();
        if !files.is_empty() {
            self.show(&image, b"", &files).await?;
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
        let mut waiting = Budget::default();
        waiting.take_text(path.len())?;
        while let Some(path) = stack.pop() {
            waiting.give_text(path.len());
            if self.options.recursive && !tree.has(&path) {
                tree.grow(self.session, self.at(&path), READ_AHEAD).await?;
            }
            let all = self.options.all;
            let listed = collect(self.session, self.at(&path), all, tree.take(&path)).await;
            let entries = match listed {
                Ok(entries) => entries,
                Err(error) => {
                    self.report(error)?;
                    continue;
                }
            };
            let entries = self.sorted(entries)?;
            self.header(image, &path, &entries).await?;
            self.show(image, &path, &entries).await?;
            if self.options.recursive {
                for entry in entries.iter().rev().filter(|entry| is_below(entry)) {
                    let below = join(&path, &entry.path.0);
                    waiting.take_text(below.len())?;
                    stack.push(below);
                }
            }
        }
        Ok(())
    }

    /// The entries to print, in order.
    fn sorted(&mut self, mut entries: Vec<Entry>) -> Result<Vec<Entry>, Failure> {
        if !self.options.all {
            entries.retain(|entry| !entry.path.0.starts_with(b"."));
        }
        for error in entries.iter().filter_map(|entry| entry.error.clone()) {
            self.report(SessionError::Refused(error))?;
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
        if !matches!(self.options.form, Form::Short | Form::Long) {
            return Ok(());
        }
        let mut text = Vec::new();
        if self.options.headed || self.options.recursive {
            if !self.is_first {
                text.push(b'\n');
            }
            let place = [&image.0, b":" as &[u8], path].concat();
            text.extend(self.style().name(&place));
            text.extend_from_slice(b":\n");
        }
        if self.options.form == Form::Long {
            text.extend_from_slice(format_long::total(entries).as_bytes());
        }
        self.is_first = false;
        Ok(self.output.write(&text).await?)
    }

    async fn show(
        &mut self,
        image: &ByteString,
        directory: &[u8],
        entries: &[Entry],
    ) -> Result<(), Failure> {
        let details = self.details(directory, entries).await?;
        let extras = self.options.extras;
        let records = entries.iter().zip(&details).map(|(entry, details)| {
            let path = join(directory, &entry.path.0);
            let record = Record::new(image.clone(), path, entry, &self.names);
            record.with(extras, details)
        });
        let text = match self.options.form {
            Form::Short => self.style().short(entries, &details),
            Form::Long => self.style().long(entries, &details),
            Form::Csv => records.flat_map(|record| record.csv()).collect(),
            Form::Json => {
                let lines = records.map(|record| record.json());
                let lines = lines.collect::<Result<Vec<_>, _>>();
                lines.map_err(anyhow::Error::from)?.concat()
            }
        };
        Ok(self.output.write(&text).await?)
    }

    /// What stat(2) does not tell of entries, if that is wanted; nothing of `..`, which may be outside.
    async fn details(
        &mut self,
        directory: &[u8],
        entries: &[Entry],
    ) -> Result<Vec<Details>, Failure> {
        let Extras {
            checksum, xattrs, ..
        } = self.options.extras;
        if !checksum && !xattrs {
            return Ok(vec![Details::default(); entries.len()]);
        }
        let digests = match checksum {
            true => DigestKind::Sha256,
            false => DigestKind::Nothing,
        };
        let paths = entries.iter().map(|entry| {
            let is_known = entry.stat.is_some() && entry.path.0 != b"..";
            is_known.then(|| ByteString(join(directory, &entry.path.0)))
        });
        let found = details(self.session, self.root, paths.collect(), digests).await?;
        for error in found.iter().filter_map(|details| details.error.clone()) {
            self.report(SessionError::Refused(error))?;
        }
        Ok(found)
    }

    fn style(&self) -> Style<'_> {
        Style {
            names: &self.names,
            now: self.options.now,
            escaped: self.output.is_terminal(),
            extras: self.options.extras,
        }
    }

    fn at(&self, path: &[u8]) -> PathAt {
        PathAt::new(self.root, path)
    }

    /// Reports what could not be read. Other errors end the listing.
    fn report(&mut self, error: SessionError) -> Result<(), Failure> {
        match &error {
            SessionError::Refused(error) if !(self.in_use && is_torn_read(error)) => {}
            _ => return Err(error.into()),
        }
        tracing::error!("{error}");
        self.complete = false;
        Ok(())
    }
}

/// The entries of a directory, unsorted, with `.` and `..` if `all`. They are requested from the
/// guest unless they are `known`.
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
    let mut budget = Budget::default();
    while let Some(entry) = listed.next().await? {
        budget.take(&entry)?;
        // A hostile guest may send a path instead of a name.
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
