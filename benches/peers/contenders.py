"""The jobs, each with the command of bivouac and those of the other tools."""

import glob
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field, replace

# How many cases `bivouac test` runs to have the time of one.
CASES = 50
HERE = os.path.dirname(os.path.abspath(__file__))


@dataclass
class Contender:
    """A command that does a job. Those marked `slow` are run in fewer rounds."""

    name: str
    command: list
    # Text that stdout must contain.
    must: str = ""
    # If set, whether stdout, a file, is right; called after the run, which it does not count for.
    check: Callable | None = None
    slow: bool = False
    # If set, the run ends when this text appears on stdout.
    until: str | None = None
    at_once: int = 1
    # How many times the command repeats its work.
    in_a_row: int = 1
    # The first run builds a template or fills a cache, and is not counted.
    first_apart: bool = False
    note: str = ""

    def once(self):
        """The work alone: not several at once, nor in a row."""
        command = self.command[4:] if self.in_a_row > 1 else self.command
        return replace(self, command=command, at_once=1, in_a_row=1)


@dataclass
class Job:
    key: str
    title: str
    contenders: list = field(default_factory=list)
    # A line for each contender that cannot take part.
    left_out: list = field(default_factory=list)


class Bivouac:
    """The program that is measured, and what it can do so far."""

    def __init__(self, program, accel):
        self.program, self.accel = program, accel
        self.templates = "--no-template" in self.help("chroot")
        self.commands = "--via" in self.help("run")
        self.warm = "--warm" in self.help("run")
        self.keeps_images = "--warm" in self.help("cat")

    def help(self, command):
        shown = subprocess.run([self.program, "help", command], capture_output=True, text=True)
        return shown.stdout if shown.returncode == 0 else ""

    def line(self, command, arguments, options=()):
        return [self.program, command, "--accel", self.accel, *options, *arguments]

    def inside(self, job, command, arguments, must="", cold=True, kept=True):
        """A command in the appliance: restored, restored with the image in it where `kept` asks for it,
        and booted afresh where `cold` does."""
        if not self.help(command):
            job.left_out.append(f"`bivouac {command}`: this bivouac has no such command")
            return
        if self.templates:
            self.add(job, "bivouac", self.line(command, arguments), must)
            if kept and self.keeps_images:
                self.add(job, "bivouac --warm", self.line(command, arguments, ["--warm"]), must)
        else:
            job.left_out.append("bivouac, restored: this bivouac has no templates")
        if cold or not self.templates:
            options = ["--no-template"] if self.templates else []
            self.add(job, "bivouac, no template", self.line(command, arguments, options), must)

    @staticmethod
    def add(job, name, line, must=""):
        job.contenders.append(Contender(name, line, must, first_apart=True))


def found(job, program):
    """Whether a peer is there; if not, the job says so."""
    if not shutil.which(program):
        job.left_out.append(f"{program}: not found")
    return bool(shutil.which(program))


def add(job, program, name, arguments, must="", **more):
    """A peer's command, where the peer is there."""
    if found(job, program):
        job.contenders.append(Contender(name, [program, *arguments], must, slow=True, **more))


def guestmount(job, image, options, command, must=""):
    """A command of the shell in an image that guestmount has mounted at $place."""
    script = f"""place=$(mktemp -d); trap 'guestunmount "$place"; rmdir "$place"' EXIT
        guestmount --ro -a "$1" {options} "$place" && {command}"""
    if found(job, "guestmount"):
        words = ["bash", "-c", script, "guestmount", image]
        job.contenders.append(Contender("guestmount", words, must, slow=True))


def kernel_with_9p():
    """The newest kernel here that can mount a directory of the host, as virtme-ng needs."""
    found = [
        f"/boot/vmlinuz-{path.split('/')[3]}"
        for path in glob.glob("/lib/modules/*/kernel/fs/9p/9p.ko*")
    ]
    found = [path for path in found if os.access(path, os.R_OK)]
    return max(found, key=lambda path: [int(n) for n in re.findall(r"\d+", path)], default=None)


def jobs(bivouac, image, root, thorough):
    """All jobs over `image`, a qcow2; `root` is its root partition as a file of its own."""
    made = [
        cat(bivouac, image, root),
        listing(bivouac, image, root),
        space(bivouac, image),
        inspection(bivouac, image),
        tree(bivouac, image),
        mounted(bivouac, image),
        difference(bivouac, image),
        chroot(bivouac, image),
        booted(bivouac, image, root),
    ]
    made += [at_once(bivouac, image, count, thorough) for count in (10, 50)]
    made.append(in_a_row(bivouac, image, 100))
    return made


# What a reader without a machine lacks.
NO_MACHINE = "parses the image on the host, without isolation"


def cat(bivouac, image, root):
    job = Job("cat", "Print a file: /etc/os-release")
    must = r"\nID=debian\n"
    bivouac.inside(job, "cat", [f"{image}:/etc/os-release"], must)
    add(job, "virt-cat", "virt-cat", ["-a", image, "/etc/os-release"], must)
    guestfish = ["--ro", "-a", image, "-i", "cat", "/etc/os-release"]
    add(job, "guestfish", "guestfish", guestfish, must)
    add(job, "target-fs", "dissect", ["-q", image, "cat", "/etc/os-release"], must, note=NO_MACHINE)
    add(job, "debugfs", "debugfs", ["-R", "cat /etc/os-release", root], must, note=NO_MACHINE)
    return job


def listing(bivouac, image, root):
    job = Job("ls", "List a tree: ls -lR /etc")
    must = r"os-release.*passwd|passwd.*os-release"
    bivouac.inside(job, "ls", ["-lR", f"{image}:/etc"], must, cold=False)
    add(job, "virt-ls", "virt-ls", ["-lR", "-a", image, "/etc"], must)
    add(job, "target-fs", "dissect", ["-q", image, "ls", "-lR", "/etc"], must, note=NO_MACHINE)
    return job


def tree(bivouac, image):
    job = Job("tar", "Copy a tree out as a tar stream: /usr/share")
    # In the first 16 MiB, which are looked at, of any order.
    must = "ustar"
    bivouac.inside(job, "cp", [f"{image}:/usr/share", "-"], must, cold=False)
    add(job, "virt-tar-out", "virt-tar-out", ["-a", image, "/usr/share", "-"], must)
    return job


def mounted(bivouac, image):
    job = Job("mount", "Mount the image on the host, and tar a tree: /usr/share")
    # In the first 16 MiB, which are looked at, of any order.
    must = "ustar"
    line = [image, "--", "tar", "-C", "{}/usr/share", "-cf", "-", "."]
    bivouac.inside(job, "mount", line, must, cold=False)
    guestmount(job, image, "-i", 'tar -C "$place/usr/share" -cf - .', must)
    return job


def difference(bivouac, image):
    job = Job("diff", "Compare the files of two images: one with itself")
    bivouac.inside(job, "diff", [image, image], cold=False)
    add(job, "virt-diff", "virt-diff", ["-a", image, "-A", image])
    return job


def space(bivouac, image):
    job = Job("df", "Space of every filesystem")
    bivouac.inside(job, "df", [image], r"\d%", cold=False)
    add(job, "virt-df", "virt-df", ["-a", image], r"\d%")
    return job


def inspection(bivouac, image):
    job = Job("inspect", "What the image holds")
    bivouac.inside(job, "inspect", [image], r"(?i)debian", cold=False)
    add(job, "virt-inspector", "virt-inspector", ["-a", image], "<distro>debian")
    return job


def chroot(bivouac, image):
    job = Job("chroot", "Run `true` in the image's root, not booted")
    bivouac.inside(job, "chroot", [image, "--", "true"])
    command = ["--ro", "-a", image, "-i", "command", "/bin/true"]
    add(job, "guestfish", "guestfish command", command)
    kernel = kernel_with_9p()
    if not kernel:
        job.left_out.append("virtme-ng: no kernel with 9p is installed here")
    elif found(job, "vng"):
        vng = [*(["--disable-kvm"] if bivouac.accel == "tcg" else []), "--run", kernel]
        note = "in the host's root, not the image's"
        add(job, "vng", "virtme-ng", [*vng, "--", "true"], note=note)
        shown = subprocess.run(["vng", "--help"], capture_output=True, text=True).stdout
        if "--root-fstype" in shown:
            disk = ["--root-disk", image, "--root-dev", "/dev/vda3", "--root-fstype", "ext4"]
            add(job, "vng", "virtme-ng, the image's root", [*vng, *disk, "--", "true"])
    job.left_out.append("vmtest, kernel mode: needs a kernel with virtio and 9p built in")
    return job


def booted(bivouac, image, root):
    job = Job("run", "Run `true` in the booted image")
    if bivouac.warm:
        line = bivouac.line("run", [image, "--", "true"], ["--warm"])
        bivouac.add(job, "bivouac run --warm", line)
    else:
        job.left_out.append("`bivouac run --warm`: this bivouac has no such option")
    if bivouac.help("test"):
        line = bivouac.line("test", [image, "--", "true"])
        loop = f'seq {CASES} | "$@"'
        name = "bivouac test, a case"
        # The template is that of the warm run.
        words = ["sh", "-c", loop, "cases", *line]
        job.contenders.append(Contender(name, words, slow=True, in_a_row=CASES, note=f"of {CASES}"))
    if bivouac.commands:
        cold = bivouac.line("run", [image, "--", "true"])
        job.contenders.append(Contender("bivouac run", cold, slow=True))
    else:
        job.left_out.append("`bivouac run IMAGE -- CMD`: this bivouac cannot do it")
    # A QEMU as `bivouac run` starts it. It can run no command: a login prompt has to do.
    cpus = str(min(2, os.cpu_count()))
    qemu = ["-no-user-config", "-nodefaults", "-display", "none", "-serial", "stdio"]
    qemu += ["-machine", f"q35,accel={bivouac.accel}", "-cpu", "max", "-smp", cpus, "-m", "2G", "-snapshot"]
    qemu += ["-drive", f"if=virtio,format=qcow2,file={image}"]
    to_prompt = {"until": "login: ", "note": "to the login prompt; runs nothing"}
    add(job, "qemu-system-x86_64", "qemu -snapshot", qemu, "login: ", **to_prompt)
    debvm = ["-i", root, "--", "-snapshot"]
    add(job, "debvm-run", "debvm", debvm, "login: ", **to_prompt)
    if found(job, "vmtest"):
        configuration = f"{root}.vmtest.toml"
        with open(configuration, "w") as file:
            file.write(f'[[target]]\nname = "true"\nimage = "{image}"\ncommand = "true"\n')
            file.write('[target.vm]\nextra_args = ["-snapshot"]\n')
        add(job, "vmtest", "vmtest, image mode", ["--config", configuration])
    if found(job, "autopkgtest-virt-qemu"):
        driver = [f"{HERE}/autopkgtest", image]
        job.contenders.append(Contender("autopkgtest-virt-qemu", driver, slow=True))
    return job


def at_once(bivouac, image, count, thorough):
    job = Job(f"at-once-{count}", f"{count} at once: print a file")
    must = r"\nID=debian\n"
    if count > 10 and not bivouac.templates:
        job.left_out.append("bivouac: this bivouac has no templates")
    else:
        bivouac.inside(job, "cat", [f"{image}:/etc/os-release"], must, cold=False)
    if count > 10:
        job.left_out.append("guestfish: would take many minutes")
    elif thorough:
        guestfish = ["--ro", "-a", image, "-i", "cat", "/etc/os-release"]
        add(job, "guestfish", "guestfish", guestfish, must)
    else:
        job.left_out.append("guestfish: measured with --thorough only")
    for contender in job.contenders:
        contender.at_once = count
    return job


def in_a_row(bivouac, image, count):
    job = Job("in-a-row", f"{count} in a row: print a file, nothing left behind")
    if not bivouac.templates:
        job.left_out.append("bivouac: this bivouac has no templates")
        return job
    bivouac.inside(job, "cat", [f"{image}:/etc/os-release"], r"\nID=debian\n", cold=False, kept=False)
    for contender in job.contenders:
        loop = f'for n in $(seq {count}); do "$@" || exit; done'
        contender.command = ["sh", "-c", loop, "loop", *contender.command]
        contender.in_a_row = count
        # Once is enough: it is a hundred runs already.
        contender.slow = True
    return job
