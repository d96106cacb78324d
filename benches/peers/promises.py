"""The performance promises of the comparison, checked against its result; promises that were
not measured are omitted."""


def promises(result):
    jobs = {job["key"]: {row["name"]: row for row in job["results"]} for job in result["jobs"]}

    def row(job, name):
        return jobs.get(job, {}).get(name, {})

    def seconds(job, name):
        return row(job, name).get("median_s")

    kept = []

    def promise(what, limit, value, is_kept):
        kept.append({"what": what, "limit": limit, "value": value, "kept": is_kept})

    def times(what, least, ours, theirs):
        """`theirs` takes at least `least` times as long as `ours`."""
        if ours and theirs:
            value = round(theirs / ours, 3)
            promise(f"{what}: speed-up", f"at least {least}", value, value >= least)

    guestfish = seconds("cat", "guestfish")
    times("cat, no template, against guestfish", 2, seconds("cat", "bivouac, no template"), guestfish)
    times("warm cat against guestfish", 50, seconds("cat", "bivouac"), guestfish)
    times("cat --warm against guestfish", 100, seconds("cat", "bivouac --warm"), guestfish)
    for job, peer in (("ls", "virt-ls"), ("df", "virt-df"), ("inspect", "virt-inspector")):
        times(f"warm {job} against {peer}", 25, seconds(job, "bivouac"), seconds(job, peer))

    times("warm diff against virt-diff", 20, seconds("diff", "bivouac"), seconds("diff", "virt-diff"))
    times("warm tar against virt-tar-out", 10, seconds("tar", "bivouac"), seconds("tar", "virt-tar-out"))
    times("mount and tar against guestmount", 10, seconds("mount", "bivouac"), seconds("mount", "guestmount"))

    times("cat of 1 GiB against guestfish", 10, seconds("large-cat", "bivouac"), seconds("large-cat", "guestfish"))
    theirs = seconds("many-cp", "guestfish tar-out")
    times("cp of 10,000 files against guestfish tar-out", 10, seconds("many-cp", "bivouac"), theirs)
    for job, what in (("large-mount", "mount and cat of 1 GiB"), ("many-mount", "mount and tar of 10,000 files")):
        times(f"{what} against guestmount", 10, seconds(job, "bivouac"), seconds(job, "guestmount"))

    vmtest = seconds("run", "vmtest, image mode")
    cold, vng = seconds("chroot", "bivouac, no template"), seconds("chroot", "virtme-ng")
    times("chroot, no template, against virtme-ng", 1, cold, vng)
    times("chroot, no template, against vmtest", 1, cold, vmtest)
    times("warm chroot against virtme-ng", 20, seconds("chroot", "bivouac"), vng)
    warm = seconds("run", "bivouac run --warm")
    times("run --warm against vmtest", 80, warm, vmtest)
    times("run --warm against a boot to the login prompt", 60, warm, seconds("run", "qemu -snapshot"))

    case = row("run", "bivouac test, a case").get("one_s")
    times("a case of test against vmtest", 100, case, vmtest)
    times("a case of test against autopkgtest-virt-qemu", 100, case, seconds("run", "autopkgtest-virt-qemu"))

    each = row("at-once-50", "bivouac").get("each_qemu_mib")
    if each:
        promise("fifty at once: memory of each QEMU, MiB", "at most 64", each, each <= 64)

    ours = [row for rows in jobs.values() for name, row in rows.items() if name.startswith("bivouac")]
    if ours:
        failed = sum(bool(row["failure"]) for row in ours)
        promise("commands of bivouac that failed", "0", failed, failed == 0)
        left = sum(len(row["left_behind"]) for row in ours)
        promise("processes and files left behind", "0", left, left == 0)
    return kept
