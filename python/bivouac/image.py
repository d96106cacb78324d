"""Images that are read without booting them."""

from __future__ import annotations

import json
import os
import subprocess
from contextlib import contextmanager
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple, Union

from . import _binary, _data, packages
from ._connection import Session
from ._files import Files
from .errors import SessionError
from .packages import Package
from .results import Entry


class Image(Files):
    """The files of a disk image, which is never changed and not booted.

    The image is opened with the first request: by the appliance, a small virtual machine that parses its
    filesystems. `close`, a `with` block or the end of the object ends that.

    disks       further disks of the same machine
    root        the root filesystem if the image has several, such as "/dev/vda2"
    key         the passphrase of its encrypted volumes; no other process can see it
    options     further options of bivouac-session(1), --inspect
    """

    def __init__(
        self,
        path: Union[str, os.PathLike[str]],
        *,
        disks: Sequence[Union[str, os.PathLike[str]]] = (),
        root: Optional[str] = None,
        key: Union[str, bytes, None] = None,
        options: Sequence[str] = (),
        binary: Optional[str] = None,
        env: Optional[Mapping[str, str]] = None,
    ) -> None:
        self.path = os.fspath(path)
        self._binary = _binary.find(binary)
        self._options = [f"--disk={os.fspath(disk)}" for disk in disks] + list(options)
        self._key = key.encode() if isinstance(key, str) else key
        self._root = root
        self._env = env
        self._session: Optional[Session] = None

    def __enter__(self) -> Image:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<bivouac.Image {self.path!r}>"

    def close(self) -> None:
        """Closes the image. The next request opens it again."""
        session, self._session = self._session, None
        if session is not None:
            session.close()

    def ls(self, path: _data.PathLike = "/") -> List[Entry]:
        """The entries of a directory, by name."""
        return self.list(path)

    def cat(self, path: _data.PathLike) -> bytes:
        """The content of a file."""
        return self.read(path)

    def df(self) -> List[Dict[str, Any]]:
        """The filesystems, with the members that `bivouac df --json` has."""
        return [json.loads(line) for line in self._tell("df").splitlines()]

    def inspect(self) -> Dict[str, Any]:
        """Disks, volumes and operating systems, as in `bivouac inspect --json`."""
        found: Dict[str, Any] = json.loads(self._tell("inspect"))
        return found

    def packages(self) -> List[Package]:
        """The installed packages of the operating system in the image, by name.

        Those of dpkg, RPM, apk and pacman. Raises BivouacError if there are none, or if the image has several
        systems and none was chosen by `root`.
        """
        found = json.loads(self._tell("inspect", "--packages"))
        return packages.installed(found["systems"], self._root)

    def _open(self) -> Session:
        if self._session is None:
            root = [] if self._root is None else [f"--root={self._root}"]
            argv = [self._binary, "session", "--inspect", *root, *self._options]
            with self._given_key() as (keys, descriptors):
                self._session = Session([*argv, *keys, "--", self.path], self._env, descriptors)
        return self._session

    @contextmanager
    def _given_key(self) -> Iterator[Tuple[List[str], Tuple[int, ...]]]:
        """Options that give the key, and the descriptors that they need."""
        if self._key is None:
            yield [], ()
            return
        with os.fdopen(os.memfd_create("bivouac-key"), "wb") as key:
            key.write(self._key)
            key.flush()
            key.seek(0)
            yield [f"--key=fd:{key.fileno()}"], (key.fileno(),)

    def _tell(self, *command: str) -> str:
        """What a command of bivouac prints as JSON about the image."""
        argv = [self._binary, *command, "--json", *self._options]
        with self._given_key() as (keys, descriptors):
            done = subprocess.run(
                [*argv, *keys, "--", self.path],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                env=None if self._env is None else dict(self._env),
                pass_fds=descriptors,
            )
        if done.returncode:
            raise SessionError.of_messages(
                done.stderr.decode("utf-8", "backslashreplace").splitlines(), done.returncode
            )
        return done.stdout.decode("utf-8", "backslashreplace")
