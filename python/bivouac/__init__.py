"""Throwaway virtual machines from any disk image.

    with bivouac.Machine("debian12.qcow2", prepare=["apt-get update"]) as machine:
        print(machine.run(["uname", "-r"]).stdout)
        before = machine.checkpoint()
        machine.sh("rm -rf /etc")
        machine.revert(before)

The library starts `bivouac session` and talks to it; the protocol is bivouac-session(5). Everything
ends with the object that was made first, or with this process, however that ends.
"""

from .command import Command
from .errors import (
    BivouacError,
    CommandFailed,
    OutputLost,
    RequestError,
    SessionError,
    TimedOut,
)
from .image import Image
from .machine import Checkpoint, Machine
from .packages import Package
from .results import Change, Diff, Entry, FileSummary, KeptImage, Result, Stat

__version__ = "0.1.0"

__all__ = [
    "BivouacError",
    "Change",
    "Checkpoint",
    "Command",
    "CommandFailed",
    "Diff",
    "Entry",
    "FileSummary",
    "Image",
    "KeptImage",
    "Machine",
    "OutputLost",
    "Package",
    "RequestError",
    "Result",
    "SessionError",
    "Stat",
    "TimedOut",
]
