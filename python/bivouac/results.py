"""What the methods return."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

from . import _data
from .errors import CommandFailed


def _text(raw: bytes) -> str:
    # It can be printed anywhere, unlike surrogates.
    return raw.decode("utf-8", "backslashreplace")


@dataclass(frozen=True)
class Result:
    """How a command ended, and what it wrote."""

    argv: Tuple[str, ...]
    #: The exit status, or 128+N if signal N killed the command.
    status: int
    stdout_bytes: bytes = field(repr=False)
    stderr_bytes: bytes = field(repr=False)
    #: The signal that killed the command.
    signal: Optional[int] = None
    #: Whether output is missing: more than `limit` bytes were written.
    truncated: bool = False

    @property
    def stdout(self) -> str:
        """Standard output as text. Bytes that are no UTF-8 are escaped, as in ``\\xff``."""
        return _text(self.stdout_bytes)

    @property
    def stderr(self) -> str:
        """Standard error as text, like `stdout`."""
        return _text(self.stderr_bytes)

    @property
    def ok(self) -> bool:
        return self.status == 0

    def check(self) -> Result:
        """Raises CommandFailed unless the status is 0."""
        __tracebackhide__ = True  # In a report of pytest.
        if self.status == 0:
            return self
        how = f"status {self.status}" if self.signal is None else f"signal {self.signal}"
        said = self.stderr.strip() or self.stdout.strip()
        lines = [f"{shlex.join(self.argv)}: {how}", *said.splitlines()[-20:]]
        raise CommandFailed("\n".join(lines), self)


@dataclass(frozen=True)
class Stat:
    """What a file is, as by stat(2). Times are seconds since 1970."""

    #: "file", "directory", "link", "block", "character", "fifo", "socket" or "other".
    type: str
    mode: int
    uid: int
    gid: int
    size: int
    mtime: float
    atime: float
    ctime: float
    links: int
    inode: int
    device: int
    blocks: int
    #: The target of a symbolic link that was not followed.
    link: Optional[str] = None
    #: Major and minor number of a device file.
    special: Optional[Tuple[int, int]] = None

    @classmethod
    def of(cls, value: Dict[str, Any]) -> Stat:
        special = value.get("special")
        return cls(
            type=value["type"],
            link=None if value.get("link") is None else _data.name(value["link"]),
            special=None if special is None else (special[0], special[1]),
            mtime=_seconds(value["mtime"]),
            atime=_seconds(value["atime"]),
            ctime=_seconds(value["ctime"]),
            **{
                key: value[key]
                for key in ("mode", "uid", "gid", "size", "links", "inode", "device", "blocks")
            },
        )


def _seconds(time: Sequence[int]) -> float:
    return time[0] + time[1] / 1e9


@dataclass(frozen=True)
class Entry:
    """An entry of a directory."""

    #: Its name, or, in a recursive list, its path below the directory.
    name: str
    #: Its absolute path.
    path: str
    #: What it is; links are not followed. None if it could not be read.
    stat: Optional[Stat]
    #: Why it, or what is below it, could not be read.
    error: Optional[str] = None

    @property
    def type(self) -> str:
        return "other" if self.stat is None else self.stat.type

    @classmethod
    def of(cls, value: Dict[str, Any], directory: str) -> Entry:
        name = _data.name(value["name"])
        path = directory.rstrip("/") + "/" + name if name else directory
        stat = value.get("stat")
        return cls(name, path, None if stat is None else Stat.of(stat), value.get("error"))


@dataclass(frozen=True)
class FileSummary:
    """A file on one side of a change."""

    type: Optional[str]
    mode: int
    uid: int
    gid: int
    size: int
    mtime: float
    link: Optional[str] = None

    @classmethod
    def of(cls, value: Optional[Dict[str, Any]]) -> Optional[FileSummary]:
        if value is None:
            return None
        link = value.get("link")
        return cls(
            type=value.get("type"),
            mtime=_seconds(value["mtime"]),
            link=None if link is None else _data.name(link),
            **{key: value[key] for key in ("mode", "uid", "gid", "size")},
        )


@dataclass(frozen=True)
class Change:
    """A path that a machine has changed."""

    path: str
    #: "added", "removed" or "modified".
    change: str
    #: In what a modified file differs: "content", "mode", "owner" and so on.
    what: Tuple[str, ...]
    before: Optional[FileSummary]
    after: Optional[FileSummary]
    #: The content as a unified diff, if that was asked for and the file is text.
    diff: Optional[str] = None
    #: The device of the filesystem, if the system does not mount it.
    filesystem: Optional[str] = None

    @classmethod
    def of(cls, value: Dict[str, Any]) -> Change:
        return cls(
            path=_data.name(value["path"]),
            change=value["change"],
            what=tuple(value["what"]),
            before=FileSummary.of(value.get("before")),
            after=FileSummary.of(value.get("after")),
            diff=value.get("diff"),
            filesystem=value.get("filesystem"),
        )

    def __str__(self) -> str:
        where = self.path if self.filesystem is None else f"{self.filesystem}:{self.path}"
        # A guest chooses its names: they must not control the terminal.
        where = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in where)
        what = f" ({', '.join(self.what)})" if self.change == "modified" else ""
        return f"{self.change:8} {where}{what}"


@dataclass(frozen=True)
class Diff:
    """What a machine has changed on its disks."""

    changes: List[Change]
    #: Whether there are more changes than `limit`.
    truncated: bool
    #: How many changes were left out as noise.
    left_out: int
    #: How much could not be compared.
    unread: int

    @classmethod
    def of(cls, value: Dict[str, Any]) -> Diff:
        changes = [Change.of(change) for change in value["changes"]]
        return cls(changes, value["truncated"], value["left_out"], value["unread"])

    def __iter__(self) -> Iterator[Change]:
        return iter(self.changes)

    def __len__(self) -> int:
        return len(self.changes)

    def __str__(self) -> str:
        return "\n".join(map(str, self.changes))


@dataclass(frozen=True)
class KeptImage:
    """An image that was made of a disk of a machine."""

    path: str
    #: The image below it and its format, unless it was made with `full`.
    backing: Optional[str] = None
    backing_format: Optional[str] = None

    @classmethod
    def of(cls, value: Dict[str, Any]) -> KeptImage:
        backing = value.get("backing")
        return cls(
            path=_data.name(value["path"]),
            backing=None if backing is None else _data.name(backing),
            backing_format=value.get("backing_format"),
        )
