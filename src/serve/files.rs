//! Files of a guest, for requests.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use anyhow::Context;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::changes::file_type;
use super::errors::of_failure;
use super::handle::Handle;
use super::hub::Hub;
use super::limits::{bytes_wanted, entries_wanted};
use crate::archive::{self, Kind, Member, Policy};
use crate::commands::destination::Destination;
use crate::commands::tar_transfer;
use crate::launch::Failure;
use crate::protocol::{ByteString, Entry, FileKind, PathAt, Stat, TarOptions};
use crate::rpc::files::{self, Copied, FileStat, ListResult, ReadResult};
use crate::rpc::{Data, ErrorKind, MAX_DATA, RpcError};
use crate::session::{Session, SessionError};

fn at(handle: &Handle, path: Data) -> Result<PathAt, RpcError> {
    let path = path.bytes("path")?;
    match path.starts_with(b"/") && !path.contains(&0) {
        true => Ok(PathAt::new(handle.root, &path)),
        false => Err(RpcError::invalid_params("path is absolute, without a NUL")),
    }
}

pub(super) async fn read(hub: &Hub, request: files::Read) -> Result<ReadResult, RpcError> {
    let handle = hub.machine(request.machine.as_deref())?;
    let (at, offset) = (at(&handle, request.path)?, request.offset);
    let limit = bytes_wanted(request.limit)?;
    let session = handle.session().await?;
    let reading = async {
        // One more, to know whether the file ends.
        let (_, stream) = session.read(at, offset, Some(limit + 1)).await?;
        let mut bytes = Vec::new();
        let read = stream.take(limit + 1).read_to_end(&mut bytes).await;
        read.map_err(SessionError::of_stream)?;
        Ok(bytes)
    };
    let mut bytes = match reading.await {
        Ok(bytes) => bytes,
        Err(error) => return Err(handle.explain(error).await),
    };
    let eof = bytes.len() as u64 <= limit;
    bytes.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    Ok(ReadResult {
        next: offset.saturating_add(bytes.len() as u64),
        data: bytes.into(),
        eof,
    })
}

pub(super) async fn stat(hub: &Hub, request: files::Stat) -> Result<FileStat, RpcError> {
    let handle = hub.machine(request.machine.as_deref())?;
    let at = at(&handle, request.path)?;
    let session = handle.session().await?;
    let telling = async {
        let stat = session
            .stat(at.clone(), request.follow.unwrap_or(true))
            .await?;
        let link = match stat.kind {
            FileKind::Link => Some(session.read_link(at).await?),
            _ => None,
        };
        Ok(file_stat(stat, link))
    };
    match telling.await {
        Ok(stat) => Ok(stat),
        Err(error) => Err(handle.explain(error).await),
    }
}

fn file_stat(stat: Stat, link: Option<ByteString>) -> FileStat {
    FileStat {
        kind: file_type(stat.kind),
        mode: stat.mode,
        links: stat.links,
        uid: stat.uid,
        gid: stat.gid,
        size: stat.size,
        blocks: stat.blocks,
        mtime: stat.modified,
        atime: stat.accessed,
        ctime: stat.changed,
        device: stat.device,
        inode: stat.inode,
        special: stat.special,
        link: link.map(|link| link.0.into()),
    }
}

pub(super) async fn list(hub: &Hub, request: files::List) -> Result<ListResult, RpcError> {
    let handle = hub.machine(request.machine.as_deref())?;
    let at = at(&handle, request.path)?;
    let limit = entries_wanted(request.limit)?;
    let session = handle.session().await?;
    let listing = async {
        let mut entries = match request.recursive {
            true => session.walk(at, false).await?,
            false => session.list(at).await?,
        };
        let (mut found, mut weight) = (Vec::new(), 0);
        while let Some(entry) = entries.next().await? {
            weight += entry.weight() as u64;
            if found.len() == limit || weight > MAX_DATA {
                return Ok((found, true));
            }
            found.push(listed(entry));
        }
        Ok((found, false))
    };
    match listing.await {
        Ok((entries, truncated)) => Ok(ListResult { entries, truncated }),
        Err(error) => Err(handle.explain(error).await),
    }
}

fn listed(entry: Entry) -> files::Entry {
    let link = entry.link;
    files::Entry {
        name: entry.path.0.into(),
        stat: entry.stat.map(|stat| file_stat(stat, link)),
        error: entry.error.map(|error| error.to_string()),
    }
}

pub(super) async fn put(hub: &Hub, request: files::Put) -> Result<Copied, RpcError> {
    let handle = hub.machine(request.machine.as_deref())?;
    let to = at(&handle, request.path)?;
    let member = Member {
        mode: request.mode.unwrap_or(0o644) & 0o7777,
        uid: request.uid.unwrap_or(0),
        gid: request.gid.unwrap_or(0),
        ..Member::new(to.path.0.clone(), Kind::File)
    };
    let properties = [request.mode, request.uid, request.gid];
    match (request.content, request.source) {
        (Some(content), None) => {
            let content = content.bytes("content")?;
            let session = handle.session().await?;
            write(&handle, &session, member, content).await
        }
        (None, Some(source)) if properties.iter().all(Option::is_none) => {
            let session = handle.session().await?;
            let copied = copy_in(&session, source.into(), to).await;
            let files = copied.map_err(|failure| of_failure(&failure))?;
            Ok(Copied { files })
        }
        (None, Some(_)) => Err(RpcError::invalid_params(
            "mode, uid and gid go with content",
        )),
        _ => Err(RpcError::invalid_params("put needs content or source")),
    }
}

/// Writes one file, as a tar stream of one member.
async fn write(
    handle: &Handle,
    session: &Session,
    mut member: Member,
    content: Vec<u8>,
) -> Result<Copied, RpcError> {
    member.size = content.len() as u64;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = now.unwrap_or_default();
    member.modified = (now.as_secs() as i64, now.subsec_nanos());
    let mut stream = Vec::new();
    let packed = archive::begin(&mut stream, &member).and_then(|()| {
        stream.extend_from_slice(&content);
        stream.extend_from_slice(archive::padding(member.size));
        archive::end(&mut stream)
    });
    packed.map_err(|error| RpcError::new(ErrorKind::Failed, error.to_string()))?;
    let options = TarOptions {
        owners: true,
        ..TarOptions::default()
    };
    let writing = async {
        let below = PathAt::new(handle.root, b"/");
        let (mut input, unpacking) = session.tar_in(below, options).await?;
        // If the guest reads no more, the answer says why.
        let _ = input.write_all(&stream).await;
        let _ = input.shutdown().await;
        unpacking.wait().await
    };
    match writing.await {
        Ok(files) => Ok(Copied { files }),
        Err(error) => Err(handle.explain(error).await),
    }
}

/// Copies a file or tree of this host into the guest, as `cp -r` would: into an existing directory,
/// or else under the name of the target.
async fn copy_in(session: &Session, source: PathBuf, to: PathAt) -> Result<u64, Failure> {
    let mut name = to.path.0.clone();
    let root = PathAt {
        path: "/".into(),
        ..to.clone()
    };
    let stat = session.stat(to, true).await;
    if name.ends_with(b"/") || stat.is_ok_and(|stat| stat.kind == FileKind::Directory) {
        let own = source.canonicalize();
        let own = own.with_context(|| source.display().to_string())?;
        name.push(b'/');
        name.extend_from_slice(own.file_name().unwrap_or(OsStr::new(".")).as_bytes());
    }
    tar_transfer::send(session, source, root, name, TarOptions::default()).await
}

pub(super) async fn get(hub: &Hub, request: files::Get) -> Result<Copied, RpcError> {
    let handle = hub.machine(request.machine.as_deref())?;
    let from = at(&handle, request.path)?;
    let session = handle.session().await?;
    let copied = copy_out(&session, from, Path::new(&request.target)).await;
    let files = copied.map_err(|failure| of_failure(&failure))?;
    Ok(Copied { files })
}

/// Copies a file or tree out of the guest in the same way. Everything belongs to the user here.
async fn copy_out(session: &Session, from: PathAt, target: &Path) -> Result<u64, Failure> {
    let source = OsString::from_vec(from.path.0.clone());
    let source = Path::new(&source);
    let target = Destination::open(target)?.target(source.file_name().map(OsStr::as_bytes))?;
    let Some(only) = target.only() else {
        let error = anyhow::anyhow!("{} has no name to be copied under", source.display());
        return Err(Failure::with_hint(error, "a name at the end of the target"));
    };
    let what = from.path.to_string();
    let options = TarOptions {
        name: Some(ByteString(target.name)),
        ..TarOptions::default()
    };
    let policy = Policy {
        umask: tar_transfer::umask(),
        only: Some(only),
        ..Policy::default()
    };
    let fetched = tar_transfer::fetch(session, from, options, target.directory, policy).await?;
    fetched.complete(&what)
}
