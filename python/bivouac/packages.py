"""The installed packages of an image, as `bivouac inspect --packages` finds them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Dict, List, Optional

from .errors import BivouacError


@dataclass(frozen=True, order=True)
class Package:
    """An installed package."""

    name: str
    version: str
    architecture: str
    #: The source package, and who made it, if the database says so.
    source: Optional[str] = field(default=None, compare=False)
    vendor: Optional[str] = field(default=None, compare=False)


def installed(systems: List[Dict[str, Any]], root: Optional[str]) -> List[Package]:
    """The packages of the system on `root`, a device or a number, or of the only one, by name."""
    numbered = enumerate(systems, 1)
    wanted = [system for number, system in numbered if root in (None, str(number), system["root"])]
    if len(wanted) != 1:
        found = ", ".join(system["root"] for system in systems) or "none"
        raise BivouacError(
            f"one operating system is needed, and the image has: {found}", hint="Image(path, root=...)"
        )
    packages = wanted[0]["packages"]
    if packages is None:
        raise BivouacError("the image has no database of packages of dpkg, RPM, apk or pacman")
    names = ("name", "version", "architecture", "source", "vendor")
    return sorted(Package(*(package[name] for name in names)) for package in packages["list"])
