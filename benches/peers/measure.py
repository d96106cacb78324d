"""Runs commands and measures wall time, CPU time and memory, including descendants."""

import ctypes
import os
import re
import select
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass, field

PR_SET_CHILD_SUBREAPER = 36


@dataclass
class Run:
    """The result of one run. Memory is in MiB."""

    wall: float
    cpu: float
    # The largest process, as counted by the kernel; exact.
    largest: float
    # Total of all processes, shared pages counted once: the maximum of all samples.
    together: float | None
    # For each QEMU the largest sample.
    qemus: list = field(default_factory=list)
    # Why the run is not counted.
    failure: str | None = None
    # What outlived its run by more than a second.
    left: list = field(default_factory=list)


def adopt_orphans():
    """From now on a process whose parent ends is our child, so that we can count it."""
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "PR_SET_CHILD_SUBREAPER")


def descendants():
    """The ids of the processes below this one, zombies left out."""
    children = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat") as file:
                state, parent = file.read().rpartition(")")[2].split()[:2]
        except OSError:
            continue
        if state != "Z":
            children.setdefault(int(parent), []).append(int(name))
    found = list(children.get(os.getpid(), []))
    for process in found:
        found += children.get(process, [])
    return found


def name_of(process):
    try:
        with open(f"/proc/{process}/comm") as file:
            return file.read().strip()
    except OSError:
        return ""


def sample(qemus):
    """The memory of all descendants in MiB; in `qemus` each QEMU's largest so far."""
    total = 0.0
    for process in descendants():
        try:
            with open(f"/proc/{process}/smaps_rollup") as file:
                pss = int(re.search(r"^Pss:\s+(\d+)", file.read(), re.M)[1]) / 1024
        except (OSError, TypeError):
            continue
        total += pss
        if name_of(process).startswith("qemu-system"):
            qemus[process] = max(pss, qemus.get(process, 0.0))
    return total


def end(processes, grace):
    """TERM, and KILL to what is still there after `grace` seconds."""
    for number, patience in ((signal.SIGTERM, grace), (signal.SIGKILL, 5.0)):
        for process in processes:
            try:
                os.kill(process, number)
            except ProcessLookupError:
                pass
        limit = time.monotonic() + patience
        while set(processes) & set(descendants()) and time.monotonic() < limit:
            time.sleep(0.02)


def run(contender, limit, every=None, environment=None):
    """One run of a contender, as many times at once as it says.

    Ends after `limit` seconds; takes a sample of the memory `every` so many seconds.
    """
    outputs = [(tempfile.TemporaryFile(), tempfile.TemporaryFile()) for _ in range(contender.at_once)]
    qemus, together, cpu, largest, timed_out = {}, None, 0.0, 0, False
    statuses = {}
    started = time.monotonic()
    # Kept until they are waited for: what subprocess forgets, it reaps by itself.
    processes = [
        subprocess.Popen(
            contender.command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            env=environment,
            start_new_session=True,
        )
        for out, err in outputs
    ]
    children = [process.pid for process in processes]

    poll = select.poll()
    watched = {os.pidfd_open(child): child for child in children}
    for descriptor in watched:
        poll.register(descriptor, select.POLLIN)
    next_sample = started + (every or limit) / 2
    wall = None
    while watched:
        now = time.monotonic()
        if now - started > limit:
            timed_out = True
            end(descendants(), 2.0)
        elif contender.until and re.search(contender.until, text(outputs[0][0])):
            # What is waited for is there: the machine has served.
            end(descendants(), 5.0)
            statuses = dict.fromkeys(children, 0)
        if every and now >= next_sample:
            together = max(together or 0.0, sample(qemus))
            next_sample = time.monotonic() + every
        wait = min(next_sample, started + limit) - time.monotonic()
        wait = min(wait, 0.02) if contender.until else wait
        for descriptor, _ in poll.poll(max(wait, 0.0) * 1000 + 1):
            poll.unregister(descriptor)
            os.close(descriptor)
            child = watched.pop(descriptor)
            _, status, usage = os.wait4(child, 0)
            statuses.setdefault(child, os.waitstatus_to_exitcode(status))
            cpu, largest = cpu + usage.ru_utime + usage.ru_stime, max(largest, usage.ru_maxrss)
        wall = time.monotonic() - started
    for process in processes:
        process.returncode = statuses[process.pid]

    # Orphans are ours: those that end by themselves are counted, the others are told of.
    limit_of_orphans = time.monotonic() + 1.0
    while descendants() and time.monotonic() < limit_of_orphans:
        time.sleep(0.02)
    left = [f"{name_of(process)} ({process})" for process in descendants()]
    end(descendants(), 2.0)
    for _, usage in orphans():
        cpu, largest = cpu + usage.ru_utime + usage.ru_stime, max(largest, usage.ru_maxrss)

    result = Run(wall, cpu, largest / 1024, together, sorted(qemus.values()), None, left)
    if timed_out:
        result.failure = f"took more than {limit:.0f} s"
    for child, (out, err) in zip(children, outputs):
        if result.failure:
            break
        if statuses[child] != 0:
            result.failure = f"status {statuses[child]}: {last_line(text(err) or text(out))}"
        elif not re.search(contender.must, text(out), re.S):
            result.failure = f"the answer is not what was asked for: {last_line(text(out))}"
        elif contender.check:
            out.seek(0)
            if not contender.check(out):
                result.failure = f"the answer, of {os.fstat(out.fileno()).st_size} bytes, is wrong"
    return result


def orphans():
    """Reaps the children that were adopted."""
    while True:
        try:
            process, _, usage = os.wait4(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if process == 0:
            return
        yield process, usage


def text(file):
    return os.pread(file.fileno(), 1 << 24, 0).decode(errors="replace")


def last_line(output):
    """The last line that says something, without the control characters of a console."""
    lines = [re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]|[\x00-\x1f|]", "", line).strip() for line in output.splitlines()]
    return next((line[:160] for line in reversed(lines) if line), "(nothing)")
