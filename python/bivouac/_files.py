"""Files of a guest or of an image: what machines and images have in common."""

from __future__ import annotations

from typing import Dict, Iterator, List, Optional

from . import _data
from ._connection import Session
from .errors import RequestError
from .results import Entry, Stat

#: How many bytes a request reads.
CHUNK = 4 << 20
#: The most entries that a request lists.
MOST = 100_000


class Files:
    """Reads files by the session that a subclass has."""

    _id = "m1"

    def _open(self) -> Session:
        raise NotImplementedError

    def read(self, path: _data.PathLike, *, offset: int = 0, limit: Optional[int] = None) -> bytes:
        """The content of a regular file or block device: all of it from `offset`, or `limit` bytes."""
        return b"".join(self.chunks(path, offset=offset, limit=limit))

    def read_text(self, path: _data.PathLike) -> str:
        """The content of a file as text. Bytes that are no UTF-8 are escaped."""
        return self.read(path).decode("utf-8", "backslashreplace")

    def chunks(
        self, path: _data.PathLike, *, offset: int = 0, limit: Optional[int] = None
    ) -> Iterator[bytes]:
        """The content of a file in pieces, for one that is large."""
        session, name = self._open(), _data.encode(path)
        end = None if limit is None else offset + limit
        while end is None or offset < end:
            wanted = CHUNK if end is None else min(CHUNK, end - offset)
            answer = session.call("read", machine=self._id, path=name, offset=offset, limit=wanted)
            data = _data.decode(answer["data"])
            if data:
                yield data
            offset = answer["next"]
            if answer["eof"] or not data:
                return

    def stat(self, path: _data.PathLike, *, follow: bool = True) -> Stat:
        """What a file is. Without `follow`, a symbolic link itself."""
        answer = self._open().call("stat", machine=self._id, path=_data.encode(path), follow=follow)
        return Stat.of(answer)

    def exists(self, path: _data.PathLike) -> bool:
        """Whether there is something under this path, be it a link that leads nowhere."""
        try:
            self.stat(path, follow=False)
        except RequestError as error:
            if error.errno in ("ENOENT", "ENOTDIR"):
                return False
            raise
        return True

    def list(
        self, path: _data.PathLike = "/", *, recursive: bool = False, limit: int = MOST
    ) -> List[Entry]:
        """The entries of a directory by name, with `recursive` also those below it.

        Raises RequestError if there are more than `limit`, which is at most 100,000.
        """
        entries = self._list(path, recursive, limit)
        if entries is None:
            raise RequestError(
                f"{_text(path)} has more than {limit} entries",
                kind="limit",
                hint="walk lists trees of any size",
            )
        return entries

    def walk(self, path: _data.PathLike = "/") -> Iterator[Entry]:
        """Everything below a directory, each directory before what it holds. Links are not followed."""
        entries = self._list(path, True, MOST)
        if entries is not None:
            yield from entries
            return
        for entry in self.list(path):
            yield entry
            if entry.type == "directory":
                yield from self.walk(entry.path)

    def _list(self, path: _data.PathLike, recursive: bool, limit: int) -> Optional[List[Entry]]:
        """Sorted entries without the directory itself; None if there are too many."""
        session, name = self._open(), _data.encode(path)
        answer = session.call("list", machine=self._id, path=name, recursive=recursive, limit=limit)
        if answer["truncated"]:
            return None
        directory = _text(path)
        found = [Entry.of(entry, directory) for entry in answer["entries"]]
        by_path: Dict[str, Entry] = {entry.name: entry for entry in found if entry.name}
        return [by_path[key] for key in sorted(by_path, key=lambda key: key.split("/"))]


def _text(path: _data.PathLike) -> str:
    return _data.name(_data.encode(path))
