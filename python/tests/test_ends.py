"""Whatever ends a Python program, its machines end with it."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import List

import pytest
from conftest import SMALL

import bivouac

PROGRAM = """
import os, signal, sys
import bivouac
machine = bivouac.Machine(**{small!r})
branch = machine.checkpoint().branch()
command = branch.start(["sh", "-c", "while :; do echo x > /f; sync; done"])
print(machine.pid, flush=True)
"""

SMALL_TEXT = {name: value if name == "cpus" else str(value) for name, value in SMALL.items()}


def program(end: str) -> str:
    return PROGRAM.format(small=SMALL_TEXT) + end


def children(pid: int) -> List[int]:
    path = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in path.read_text().split()] if path.exists() else []


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def gone(processes: List[int]) -> None:
    """Waits for the end of processes, as long as it takes on a busy machine."""
    for _ in range(1200):
        if not any(map(alive, processes)):
            return
        time.sleep(0.05)
    raise AssertionError(f"of {processes} some are left")


ENDS = {
    "the end of the program": ("", 0),
    "an exception": ("raise SystemExit(3)", 3),
    "collected": ("del command, branch, machine; import gc; gc.collect(); sys.stdin.read()", None),
    "os._exit": ("os._exit(4)", 4),
    "killed": ("sys.stdin.read()", -signal.SIGKILL),
    "a fork that lives on": (
        "if os.fork() == 0: sys.stdin.read(); os._exit(0)\nos.kill(os.getpid(), signal.SIGKILL)",
        -signal.SIGKILL,
    ),
}


@pytest.mark.parametrize("way", ENDS)
def test_nothing_is_left_by(way: str, tmp_path: Path) -> None:
    end, status = ENDS[way]
    python = subprocess.Popen(
        [sys.executable, "-c", program(end)],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert python.stdout is not None
        launcher = int(python.stdout.readline())
        if way == "killed":
            machines = children(launcher)
            assert len(machines) == 2
            python.kill()
        else:
            machines = children(launcher)
        if way != "collected":
            assert python.wait(60) == status
        gone([launcher, *machines])
        assert list(tmp_path.iterdir()) == []
    finally:
        python.kill()
        python.communicate()


def test_nothing_is_left_at_whatever_instant_it_is_killed(tmp_path: Path) -> None:
    seed = int(os.environ.get("BIVOUAC_TEST_SEED", time.time_ns() % 1_000_000))
    print(f"BIVOUAC_TEST_SEED={seed}")
    random.seed(seed)
    for _ in range(6):
        python = subprocess.Popen(
            [sys.executable, "-c", program("sys.stdin.read()")],
            env={**os.environ, "TMPDIR": str(tmp_path)},
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
        )
        time.sleep(random.uniform(0, 1.5))
        started = children(python.pid)
        started += [machine for child in started for machine in children(child)]
        python.kill()
        python.wait()
        gone(started)
        assert list(tmp_path.iterdir()) == []


def test_a_fork_does_not_use_the_session_of_its_parent() -> None:
    with bivouac.Machine(**SMALL) as machine:
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                machine.run(["true"])
            except bivouac.SessionError as error:
                os.write(write, error.message.encode())
            finally:
                os._exit(0)
        os.close(write)
        with os.fdopen(read) as told:
            assert "forked" in told.read()
        os.waitpid(child, 0)
        assert machine.run(["true"]).ok
