"""Bytes in the JSON of the protocol: text where they are UTF-8, else base64."""

from __future__ import annotations

import base64
import os
from typing import Any, Dict, Union

#: What names a file or is a part of a command line.
PathLike = Union[str, bytes, "os.PathLike[str]", "os.PathLike[bytes]"]
#: What can be written to a file or stream. Text is written as UTF-8.
Content = Union[str, bytes, bytearray, memoryview]


def encode(value: Union[Content, PathLike]) -> Union[str, Dict[str, str]]:
    """Bytes, text or a path for a request."""
    if isinstance(value, (bytearray, memoryview)):
        raw = bytes(value)
    else:
        # Names that are no UTF-8 have surrogates, as os.fsdecode makes them.
        raw = os.fsencode(value) if not isinstance(value, str) else _utf8(value)
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(raw).decode("ascii")}


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def decode(value: Any) -> bytes:
    """The bytes of a value of an answer."""
    if isinstance(value, str):
        return value.encode("utf-8")
    return base64.b64decode(value["base64"])


def name(value: Any) -> str:
    """A name of the guest. Bytes that are no UTF-8 are surrogates, as in os.fsdecode."""
    return decode(value).decode("utf-8", "surrogateescape")


def host_path(path: Union[str, os.PathLike[str]]) -> str:
    """A path of this host, absolute: bivouac may have another working directory."""
    return os.path.abspath(os.fspath(path))
