"""The small guests that the tests boot: BIVOUAC_TEST_GUESTS names their directory."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Dict, Iterator, List

import pytest

import bivouac

pytest_plugins = ["pytester"]

GUESTS = Path(os.environ["BIVOUAC_TEST_GUESTS"])

#: Options of a machine that boots in a second: the box with a kernel of its own.
SMALL: Dict[str, Any] = {
    "image": GUESTS / "box.raw",
    "kernel": GUESTS / "tiny-kernel",
    "initrd": GUESTS / "tiny-initrd",
    "append": "console=ttyS0 quiet no_timer_check bivouac.do=switch",
    "memory": "256M",
    "cpus": 1,
}


@pytest.fixture(scope="session")
def bivouac_options() -> Dict[str, Any]:
    """What `vm` is made of."""
    return {**SMALL, "prepare": ["echo prepared > /prepared", ["mkdir", "/tests"]]}


@pytest.fixture(scope="module")
def machine() -> Iterator[bivouac.Machine]:
    """A machine that the tests of a file share."""
    with bivouac.Machine(**SMALL) as machine:
        yield machine


@pytest.fixture(scope="session")
def small_arguments() -> List[str]:
    """SMALL as options of `bivouac session` and of the plugin."""
    options = [
        f"--{name}={SMALL[name]}" for name in ("kernel", "initrd", "append", "memory", "cpus")
    ]
    return [*options, str(SMALL["image"])]
