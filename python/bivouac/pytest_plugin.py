"""The pytest plugin: the fixture `vm`, a machine of its own for each test.

Every `vm` is a branch of one machine, which is started once in each process of pytest (with pytest-xdist:
in each worker). It is prepared once: the outcome is saved (see `Machine`). What a test does to its `vm` is gone afterwards. The report of a
test that fails has the end of the console and what the test has changed on the disks.

Options are on the command line (`pytest --help`, bivouac) or in the ini file. Override the fixture
`bivouac_machine` for what they cannot say.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any, Dict, Generator, Iterator, List, Optional, cast

import pytest

from .errors import BivouacError
from .machine import Checkpoint, Machine

if TYPE_CHECKING:
    from collections.abc import Sequence

#: How many changes a report shows.
CHANGES = 100
#: How many seconds a comparison may take.
PATIENCE = 120.0

_OPTIONS = [
    ("image", "IMAGE", None, "the disk image that the machines of the fixture `vm` boot"),
    ("prepare", "CMD", "linelist", "a shell command that prepares the machine once (repeatable)"),
    ("memory", "SIZE", None, "memory of each machine"),
    ("cpus", "N", None, "virtual CPUs of each machine"),
    ("net", "NET", None, "network of the machines: none, user or internet"),
    ("options", "ARGS", "args", "further options of `bivouac session`, such as '--bus scsi'"),
]


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("bivouac", "bivouac: throwaway virtual machines")
    for name, value, kind, what in _OPTIONS:
        group.addoption(
            f"--bivouac-{name}",
            action="store" if kind is None else "append",
            metavar=value,
            default=None,
            help=what,
        )
        parser.addini(f"bivouac_{name}", what, type=cast(Any, kind or "string"), default=None)
    group.addoption(
        "--bivouac-cold",
        action="store_true",
        help="boot the machine, instead of restoring one that has booted before",
    )


def _one(config: pytest.Config, name: str) -> Optional[str]:
    """An option that is given once: on the command line, else in the ini file."""
    value = config.getoption(f"bivouac_{name}")
    if value is None:
        value = config.getini(f"bivouac_{name}")
    # An option of the ini file that is missing is "", None or [], as the version of pytest has it.
    return str(value) if value else None


def _many(config: pytest.Config, name: str) -> List[str]:
    given = cast("Optional[List[str]]", config.getoption(f"bivouac_{name}"))
    if given is None:
        return list(config.getini(f"bivouac_{name}") or [])
    # In the ini file pytest has split them.
    return [word for line in given for word in shlex.split(line)] if name == "options" else given


@pytest.fixture(scope="session")
def bivouac_options(pytestconfig: pytest.Config) -> Dict[str, Any]:
    """The arguments of `bivouac.Machine`, from the command line and the ini file."""
    image = _one(pytestconfig, "image")
    if image is None:
        pytest.fail(
            "no image for the fixture vm: give --bivouac-image, or bivouac_image in the ini file",
            pytrace=False,
        )
    cpus = _one(pytestconfig, "cpus")
    return {
        "image": image,
        "prepare": _many(pytestconfig, "prepare"),
        "memory": _one(pytestconfig, "memory"),
        "cpus": None if cpus is None else int(cpus),
        "net": _one(pytestconfig, "net"),
        "options": _many(pytestconfig, "options"),
        "warm": not pytestconfig.getoption("bivouac_cold"),
    }


@pytest.fixture(scope="session")
def bivouac_machine(bivouac_options: Dict[str, Any]) -> Iterator[Machine]:
    """The machine that all tests of this process branch from."""
    with Machine(**bivouac_options) as machine:
        yield machine


@pytest.fixture(scope="session")
def bivouac_checkpoint(bivouac_machine: Machine) -> Checkpoint:
    """The prepared machine, as each test finds it."""
    # Written to disk, so that it does not count as a change of the test.
    return bivouac_machine.checkpoint(sync=True)


@pytest.fixture
def vm(bivouac_checkpoint: Checkpoint) -> Iterator[Machine]:
    """A machine for this test alone: a branch of the prepared one."""
    with bivouac_checkpoint.branch() as machine:
        yield machine


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, Any, None]:
    report: pytest.TestReport = (yield).get_result()
    if not report.failed or call.when not in ("setup", "call"):
        return
    # Also those that the test has branched itself, if it got them as fixtures.
    for name, machine in getattr(item, "funcargs", {}).items():
        if isinstance(machine, Machine) and name != "bivouac_machine":
            report.sections += [
                (f"{name}: the end of the console", _console(machine)),
                (f"{name}: changes on its disks", _changes(machine)),
            ]


def _console(machine: Machine) -> str:
    try:
        return "\n".join(machine.console(timeout=PATIENCE)) or "nothing was printed"
    except BivouacError as error:
        return f"not known: {error}"


def _changes(machine: Machine) -> str:
    try:
        diff = machine.diff(limit=CHANGES, timeout=PATIENCE)
    except BivouacError as error:
        return f"not known: {error}"
    lines: Sequence[str] = [str(change) for change in diff]
    more = ["and more"] if diff.truncated else []
    return "\n".join([*lines, *more]) or "none"
