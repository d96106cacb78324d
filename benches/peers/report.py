"""Combines the results of a benchmark's parts: as JSON, as Markdown and as a plot.

    python3 benches/peers/report.py MACHINE ROUNDS WORK OUT

WORK contains some of launcher.json, branches.json, cases.json, scale.json and peers.json; last.json, last.md and last.svg are written
to OUT. The Markdown is also printed. Exits with 1 if a promise is not kept.
"""

import json
import math
import os
import sys
from html import escape

from promises import promises

# Dimensions of the plot in pixels.
WIDTH, LABELS, VALUES, ROW, TITLE = 900, 230, 170, 20, 34


def number(value):
    """Three significant digits."""
    if value is None:
        return "-"
    digits = max(0, 2 - math.floor(math.log10(abs(value)))) if value else 0
    return f"{value:.{min(digits, 3)}f}"


def markdown(result):
    lines = [f"Medians of {result['rounds']} rounds on {result['machine']}.", ""]
    lines += ["| promise | limit | measured | kept |", "|---|---|---|---|"]
    for promise in result["promises"]:
        kept = "yes" if promise["kept"] else "NO"
        lines.append(f"| {promise['what']} | {promise['limit']} | {number(promise['value'])} | {kept} |")
    if result.get("median_ms"):
        lines += ["", "| measured | median, ms |", "|---|---|"]
        lines += [f"| {name} | {number(ms)} |" for name, ms in result["median_ms"].items()]
    if result.get("peers"):
        lines += peers(result["peers"])
    return "\n".join(lines) + "\n"


def peers(result):
    lines = ["", "## Against other tools", ""]
    lines.append(
        "All tools use the same image: Debian 12 as a qcow2, or one made for the jobs with 1 GiB or 10,000 files, an "
        f"ext4 in a qcow2 that does not compress. {result['accel'].upper()}, with only the options that the job needs. "
        f"{result['rounds']} rounds, with all tools in turn; {result['slow_rounds']} for slow "
        "ones. Wall time is the median, with minimum and maximum. CPU is user and system time including "
        "children. Memory is that of the largest process, and the total of all processes (shared pages "
        "counted once). The last column is the time relative to the first line of bivouac."
    )
    for job in result["jobs"]:
        lines += ["", f"### {job['title']}", ""]
        if job["results"]:
            lines.append("| | runs | wall, s | min..max | CPU, s | largest, MiB | total, MiB | relative |")
            lines.append("|---|---|---|---|---|---|---|---|")
        notes = []
        for row in job["results"]:
            notes += [f"{row['name']}: {row['note']}"] if row["note"] else []
            if row["failure"]:
                notes.append(f"{row['name']}: failed: `{row['failure'].replace('`', '')}`")
                continue
            spread = f"{number(min(row['wall_s']))}..{number(max(row['wall_s']))}"
            cells = [row["name"], row["rounds"], number(row["median_s"]), spread, number(row["cpu_s"])]
            cells += [number(row[key]) for key in ("largest_process_mib", "together_mib", "times_as_long")]
            lines.append("| " + " | ".join(map(str, cells)) + " |")
            if row["one_s"] != row["median_s"]:
                notes.append(f"{row['name']}: {number(row['one_s'])} s each")
            if row["left_behind"]:
                notes.append(f"{row['name']}: left behind: {', '.join(row['left_behind'])}")
        notes += job["left_out"]
        if notes:
            lines += [""] + [f"- {note}" for note in notes]
    return lines


def plot(result):
    """Bars on a logarithmic scale, since times differ by factors of a hundred."""
    jobs = [
        (job["title"], [row for row in job["results"] if row["median_s"]])
        for job in (result.get("peers") or {"jobs": []})["jobs"]
    ]
    jobs = [(title, rows) for title, rows in jobs if rows]
    times = [row["median_s"] for _, rows in jobs for row in rows] or [1.0]
    low, high = math.floor(math.log10(min(times))), math.ceil(math.log10(max(times)))
    low = min(low, high - 1)
    scale = (WIDTH - LABELS - VALUES) / (high - low)

    def x(seconds):
        return LABELS + (math.log10(seconds) - low) * scale

    height = sum(TITLE + ROW * len(rows) for _, rows in jobs) + 70
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
        f'viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
    ]
    for power in range(low, high + 1):
        at = x(10.0**power)
        out.append(f'<line x1="{at:.1f}" y1="10" x2="{at:.1f}" y2="{height - 50}" stroke="#ddd"/>')
        out.append(
            f'<text x="{at:.1f}" y="{height - 34}" text-anchor="middle" fill="#555">{10.0**power:g} s</text>'
        )
    y = 0
    for title, rows in jobs:
        y += TITLE
        out.append(f'<text x="10" y="{y - 8}" font-weight="bold">{escape(title)}</text>')
        for row in rows:
            ours = row["name"].startswith("bivouac")
            end = max(x(row["median_s"]), LABELS + 1)
            said = f"{number(row['median_s'])} s"
            if row["times_as_long"] and row["times_as_long"] != 1:
                said += f", {number(row['times_as_long'])} times"
            out.append(
                f'<text x="{LABELS - 8}" y="{y + 12}" text-anchor="end">{escape(row["name"])}</text>'
                f'<rect x="{LABELS}" y="{y + 1}" width="{end - LABELS:.1f}" height="{ROW - 6}" '
                f'fill="{"#0b7a75" if ours else "#b9b4a8"}"/>'
                f'<text x="{end + 6:.1f}" y="{y + 12}">{said}</text>'
            )
            y += ROW
    out.append(
        f'<text x="10" y="{height - 12}" fill="#555">Median wall time, logarithmic. '
        f"{escape(result['machine'])}</text></svg>"
    )
    return "\n".join(out) + "\n"


def main():
    machine, rounds, work, out = sys.argv[1:]
    result = {"machine": machine, "rounds": int(rounds), "promises": []}
    for part in ("launcher", "branches", "cases", "scale"):
        if os.path.exists(f"{work}/{part}.json"):
            with open(f"{work}/{part}.json") as file:
                measured = json.load(file)
            result["promises"] += measured["promises"]
            result.setdefault("median_ms", {}).update(measured["median_ms"])
    if os.path.exists(f"{work}/peers.json"):
        with open(f"{work}/peers.json") as file:
            result["peers"] = json.load(file)
        result["promises"] += promises(result["peers"])
    with open(f"{out}/last.json", "w") as file:
        file.write(json.dumps(result, indent=2) + "\n")
    with open(f"{out}/last.md", "w") as file:
        file.write(markdown(result))
    if "peers" in result:
        with open(f"{out}/last.svg", "w") as file:
            file.write(plot(result))
    print(markdown(result), end="")
    sys.exit(not all(promise["kept"] for promise in result["promises"]))


if __name__ == "__main__":
    main()
