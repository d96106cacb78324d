"""Measures many idle machines at once: the time until all answer, and what each takes.

    python3 benches/scale.py BIVOUAC GUESTS OUT.json [COUNT]

COUNT machines (default: what a third of the free memory holds, at most 1000) are started by
`bivouac chroot -- sleep`, and half as many before that. All run under TCG. Memory is that of each QEMU,
shared pages by share (Pss); processor time is that of a machine which has been idle for some seconds.
"""

import json
import os
import re
import subprocess
import sys
import time

# What a machine takes, in MiB, as an upper estimate.
ESTIMATE = 80
# How long the processor time is watched, in seconds.
WATCHED = 20


def machine_of(process):
    """The QEMU below `bivouac`."""
    with open(f"/proc/{process}/task/{process}/children") as file:
        children = file.read().split()
    return next(child for child in children
                if os.path.basename(os.readlink(f"/proc/{child}/exe")).startswith("qemu"))


def pss(process):
    with open(f"/proc/{process}/smaps_rollup") as file:
        return int(re.search(r"^Pss:\s+(\d+)", file.read(), re.M)[1]) / 1024


def processor_time(machines):
    """Of each thread, in seconds."""
    times = {}
    for machine in machines:
        for thread in os.listdir(f"/proc/{machine}/task"):
            try:
                with open(f"/proc/{machine}/task/{thread}/schedstat") as file:
                    times[thread] = int(file.read().split()[0]) / 1e9
            except OSError:
                # It has ended: QEMU's threads for blocks come and go.
                continue
    return times


def free():
    with open("/proc/meminfo") as file:
        return int(re.search(r"^MemAvailable:\s+(\d+)", file.read(), re.M)[1]) / 1024


class Herd:
    """COUNT machines, which end with this object."""

    def __init__(self, bivouac, image, count):
        words = [bivouac, "chroot", "--quiet", image, "--", "sh", "-c", "echo up; exec sleep 3600"]
        before, started = free(), time.monotonic()
        self.processes = [subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
                          for _ in range(count)]
        answers = [process.stdout.readline() for process in self.processes]
        self.took = time.monotonic() - started
        if answers != [b"up\n"] * count:
            sys.exit(f"bench: {answers.count(b'up' + bytes([10]))} of {count} machines answered")
        self.each = (before - free()) / count

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.communicate()


def main():
    bivouac, guests, out, *count = sys.argv[1:]
    image = f"{guests}/debian12.qcow2"
    os.environ["BIVOUAC_ACCEL"] = "tcg"
    count = int(count[0]) if count else min(1000, int(free() / 3 / ESTIMATE))
    # Makes the template.
    subprocess.run([bivouac, "chroot", "--quiet", image, "--", "true"], check=True)
    print(f"bench: {count} machines at once", file=sys.stderr)
    with Herd(bivouac, image, count // 2) as half:
        half_took = half.took
    with Herd(bivouac, image, count) as herd:
        machines = [machine_of(process.pid) for process in herd.processes]
        memory = sorted(pss(machine) for machine in machines)[count // 2]
        time.sleep(10)
        before = processor_time(machines)
        time.sleep(WATCHED)
        used = sum(now - before.get(thread, now) for thread, now in processor_time(machines).items())
        idle = used / WATCHED / count * 100
        took, each = herd.took, herd.each
    promises = [
        {"what": f"{count} machines: time relative to {count // 2}, per machine", "limit": "at most 1.2",
         "value": round(took / count / (half_took / (count // 2)), 3)},
        {"what": f"{count} machines: memory of each, MiB (Pss)", "limit": "at most 72",
         "value": round(memory, 1)},
        {"what": "an idle machine: % of a core", "limit": "at most 0.1", "value": round(idle, 4)},
    ]
    for promise in promises:
        promise["kept"] = promise["value"] <= float(promise["limit"].split()[-1])
    times = {f"start of each of {count} machines at once": took / count * 1000}
    print(f"bench: {each:.1f} MiB of the host's memory each", file=sys.stderr)
    with open(out, "w") as file:
        file.write(json.dumps({"median_ms": times, "promises": promises}, indent=2) + "\n")


if __name__ == "__main__":
    main()
