//! `rpmdb.sqlite`: the table `Packages` of an SQLite database, by <https://www.sqlite.org/fileformat2.html>.
//! Its rows are a number and a record, in a tree of pages, and what does not fit into a page goes on in a
//! chain of pages. Numbers are big-endian.

use std::collections::HashSet;

use super::super::package::Package;
use super::source::{Contents, DatabaseError, MAX_RECORD, Source};
use super::sqlite_log::Log;
use crate::linux::bytes::Fields;
use crate::session::SessionError;

const MAGIC: &[u8] = b"SQLite format 3\0";
const HEADER: usize = 100;
const LEAF: u8 = 0x0d;
const INTERIOR: u8 = 0x05;

/// The columns of a row that are read: the schema's.
const COLUMNS: usize = 5;

const TREE: &str = "a list of packages";
const UNSORTED: &str = "its packages are not in order";
const RECORD: &str = "the record of a package";

/// What `read` makes of each record, in the order of their numbers. `log` is the write-ahead log of the
/// database, whose pages are newer than the file's.
pub async fn records<S: Source>(
    file: &mut S,
    log: Option<&mut S>,
    read: fn(&[u8]) -> Result<Option<Package>, DatabaseError>,
) -> Result<Contents, SessionError> {
    let mut contents = Contents::new();
    let mut pages = match Pages::open(file).await {
        Ok(pages) => pages,
        Err(error) => {
            contents.add(Err(error))?;
            return Ok(contents);
        }
    };
    if let Some(log) = log {
        match Log::open(log, pages.size).await {
            Ok(log) => pages.put_over(log),
            Err(error) => contents.add(Err(error))?,
        }
    }
    if pages.is_cut_off {
        contents.add(Err(DatabaseError::damaged("the file", pages.file.size())))?;
    }
    // The schema is the tree of the first page: type, name, table, and the first page of each tree.
    let mut root = None;
    let mut schema = |row: Result<&[u8], DatabaseError>| {
        let row = row.and_then(|row| values(row).ok_or(DatabaseError::damaged("the schema", 0)));
        match row.as_deref() {
            Ok(
                [
                    Value::Text(b"table"),
                    Value::Text(b"Packages"),
                    _,
                    Value::Number(page),
                    ..,
                ],
            ) => {
                root = u32::try_from(*page).ok();
            }
            _ => contents.add(row.map(|_| None))?,
        }
        Ok(())
    };
    pages.rows(1, &mut schema).await?;
    let Some(root) = root else {
        contents.add(Err(DatabaseError::Malformed("no table of packages")))?;
        return Ok(contents);
    };
    let mut packages = |row: Result<&[u8], DatabaseError>| {
        let found = row.and_then(|row| match values(row).as_deref() {
            Some([_, Value::Bytes(record), ..]) => read(record),
            _ => Err(DatabaseError::Malformed("a package without a record")),
        });
        contents.add(found)
    };
    pages.rows(root, &mut packages).await?;
    Ok(contents)
}

enum Node<'a> {
    /// The pages below, from left to right.
    Interior(Vec<u32>),
    /// Rows, the numbers of which grow over the whole tree.
    Leaf(Vec<Cell<'a>>),
}

/// A row: its number, what of it lies in the page, and where the rest is.
struct Cell<'a> {
    row: i64,
    local: &'a [u8],
    length: usize,
    next: u32,
}

/// A column of a row.
enum Value<'a> {
    Number(i64),
    Text(&'a [u8]),
    Bytes(&'a [u8]),
    Other,
}

type Visit<'a> = &'a mut dyn FnMut(Result<&[u8], DatabaseError>) -> Result<(), SessionError>;

/// The pages of a database, none of which is used twice.
struct Pages<'a, S> {
    file: &'a mut S,
    log: Option<Log<'a, S>>,
    size: usize,
    /// Bytes of a page that are used: there may be an extension at its end.
    usable: usize,
    count: u32,
    is_cut_off: bool,
    /// How many there are in the file and the log, and those that were read.
    most: u32,
    seen: HashSet<u32>,
}

impl<'a, S: Source> Pages<'a, S> {
    async fn open(file: &'a mut S) -> Result<Self, DatabaseError> {
        let header = file.bytes(0, HEADER).await?;
        let size = match header.be16(16) {
            1 => 1 << 16,
            size => usize::from(size),
        };
        if !header.starts_with(MAGIC) || !size.is_power_of_two() || size < 512 {
            return Err(DatabaseError::damaged("the header", 0));
        }
        let usable = size - usize::from(header[20]);
        if usable < 480 {
            return Err(DatabaseError::damaged("the header", 0));
        }
        let there = u32::try_from(file.size() / size as u64).unwrap_or(u32::MAX);
        // Old versions do not keep the number of pages up to date, nor the counter beside it.
        let is_stated = header.be32(24) == header.be32(92);
        Ok(Self {
            file,
            log: None,
            size,
            usable,
            count: there,
            is_cut_off: is_stated && header.be32(28) > there,
            most: there,
            seen: HashSet::new(),
        })
    }

    /// Lets the pages of a log take the place of the file's.
    fn put_over(&mut self, log: Option<Log<'a, S>>) {
        if let Some(log) = &log {
            self.most = self.count.saturating_add(log.pages()).min(log.count);
            self.count = log.count;
            self.is_cut_off = false;
        }
        self.log = log;
    }

    fn offset(&self, page: u32) -> u64 {
        u64::from(page.saturating_sub(1)).saturating_mul(self.size as u64)
    }

    async fn page(&mut self, number: u32, what: &'static str) -> Result<Vec<u8>, DatabaseError> {
        let offset = self.offset(number);
        if number == 0 || number > self.count {
            return Err(DatabaseError::damaged(what, offset));
        }
        if self.seen.contains(&number) {
            return Err(DatabaseError::USED_TWICE);
        }
        let logged = match &mut self.log {
            Some(log) => log.page(number).await?,
            None => None,
        };
        let page = match logged {
            Some(page) => page,
            None => self.file.bytes(offset, self.size).await?,
        };
        self.seen.insert(number);
        Ok(page)
    }

    /// All rows of a tree.
    async fn rows(&mut self, root: u32, visit: Visit<'_>) -> Result<(), SessionError> {
        let mut waiting = vec![root];
        let mut last_row = None;
        while let Some(number) = waiting.pop() {
            let page = match self.page(number, TREE).await {
                Ok(page) => page,
                Err(error) => {
                    visit(Err(error))?;
                    continue;
                }
            };
            let start = if number == 1 { HEADER } else { 0 };
            match self.node(&page, start) {
                Some(Node::Interior(below))
                    if waiting.len() + below.len() <= self.most as usize =>
                {
                    waiting.extend(below.into_iter().rev());
                }
                Some(Node::Leaf(cells)) => {
                    let rows = last_row
                        .into_iter()
                        .chain(cells.iter().map(|cell| cell.row));
                    if !rows.is_sorted_by(|one, next| one < next) {
                        visit(Err(DatabaseError::Malformed(UNSORTED)))?;
                    }
                    last_row = cells.last().map(|cell| cell.row).or(last_row);
                    for cell in cells {
                        match self.payload(cell).await {
                            Ok(row) => visit(Ok(&row))?,
                            Err(error) => visit(Err(error))?,
                        }
                    }
                }
                _ => visit(Err(DatabaseError::damaged(TREE, self.offset(number))))?,
            }
        }
        Ok(())
    }

    /// A page of a table: type, number of cells, of an interior one the last page below, and where the
    /// cells are. No two overlap: so there is no more in them than the page has.
    fn node<'p>(&self, page: &'p [u8], start: usize) -> Option<Node<'p>> {
        let count = usize::from(page.get_be16(start + 3)?);
        let is_leaf = match *page.get(start)? {
            LEAF => true,
            INTERIOR => false,
            _ => return None,
        };
        let places = start + if is_leaf { 8 } else { 12 };
        let (mut cells, mut below) = (Vec::new(), Vec::new());
        let mut taken = vec![(0, places + 2 * count)];
        for nth in 0..count {
            let at = usize::from(page.get_be16(places + 2 * nth)?);
            let mut rest = page.get(at..self.usable)?;
            match is_leaf {
                true => cells.push(self.cell(&mut rest)?),
                false => {
                    below.push(rest.get_be32(0)?);
                    rest = rest.get(4..)?;
                    varint(&mut rest)?;
                }
            }
            taken.push((at, self.usable - rest.len()));
        }
        taken.sort_unstable();
        if !taken.is_sorted_by(|(_, end), (start, _)| end <= start) {
            return None;
        }
        if is_leaf {
            return Some(Node::Leaf(cells));
        }
        below.push(page.get_be32(start + 8)?);
        Some(Node::Interior(below))
    }

    /// A row, which is removed from `cell`.
    fn cell<'p>(&self, cell: &mut &'p [u8]) -> Option<Cell<'p>> {
        let length = usize::try_from(varint(cell)?).ok()?;
        let row = varint(cell)?.cast_signed();
        let most = self.usable - 35;
        let least = (self.usable - 12) * 32 / 255 - 23;
        let local = match length.checked_sub(least) {
            _ if length <= most => length,
            None => length,
            Some(more) => match least + more % (self.usable - 4) {
                local if local <= most => local,
                _ => least,
            },
        };
        let (local, rest) = cell.split_at_checked(local)?;
        let (next, rest) = match local.len() < length {
            true => (rest.get_be32(0)?, rest.get(4..)?),
            false => (0, rest),
        };
        *cell = rest;
        Some(Cell {
            row,
            local,
            length,
            next,
        })
    }

    async fn payload(&mut self, cell: Cell<'_>) -> Result<Vec<u8>, DatabaseError> {
        if cell.length > MAX_RECORD {
            return Err(DatabaseError::TooLarge {
                what: RECORD,
                mib: (MAX_RECORD >> 20) as u64,
            });
        }
        let (mut payload, mut next) = (cell.local.to_vec(), cell.next);
        while payload.len() < cell.length {
            let page = self.page(next, RECORD).await?;
            let end = self.usable.min(4 + cell.length - payload.len());
            payload.extend_from_slice(page.get(4..end).unwrap_or_default());
            next = page.be32(0);
        }
        Ok(payload)
    }
}

/// The first columns of a row, in which all types are before the values. `None` if they are not in it.
fn values(row: &[u8]) -> Option<Vec<Value<'_>>> {
    let mut rest = row;
    let length = usize::try_from(varint(&mut rest)?).ok()?;
    let header = row.len() - rest.len();
    let mut types = row.get(header..length)?;
    let mut data = row.get(length..)?;
    let mut values = Vec::new();
    while !types.is_empty() && values.len() < COLUMNS {
        let kind = varint(&mut types)?;
        let length = match kind {
            0 | 8 | 9 => 0,
            1..=4 => kind,
            5 => 6,
            6 | 7 => 8,
            10 | 11 => return None,
            kind => (kind - 12) / 2,
        };
        let (value, after) = data.split_at_checked(usize::try_from(length).ok()?)?;
        data = after;
        values.push(match kind {
            1..=6 => Value::Number(integer(value)),
            8 | 9 => Value::Number(kind as i64 - 8),
            0 | 7 => Value::Other,
            kind if kind % 2 == 0 => Value::Bytes(value),
            _ => Value::Text(value),
        });
    }
    Some(values)
}

/// A signed number of up to eight bytes.
fn integer(bytes: &[u8]) -> i64 {
    let is_negative = bytes.first().is_some_and(|byte| *byte >= 0x80);
    let start = if is_negative { -1 } else { 0 };
    bytes
        .iter()
        .fold(start, |number, byte| number << 8 | i64::from(*byte))
}

/// A number of up to nine bytes, seven bits of it in each, eight in the last; removed from `bytes`.
fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for nth in 0..9 {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        if nth == 8 {
            return Some(number << 8 | u64::from(*byte));
        }
        number = number << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            break;
        }
    }
    Some(number)
}
