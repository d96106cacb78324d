"""An image with a large file and many small ones, and the jobs that read all of it."""

import hashlib
import os
import random
import shutil
import subprocess
import tarfile

from contenders import Job, add, guestmount

LARGE = 1 << 30
DIRECTORIES, EACH = 500, 20
# Sizes of the small files, in bytes; as many between 1 and 2 KiB as between 16 and 32 KiB.
SMALLEST, LARGEST = 200, 64 << 10
# What the keys of the jobs begin with.
KEYS = ("large-", "many-")
# libguestfs sees a disk that is one filesystem, and has no system to recognise.
DISK = "/dev/sda"


class Bulk:
    """A qcow2 with one ext4 in it: /large, and /many with 10,000 files in 500 directories."""

    def __init__(self, directory):
        self.image = f"{directory}/bulk.qcow2"
        self.large = self.many = self.checksum = ""

    def make(self):
        """Makes the image: the same bytes in the same files each time, none of which compress."""
        tree, raw = f"{self.image}.tree", f"{self.image}.raw"
        rng = random.Random(1)
        os.makedirs(f"{tree}/many")
        large = hashlib.sha256()
        with open(f"{tree}/large", "wb") as file:
            for _ in range(LARGE >> 20):
                block = rng.randbytes(1 << 20)
                large.update(block)
                file.write(block)
        files = {}
        for directory in range(DIRECTORIES):
            os.mkdir(f"{tree}/many/{directory:03}")
            for number in range(EACH):
                name = f"{directory:03}/{number:02}"
                content = rng.randbytes(int(SMALLEST * (LARGEST / SMALLEST) ** rng.random()))
                files[name] = hashlib.sha256(content).hexdigest()
                with open(f"{tree}/many/{name}", "wb") as file:
                    file.write(content)
        self.large, self.many = large.hexdigest(), digest(files)
        # It says that it makes a file; the report is alone on stdout.
        mke2fs = ["mke2fs", "-q", "-t", "ext4", "-d", tree, raw, "1536M"]
        subprocess.run(mke2fs, stdout=subprocess.DEVNULL, check=True)
        subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, self.image], check=True)
        shutil.rmtree(tree)
        os.remove(raw)
        self.checksum = sha256(self.image)

    def changed(self):
        return self.checksum != sha256(self.image)

    def jobs(self, bivouac):
        guestfish = ["--ro", "-a", self.image, "-m", DISK]

        cat = Job("large-cat", "Print a large file: 1 GiB")
        bivouac.inside(cat, "cat", [f"{self.image}:/large"], cold=False)
        add(cat, "virt-cat", "virt-cat", ["-a", self.image, "-m", DISK, "/large"])
        add(cat, "guestfish", "guestfish", [*guestfish, "download", "/large", "-"])

        copy = Job("many-cp", "Copy 10,000 files out as a tar stream")
        bivouac.inside(copy, "cp", [f"{self.image}:/many", "-"], cold=False)
        add(copy, "guestfish", "guestfish tar-out", [*guestfish, "tar-out", "/many", "-"])

        large = Job("large-mount", "Mount the image on the host, and print a large file: 1 GiB")
        bivouac.inside(large, "mount", [self.image, "--", "cat", "{}/large"], cold=False)
        guestmount(large, self.image, f"-m {DISK}", 'cat "$place/large"')

        many = Job("many-mount", "Mount the image on the host, and tar 10,000 files")
        line = [self.image, "--", "tar", "-C", "{}/many", "-cf", "-", "."]
        bivouac.inside(many, "mount", line, cold=False)
        guestmount(many, self.image, f"-m {DISK}", 'tar -C "$place/many" -cf - .')

        made = [cat, large, copy, many]
        for job in made:
            for contender in job.contenders:
                contender.check = self.is_large if job in (cat, large) else self.is_many
        return made

    def is_large(self, stdout):
        return hashlib.file_digest(stdout, "sha256").hexdigest() == self.large

    def is_many(self, stdout):
        """Whether all the files are in a tar stream; the order and the directories above them vary."""
        files = {}
        try:
            with tarfile.open(fileobj=stdout) as archive:
                for entry in filter(tarfile.TarInfo.isreg, archive):
                    name = "/".join(entry.name.split("/")[-2:])
                    files[name] = hashlib.file_digest(archive.extractfile(entry), "sha256").hexdigest()
        except tarfile.TarError:
            return False
        return digest(files) == self.many


def digest(files):
    """One hash for names and the hashes of their contents."""
    return hashlib.sha256(repr(sorted(files.items())).encode()).hexdigest()


def sha256(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
