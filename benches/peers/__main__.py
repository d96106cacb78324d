"""Compares bivouac with other tools that do the same job, on one image and one made here (`bulk`):

    python3 benches/peers --bivouac PROGRAM --image QCOW2 --root EXT4 --scratch DIR --out JSON

Each round runs all contenders in turn, so that noise affects all alike. Fast ones run in all
rounds, and once more, untimed, to sample their memory; slow ones run in --slow-rounds, with one
sample per second. With `--accel tcg`, the default, all run without /dev/kvm (see `without-kvm`).
"""

import argparse
import json
import os
import signal
import statistics
import sys
import time

import bulk
import contenders
import measure

# Time limit of a run, in seconds.
LIMIT = 300.0
FIRST = "first run"


def main():
    parser = argparse.ArgumentParser()
    for name in ("bivouac", "image", "root", "scratch", "out"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--slow-rounds", type=int, default=1)
    parser.add_argument("--jobs", default="")
    parser.add_argument("--thorough", action="store_true")
    parser.add_argument("--accel", choices=["tcg", "kvm"], default="tcg")
    parser.add_argument("--one-peer", action="store_true", help="the daily jobs, against one tool each")
    options = parser.parse_args()
    slow_rounds = max(1, min(options.slow_rounds, options.rounds))
    if options.accel == "tcg" and os.path.exists("/dev/kvm"):
        sys.exit("peers: /dev/kvm is there: start this by `without-kvm`")

    measure.adopt_orphans()
    bivouac = contenders.Bivouac(options.bivouac, options.accel)
    jobs = contenders.jobs(bivouac, options.image, options.root, options.thorough)
    made = bulk.Bulk(options.scratch)
    jobs += made.jobs(bivouac)
    chosen = [key for key in options.jobs.split(",") if key]
    if unknown := set(chosen) - {job.key for job in jobs}:
        sys.exit(f"peers: no job is called {', '.join(unknown)}: {', '.join(j.key for j in jobs)}")
    jobs = [job for job in jobs if not chosen or job.key in chosen]
    if options.one_peer:
        jobs = with_one_peer(jobs)
    images = [options.image]
    if any(job.key.startswith(bulk.KEYS) for job in jobs):
        made.make()
        images.append(made.image)

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        runs = measured_runs(jobs, images, options, slow_rounds)
    finally:
        # Only after an interruption is anything there.
        measure.end(measure.descendants(), 5.0)
    if made.image in images and made.changed():
        sys.exit(f"peers: {made.image} has changed: one of the tools wrote to it")
    result = {
        "rounds": options.rounds,
        "slow_rounds": slow_rounds,
        "accel": options.accel,
        "jobs": [summary(job, runs) for job in jobs],
    }
    with open(options.out, "w") as file:
        json.dump(result, file, indent=1)


def with_one_peer(jobs):
    """The jobs of every day, each with one tool besides bivouac and what that has for it."""
    jobs = [job for job in jobs if job.contenders and not job.key.startswith(("at-once", "in-a-row", *bulk.KEYS))]
    for job in jobs:
        others = [other for other in job.contenders if not other.name.startswith("bivouac")]
        job.contenders = [one for one in job.contenders if one not in others[1:]]
    return jobs


def measured_runs(jobs, images, options, slow_rounds):
    """All runs of all contenders, by the keys of their jobs and their names."""
    scratch = Scratch(options.scratch, options.accel)
    prepare(jobs, images, scratch)
    runs = {}
    for number in range(options.rounds):
        # The slow rounds are spread over all.
        slow_too = number * slow_rounds % options.rounds < slow_rounds
        for job in jobs:
            for contender in job.contenders:
                if contender.slow and not slow_too:
                    continue
                measured = runs.setdefault((job.key, contender.name), [])
                if not any(run.failure for run in measured):
                    every = 1.0 if contender.slow else None
                    measured.append(take(job, contender, scratch, every, f"round {number + 1}"))
    # The memory of what is over too soon for a sample a second.
    for job in jobs:
        for contender in job.contenders:
            measured = runs[job.key, contender.name]
            if not contender.slow and not any(run.failure for run in measured):
                extra = take(job, contender, scratch, 0.02 * contender.at_once, "memory")
                measured[0].together, measured[0].qemus = extra.together, extra.qemus
                measured[0].left += extra.left
                measured[0].failure = extra.failure
    return runs


class Scratch:
    """Where bivouac keeps what it keeps, and what stands there that was not there before."""

    def __init__(self, directory, accel):
        self.directories = {"TMPDIR": f"{directory}/tmp", "XDG_CACHE_HOME": f"{directory}/cache"}
        for path in self.directories.values():
            os.makedirs(path, exist_ok=True)
        self.libguestfs = {"LIBGUESTFS_BACKEND": "direct"}
        if accel == "tcg":
            self.libguestfs["LIBGUESTFS_BACKEND_SETTINGS"] = "force_tcg"
        self.known = None

    def environment(self, contender):
        own = self.directories if contender.name.startswith("bivouac") else self.libguestfs
        return {**os.environ, "VMTEST_NO_UI": "1", **own}

    def new(self):
        """Files that came, went or changed their size since the last call."""
        files = set()
        for top in self.directories.values():
            for path, _, names in os.walk(top):
                for name in names:
                    try:
                        size = os.stat(os.path.join(path, name), follow_symlinks=False).st_size
                    except FileNotFoundError:
                        continue
                    files.add((os.path.join(path, name), size))
        last, self.known = self.known, files
        return [] if last is None else [f"{os.path.basename(name)} ({size} bytes)"
                                        for name, size in sorted(files ^ last)]


def prepare(jobs, images, scratch):
    """What a first run alone has to do: caches of the kernel, templates, libguestfs's appliance."""
    for image in images:
        with open(image, "rb") as file:
            while file.read(1 << 24):
                pass
    names, done = set(), set()
    for job in jobs:
        for contender in job.contenders:
            once = contender.once()
            if contender.first_apart and tuple(once.command) not in done:
                take(job, once, scratch, None, FIRST)
            done.add(tuple(once.command))
            names.add(once.command[0])
    if names & {"guestfish", "virt-cat", "virt-ls", "virt-df", "virt-inspector", "virt-tar-out", "virt-diff",
                "guestmount"}:
        appliance = contenders.Contender("appliance", ["guestfish", "-a", "/dev/null", "run"])
        job = contenders.Job("prepare", "libguestfs's appliance")
        take(job, appliance, scratch, None, FIRST)
    scratch.new()


def take(job, contender, scratch, every, what):
    run = measure.run(contender, LIMIT, every, scratch.environment(contender))
    if what != FIRST and contender.name.startswith("bivouac"):
        run.left += scratch.new()
    took = run.failure or f"{run.wall:.2f} s, CPU {run.cpu:.2f} s"
    left = f"; LEFT: {', '.join(run.left)}" if run.left else ""
    print(f"bench: {what}: {job.key}: {contender.name}: {took}{left}", file=sys.stderr, flush=True)
    time.sleep(0.2)
    return run


def median(values):
    values = [value for value in values if value is not None]
    return round(statistics.median(values), 3) if values else None


def summary(job, runs):
    """A job's results as data. The first contender of bivouac is what the others relate to."""
    results = []
    for contender in job.contenders:
        measured = runs[job.key, contender.name]
        good = [run for run in measured if not run.failure]
        failure = next((run.failure for run in measured if run.failure), None)
        results.append({
            "name": contender.name,
            "note": contender.note,
            "failure": failure,
            "rounds": len(good),
            "wall_s": [round(run.wall, 3) for run in good],
            "median_s": None if failure else median([run.wall for run in good]),
            "one_s": None if failure else median([run.wall / contender.in_a_row for run in good]),
            "cpu_s": median([run.cpu for run in good]),
            "largest_process_mib": median([run.largest for run in good]),
            "together_mib": median([run.together for run in good]),
            "each_qemu_mib": median([pss for run in good for pss in run.qemus]),
            "left_behind": sorted({name for run in measured for name in run.left}),
        })
    reference = next((r["median_s"] for r in results
                      if r["name"].startswith("bivouac") and r["median_s"]), None)
    for result in results:
        known = reference and result["median_s"]
        result["times_as_long"] = round(result["median_s"] / reference, 2) if known else None
    return {"key": job.key, "title": job.title, "results": results, "left_out": job.left_out}


if __name__ == "__main__":
    main()
