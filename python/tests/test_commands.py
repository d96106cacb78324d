"""Commands: results, streams, signals, terminals, errors."""

from __future__ import annotations

import threading
import time

import pytest

import bivouac


def test_a_result_has_status_and_output_as_text_and_bytes(machine: bivouac.Machine) -> None:
    result = machine.run(["sh", "-c", "printf 'out\\377'; echo err >&2; exit 3"])
    assert (result.status, result.signal, result.ok) == (3, None, False)
    assert (result.stdout_bytes, result.stdout) == (b"out\xff", "out\\xff")
    assert (result.stderr_bytes, result.stderr) == (b"err\n", "err\n")
    with pytest.raises(bivouac.CommandFailed, match=r"status 3\nerr") as caught:
        result.check()
    assert caught.value.status == 3
    assert caught.value.result is result


def test_input_environment_directory_and_user_are_the_commands(machine: bivouac.Machine) -> None:
    assert machine.run(["cat"], input=b"\0\xff").stdout_bytes == b"\0\xff"
    script = 'echo "$WORD"; pwd; id -u'
    told = machine.sh(script, env={"WORD": "a b"}, cwd="/tmp", user="daemon").stdout
    assert told == "a b\n/tmp\n1\n"


def test_a_command_that_cannot_be_run_says_why(machine: bivouac.Machine) -> None:
    with pytest.raises(bivouac.RequestError, match="not found in the guest") as caught:
        machine.run(["no-such-program"])
    assert caught.value.errno == "ENOENT"
    with pytest.raises(TypeError, match="sh\\(\\) runs a shell command"):
        machine.run("ls")
    # A terminal needs devpts, which this guest has not mounted. That is said, not that there is no input.
    with pytest.raises(bivouac.RequestError, match="terminal"):
        machine.start(["cat"], stdin=True, tty=(24, 80)).write("x")


def test_the_result_is_limited_and_says_so(machine: bivouac.Machine) -> None:
    result = machine.run(["head", "-c", "5000", "/dev/zero"], limit=1000)
    assert len(result.stdout_bytes) == 1000
    assert result.truncated


def test_a_timeout_kills_the_command(machine: bivouac.Machine) -> None:
    with pytest.raises(bivouac.TimedOut) as caught:
        machine.sh("exec sleep 1234", timeout=5)
    assert caught.value.status == 137
    assert machine.sh("ps | grep -c '[s]leep 1234' || :").stdout == "0\n"


def test_output_comes_while_the_command_runs(machine: bivouac.Machine) -> None:
    with machine.start(["cat"], stdin=True) as command:
        for word in (b"one\n", b"two\n"):
            command.write(word)
            assert command.stdout.readline() == word
        assert command.poll() is None
        with pytest.raises(bivouac.TimedOut, match="still runs"):
            command.wait(timeout=0.01)
        command.write(b"rest", eof=True)
        assert command.stdout.read() == b"rest"
        assert command.wait().status == 0
        with pytest.raises(bivouac.RequestError):
            command.write("more")


def test_both_streams_are_read_to_their_end(machine: bivouac.Machine) -> None:
    script = "cat; head -c 300000 /dev/zero >&2; exit 4"
    result = machine.start(["sh", "-c", script], stdin=True).communicate(b"input")
    assert (result.status, result.stdout) == (4, "input")
    assert result.stderr_bytes == bytes(300_000)


def test_output_that_nobody_reads_is_an_error_and_takes_no_more_memory(
    machine: bivouac.Machine,
) -> None:
    command = machine.start(["head", "-c", "200000", "/dev/zero"], buffer=100_000)
    assert command.wait().status == 0
    with pytest.raises(bivouac.OutputLost, match="100000 bytes"):
        command.stdout.read()
    assert command.stderr.read() == b""


def test_signals_reach_the_command(machine: bivouac.Machine) -> None:
    script = "trap 'echo caught; exit 9' TERM; echo ready; while :; do sleep 0.1; done"
    with machine.start(["sh", "-c", script]) as command:
        assert command.stdout.readline() == b"ready\n"
        command.terminate()
        assert command.stdout.read() == b"caught\n"
        assert command.wait().status == 9
    with machine.start(["sleep", "1000"]) as command:
        pass
    result = command.wait()
    assert (result.status, result.signal) == (137, 9)


def test_a_terminal_has_a_size_that_can_change(vm: bivouac.Machine) -> None:
    vm.sh("mkdir -p /dev/pts; mount -t devpts devpts /dev/pts")
    script = "stty size; read a; stty size; tty >&2"
    with vm.start(["sh", "-c", script], stdin=True, tty=(24, 80)) as command:
        assert command.stdout.readline() == b"24 80\r\n"
        command.resize(10, 20)
        command.write("\n")
        assert command.stdout.read() == b"\r\n10 20\r\n/dev/pts/0\r\n"


def test_several_threads_use_one_machine(machine: bivouac.Machine) -> None:
    told = {}

    def tell(number: int) -> None:
        result = machine.run(["sh", "-c", f"sleep 0.{number}; echo {number}"])
        told[number] = result.stdout

    threads = [threading.Thread(target=tell, args=(number,)) for number in range(8)]
    start = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # Not one after the other, which would take 2.8 s of sleeping alone, were they not at a time.
    assert told == {number: f"{number}\n" for number in range(8)}, time.monotonic() - start
