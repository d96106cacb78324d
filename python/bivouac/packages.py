"""The installed packages of an image, from the databases of package managers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, Dict, Iterator, List, Tuple

from ._files import Files
from .errors import BivouacError, RequestError


@dataclass(frozen=True, order=True)
class Package:
    """An installed package."""

    name: str
    version: str
    architecture: str


def installed(image: Files) -> Iterator[Package]:
    """The packages, in the order of the database."""
    for path, read in _DATABASES:
        if image.exists(path):
            return read(image, path)
    raise BivouacError(
        "the image has no database of packages that is read here: dpkg, apk or pacman",
        hint="inspect() counts others; rpm -qa in `bivouac chroot IMAGE -- rpm -qa` lists those of RPM",
    )


def _dpkg(image: Files, path: str) -> Iterator[Package]:
    for fields in _paragraphs(image.read_text(path)):
        if fields.get("Status", "").split()[-1:] == ["installed"]:
            yield Package(fields["Package"], fields["Version"], fields["Architecture"])


def _apk(image: Files, path: str) -> Iterator[Package]:
    for fields in _paragraphs(image.read_text(path)):
        if "P" in fields:
            yield Package(fields["P"], fields.get("V", ""), fields.get("A", ""))


def _pacman(image: Files, path: str) -> Iterator[Package]:
    for entry in image.list(path):
        if entry.type != "directory":
            continue
        try:
            lines = image.read_text(f"{entry.path}/desc").splitlines()
        except RequestError as error:
            if error.errno == "ENOENT":
                continue
            raise
        values = {key.strip("%"): value for key, value in zip(lines, lines[1:])}
        yield Package(values["NAME"], values["VERSION"], values["ARCH"])


def _paragraphs(text: str) -> Iterator[Dict[str, str]]:
    """The fields of paragraphs of lines such as `Name: value`; lines that go on are left out."""
    for paragraph in text.split("\n\n"):
        fields: Dict[str, str] = {}
        for line in paragraph.splitlines():
            name, colon, value = line.partition(":")
            if colon and not line[0].isspace():
                fields[name] = value.strip()
        if fields:
            yield fields


_DATABASES: List[Tuple[str, Callable[[Files, str], Iterator[Package]]]] = [
    ("/var/lib/dpkg/status", _dpkg),
    ("/lib/apk/db/installed", _apk),
    ("/var/lib/pacman/local", _pacman),
]
