"""Images that are read without booting them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Iterator

import pytest
from conftest import GUESTS

import bivouac


@pytest.fixture(scope="module")
def image() -> Iterator[bivouac.Image]:
    with bivouac.Image(GUESTS / "box.raw") as image:
        yield image


def test_files_are_listed_read_and_examined(image: bivouac.Image) -> None:
    names = [entry.name for entry in image.ls("/etc")]
    assert names == sorted(names)
    assert "os-release" in names
    assert image.cat("/etc/hostname") == b"box\n"
    assert image.stat("/sbin/init", follow=False).link == "../bin/busybox"
    assert image.stat("/sbin/init").type == "file"
    below = [entry.path for entry in image.walk("/")]
    assert below == sorted(below, key=lambda path: path.split("/"))
    assert "/bin/busybox" in below


def test_filesystems_and_systems_are_told(image: bivouac.Image) -> None:
    (filesystem,) = image.df()
    assert (filesystem["type"], filesystem["label"]) == ("ext4", "box")
    (system,) = image.inspect()["systems"]
    assert system["name"] == "A box of one program"


def test_an_encrypted_image_is_opened_by_its_key(tmp_path: Path) -> None:
    encrypted = tmp_path / "encrypted.img"
    secret = "secret,id=key,data=correct-horse"
    # With a faster hash qemu-img may fail to measure its speed.
    luks = "key-secret=key,iter-time=10,hash-alg=sha512"
    options = ["-O", "luks", "-o", luks, "--object", secret]
    source = os.fspath(GUESTS / "box.raw")
    subprocess.run(["qemu-img", "convert", *options, source, encrypted], check=True)
    with bivouac.Image(encrypted, key="correct-horse") as image:
        assert image.cat("/etc/hostname") == b"box\n"
        (system,) = image.inspect()["systems"]
        assert system["name"] == "A box of one program"
    with pytest.raises(bivouac.SessionError, match="another passphrase"):
        bivouac.Image(encrypted, key=b"wrong").ls()


def test_packages_are_those_of_the_packages_database() -> None:
    with bivouac.Image(GUESTS / "debian12.qcow2") as image:
        packages = {package.name: package for package in image.packages()}
        counted = image.inspect()["systems"][0]["packages"]["installed"]
    assert packages["base-files"].version.startswith("12")
    assert packages["base-files"].architecture == "amd64"
    assert packages["libudev1"].source == "systemd"
    assert len(packages) == counted


def test_an_image_without_packages_says_so(image: bivouac.Image) -> None:
    with pytest.raises(bivouac.BivouacError, match="no database of packages"):
        image.packages()


def test_a_root_that_the_image_lacks_is_refused() -> None:
    image = bivouac.Image(GUESTS / "box.raw", root="/dev/vdz")
    with pytest.raises(bivouac.BivouacError, match="/dev/vda1"):
        image.packages()


def test_an_image_that_cannot_be_read_says_why() -> None:
    image = bivouac.Image("/no/such/image")
    for ask in (image.ls, image.df, image.inspect):
        with pytest.raises(bivouac.SessionError, match="No such file") as caught:
            ask()
        assert caught.value.status == 125


def test_an_image_is_opened_again_after_its_end(image: bivouac.Image) -> None:
    image.close()
    image.close()
    assert image.cat("/etc/hostname") == b"box\n"
    # It was killed: that is told once, and then it is there again.
    session = image._open()
    os.kill(session.connection.process, 9)
    with pytest.raises(bivouac.SessionError) as caught:
        image.cat("/etc/hostname")
    assert caught.value.status == 137
    image.close()
    assert image.cat("/etc/hostname") == b"box\n"
