"""Finds the program: the variable BIVOUAC, what this package was installed with, PATH."""

from __future__ import annotations

import os
import shutil
from importlib import metadata
from typing import Optional

from .errors import SessionError

#: Its value is a path or a name in PATH.
VARIABLE = "BIVOUAC"


def find(binary: Optional[str] = None) -> str:
    """The path of the program. `binary`, if given, is a path or a name in PATH."""
    wanted = binary or os.environ.get(VARIABLE)
    if wanted:
        found = shutil.which(wanted)
        if found is None:
            source = "binary" if binary else VARIABLE
            raise SessionError(f"{source} is {wanted!r}, which is no program", status=125)
        return found
    found = _installed() or shutil.which("bivouac")
    if found is None:
        raise SessionError(
            "the program bivouac is not in PATH",
            hint=f"pip install bivouac brings it; or set {VARIABLE} to its path",
            status=125,
        )
    return found


def _installed() -> Optional[str]:
    """The program that the wheel of this package brought, wherever it was installed."""
    try:
        files = metadata.distribution("bivouac").files or []
    except metadata.PackageNotFoundError:
        return None
    for file in files:
        if file.name == "bivouac" and file.parent.name == "bin":
            path = str(file.locate())
            if os.access(path, os.X_OK) and os.path.isfile(path):
                return os.path.normpath(path)
    return None
