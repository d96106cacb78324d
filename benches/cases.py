"""Measures `bivouac test` against as many warm runs, one after the other; called by scripts/bench:

    python3 benches/cases.py BIVOUAC GUESTS OUT [CASES [SAMPLE]]

GUESTS contains the small guest and, if it is to be measured, Debian 12. Of the warm runs only SAMPLE
(default 20) are made, and the time of CASES (default 200) is extrapolated. OUT is JSON.
"""

import json
import os
import subprocess
import sys
import threading
import time

TINY = ["--append", "console=ttyS0 quiet no_timer_check bivouac.do=switch", "--memory", "256M", "--cpus", "1"]
MIB = 1024
# How many machines share memory when it is measured.
AT_ONCE = 10


def machines(guests):
    kernel = ["--kernel", f"{guests}/tiny-kernel", "--initrd", f"{guests}/tiny-initrd"]
    yield "small guest", [*kernel, *TINY, f"{guests}/box.raw"]
    if os.path.exists(f"{guests}/debian12.qcow2"):
        yield "Debian 12", ["--memory", "1G", f"{guests}/debian12.qcow2"]


def run(words, **options):
    started = time.monotonic()
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL, **options)
    return time.monotonic() - started


def pss(process):
    """The memory of a process in MiB, shared pages by their share."""
    try:
        with open(f"/proc/{process}/smaps_rollup") as file:
            for line in file:
                if line.startswith("Pss:"):
                    return int(line.split()[1]) / MIB
    except OSError:
        pass
    return 0


def children(process):
    try:
        with open(f"/proc/{process}/task/{process}/children") as file:
            return file.read().split()
    except OSError:
        return []


class Watch(threading.Thread):
    """Samples the memory of the machines of a process while it has AT_ONCE: each one's largest."""

    def __init__(self, process):
        super().__init__()
        self.process, self.largest = process, {}

    def run(self):
        while self.process.poll() is None:
            machines = children(self.process.pid)
            for machine in machines if len(machines) == AT_ONCE else []:
                self.largest[machine] = max(self.largest.get(machine, 0), pss(machine))
            time.sleep(0.1)


def test(words, cases):
    """The time of all cases, and the memory of the median machine, if there were AT_ONCE."""
    lines = "".join(f"{number}\n" for number in range(cases)).encode()
    started = time.monotonic()
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
        watch = Watch(process)
        watch.start()
        process.communicate(lines)
        watch.join()
    if process.returncode != 0:
        sys.exit(f"bench: {words} ended with status {process.returncode}")
    largest = sorted(watch.largest.values())
    return time.monotonic() - started, largest[len(largest) // 2] if largest else None


def main():
    bivouac, guests, out, *numbers = sys.argv[1:]
    cases, sample = [int(number) for number in numbers] + [200, 20][len(numbers):]
    os.environ["BIVOUAC_ACCEL"] = "tcg"
    times, promises = {}, []

    def promise(what, most, value):
        promises.append({"what": what, "limit": f"at most {most}", "value": value, "kept": value <= most})

    for name, machine in machines(guests):
        print(f"bench: cases on the {name}", file=sys.stderr)
        warm = [bivouac, "run", "--quiet", "--warm", *machine, "--", "true"]
        run(warm, stdin=subprocess.DEVNULL)
        each = sum(run(warm, stdin=subprocess.DEVNULL) for _ in range(sample)) / sample
        whole, _ = test([bivouac, "test", "--quiet", *machine, "--", "true"], cases)
        wait = [f"--jobs={AT_ONCE}", *machine, "--", "sh", "-c", "sleep 20 # {}"]
        _, memory = test([bivouac, "test", "--quiet", *wait], AT_ONCE)
        times[f"warm run, {name}"] = each * 1000
        times[f"case of bivouac test, {name}"] = whole / cases * 1000
        promise(f"{cases} cases, {name}, relative to warm runs", 0.6, round(whole / cases / each, 3))
        promise(f"{AT_ONCE} cases at once, {name}: memory of each machine, MiB", 64, round(memory or 0, 1))
    with open(out, "w") as file:
        file.write(json.dumps({"median_ms": times, "promises": promises}, indent=2) + "\n")


if __name__ == "__main__":
    main()
