"""Machines: files, checkpoints, branches, changes, images, ends."""

from __future__ import annotations

import gc
import os
import threading
import time
from pathlib import Path
from typing import List

import pytest
from conftest import SMALL

import bivouac
from bivouac.machine import Step


def test_files_are_written_read_and_examined(machine: bivouac.Machine, tmp_path: Path) -> None:
    content = bytes(range(256)) * 40_000
    machine.write("/deep/er/file", content, mode=0o600, uid=1, gid=7)
    assert machine.read("/deep/er/file") == content
    assert machine.read("/deep/er/file", offset=255, limit=3) == b"\xff\0\1"
    stat = machine.stat("/deep/er/file")
    assert (stat.type, stat.mode, stat.uid, stat.gid) == ("file", 0o600, 1, 7)
    assert stat.size == len(content)
    machine.write(b"/deep/\xff", "text")
    machine.sh("ln -s er /deep/link; mkdir /deep/empty")
    entries = machine.list("/deep", recursive=True)
    found = [(entry.path, entry.type) for entry in entries]
    assert found == [
        ("/deep/empty", "directory"),
        ("/deep/er", "directory"),
        ("/deep/er/file", "file"),
        ("/deep/link", "link"),
        ("/deep/\udcff", "file"),
    ]
    assert entries[3].stat is not None
    assert entries[3].stat.link == "er"
    assert machine.read_text(entries[4].path) == "text"
    assert [(entry.path, entry.type) for entry in machine.walk("/deep")] == found
    with pytest.raises(bivouac.RequestError, match="more than 2 entries"):
        machine.list("/deep", limit=2)
    assert machine.exists("/deep/link") and not machine.exists("/deep/nothing")
    with pytest.raises(bivouac.RequestError) as caught:
        machine.read("/deep/nothing")
    assert caught.value.errno == "ENOENT"


def test_trees_are_copied_in_and_out(
    machine: bivouac.Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = tmp_path / "tree"
    (tree / "sub").mkdir(parents=True)
    (tree / "sub" / "file").write_text("content")
    monkeypatch.chdir(tmp_path)
    # A relative path is this process's, not that of bivouac.
    assert machine.put("tree", "/copied") == 3
    assert machine.get("/copied", "back") == 3
    assert (tmp_path / "back" / "sub" / "file").read_text() == "content"


def test_a_checkpoint_is_branched_and_reverted_to(machine: bivouac.Machine) -> None:
    machine.write("/state", "one")
    saved = machine.checkpoint(sync=True)
    assert saved.bytes > 1 << 20
    with saved.branch(hostname="other") as branch:
        assert branch.sh("hostname").stdout == "other\n"
        branch.sh("echo two > /state; rm /etc/passwd")
        assert machine.read("/state") == b"one"
        changes = {change.path: change for change in branch.diff(content=True)}
        assert (changes["/etc/passwd"].change, changes["/etc/passwd"].after) == ("removed", None)
        assert "+two" in str(changes["/state"].diff)
        assert str(changes["/state"]).startswith("modified /state (")
        later = branch.checkpoint()
        branch.revert(saved)
        assert branch.read("/state") == b"one"
        assert branch.exists("/etc/passwd")
    # The branch has ended, its checkpoint has not.
    with pytest.raises(bivouac.RequestError, match="was stopped"):
        branch.run(["true"])
    machine.revert(later)
    assert machine.read("/state") == b"two\n"
    later.release()
    with pytest.raises(bivouac.RequestError, match="checkpoint"):
        later.branch()


def test_branches_and_checkpoints_end_when_nothing_refers_to_them(
    machine: bivouac.Machine,
) -> None:
    saved = machine.checkpoint()
    branch = saved.branch()
    again = bivouac.Machine._branch(machine._session, branch.id)
    again._keep()
    assert again.run(["true"]).ok
    del branch
    gc.collect()
    with pytest.raises(bivouac.RequestError, match="was stopped"):
        while True:
            again.run(["sleep", "0.05"])
    name = saved.id
    del saved
    gc.collect()
    with pytest.raises(bivouac.RequestError, match="checkpoint"):
        machine._session.call("branch", checkpoint=name)


def test_the_disks_are_kept_as_an_image(vm: bivouac.Machine, tmp_path: Path) -> None:
    vm.write("/kept", "content")
    (image,) = vm.keep(tmp_path / "kept.qcow2")
    assert (image.path, image.backing_format) == (str(tmp_path / "kept.qcow2"), "raw")
    with pytest.raises(bivouac.RequestError, match="exists") as caught:
        vm.keep(tmp_path / "kept.qcow2")
    assert caught.value.hint == "force replaces it"
    with bivouac.Image(tmp_path / "kept.qcow2", options=["--trust-chain"]) as kept:
        assert kept.cat("/kept") == b"content"


def test_the_console_is_told_also_of_a_machine_that_has_ended(vm: bivouac.Machine) -> None:
    vm.sh("echo last words > /dev/ttyS0")
    assert "last words" in vm.console()
    with pytest.raises(bivouac.RequestError, match="panicked") as caught:
        vm.sh("echo c > /proc/sysrq-trigger")
    assert caught.value.kind == "machine-ended"
    assert any("sysrq triggered crash" in line for line in vm.console())


def test_a_machine_that_cannot_start_says_why() -> None:
    with pytest.raises(bivouac.SessionError, match="No such file") as caught:
        bivouac.Machine("/no/such/image")
    assert caught.value.status == 125
    with pytest.raises(bivouac.SessionError, match="--no-such-option") as caught:
        bivouac.Machine(**SMALL, options=["--no-such-option"])
    assert caught.value.status == 125
    with pytest.raises(bivouac.SessionError, match="which is no program"):
        bivouac.Machine("image", binary="no-such-program")
    with pytest.raises(bivouac.SessionError, match="not the protocol"):
        bivouac.Machine("image", binary="echo")


def test_a_session_that_ends_before_its_threads_run_says_why(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # As on a busy machine.
    start = threading.Thread.start

    def slowly(self: threading.Thread) -> None:
        start(self)
        time.sleep(0.2)

    monkeypatch.setattr(threading.Thread, "start", slowly)
    with pytest.raises(bivouac.SessionError, match="No such file"):
        bivouac.Machine("/no/such/image")


def test_a_step_that_fails_ends_the_preparation() -> None:
    steps: List[Step] = [
        "echo a > /a",
        ["test", "-e", "/a"],
        lambda machine: machine.sh("echo no >&2; exit 7"),
    ]
    with pytest.raises(bivouac.CommandFailed, match="no") as caught:
        bivouac.Machine(**SMALL, prepare=steps)
    assert caught.value.status == 7


def test_commands_of_the_preparation_are_saved_up_to_the_first_function() -> None:
    uuid = "cat /proc/sys/kernel/random/uuid"
    steps: List[Step] = [
        f"{uuid} > /saved",
        ["sh", "-c", f"{uuid} >> '/saved'"],
        lambda machine: machine.sh(f"{uuid} > /anew"),
        f"{uuid} >> /anew",
    ]
    found = []
    for _ in range(2):
        with bivouac.Machine(**SMALL, prepare=steps) as machine:
            found.append((machine.read("/saved"), machine.read("/anew")))
    (saved, anew), (saved_again, anew_again) = found
    assert saved == saved_again and len(saved.split()) == 2
    assert not set(anew.split()) & set(anew_again.split())


def test_a_saved_step_that_fails_says_so() -> None:
    with pytest.raises(bivouac.SessionError, match="(?s)no.*it ended with status 7") as caught:
        bivouac.Machine(**SMALL, prepare=["echo no >&2; exit 7"])
    assert "--tty" in (caught.value.hint or "")


def test_a_machine_that_was_closed_says_so() -> None:
    machine = bivouac.Machine(**SMALL)
    branch = machine.checkpoint().branch()
    machine.close()
    for ended in (machine, branch):
        with pytest.raises(bivouac.SessionError, match="has ended"):
            ended.run(["true"])
        ended.close()


def test_ctrl_c_of_the_terminal_is_for_python_alone(machine: bivouac.Machine) -> None:
    assert os.getpgid(machine.pid) == machine.pid != os.getpgid(0)
