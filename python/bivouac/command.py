"""A command that runs in a machine, with its streams."""

from __future__ import annotations

import contextlib
import io
import threading
from collections import deque
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any, Deque, Dict, Optional, Sequence, Tuple, Union

from . import _data
from ._connection import Session
from .errors import BivouacError, OutputLost, RequestError, TimedOut
from .results import Result

#: How many bytes of output that nobody reads are kept for each stream.
BUFFER = 64 << 20
#: How many seconds after its input was closed the end of a command is waited for.
ENDS = 1.0


class _Stream(io.RawIOBase):
    """Output that comes in pieces. Reading waits for more."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self._pieces: Deque[bytes] = deque()
        self._size = 0
        self._limit = limit
        self._lost = self._ended = False
        self._changed = threading.Condition()

    def readable(self) -> bool:
        return True

    def feed(self, data: bytes) -> None:
        with self._changed:
            if self._lost or self._size + len(data) > self._limit:
                self._lost = True
            elif data:
                self._pieces.append(data)
                self._size += len(data)
            self._changed.notify_all()

    def finish(self) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def readinto(self, buffer: Any) -> int:
        with self._changed:
            self._changed.wait_for(lambda: self._pieces or self._ended or self._lost)
            if not self._pieces:
                if self._lost:
                    raise OutputLost(
                        f"more than {self._limit} bytes of output were not read",
                        hint="read it while the command runs, or raise buffer",
                    )
                return 0
            piece = self._pieces.popleft()
            taken = min(len(piece), len(buffer))
            buffer[:taken] = piece[:taken]
            if taken < len(piece):
                self._pieces.appendleft(piece[taken:])
            self._size -= taken
            return taken


class _Streams:
    """The two streams of a command, as the connection feeds them."""

    def __init__(self, limit: int) -> None:
        self.raw = {"stdout": _Stream(limit), "stderr": _Stream(limit)}

    def feed(self, stream: str, data: Any) -> None:
        self.raw[stream].feed(_data.decode(data))

    def finish(self) -> None:
        for raw in self.raw.values():
            raw.finish()


class Command:
    """A command that was started with `Machine.start`.

    `stdout` and `stderr` are binary files that can be read while it runs. What is not read is kept, up
    to 64 MiB of each by default.
    """

    def __init__(
        self, session: Session, argv: Sequence[str], params: Dict[str, Any], buffer: int = BUFFER
    ) -> None:
        self._session = session
        self._argv = tuple(argv)
        streams = _Streams(buffer)
        self.stdout = io.BufferedReader(streams.raw["stdout"])
        self.stderr = io.BufferedReader(streams.raw["stderr"])
        self._id: int
        self._future: Future[Any]
        self._id, self._future = session.connection.request(
            "exec", {**params, "stream": True}, streams
        )

    def __enter__(self) -> Command:
        return self

    def __exit__(self, *_: object) -> None:
        if self.poll() is None:
            self.kill()
            self._future.exception()

    def poll(self) -> Optional[int]:
        """The exit status, or None while the command runs."""
        return self.wait().status if self._future.done() else None

    def wait(self, timeout: Optional[float] = None) -> Result:
        """Waits for the command's end. The output is what `stdout` and `stderr` hold, not the result.

        Raises TimedOut if that takes longer than `timeout` seconds; the command goes on.
        """
        try:
            answer = self._future.result(timeout)
        except FutureTimeout:
            if self._future.done():
                raise
            raise TimedOut(f"{self._argv[0]} still runs after {timeout} s") from None
        return result_of(self._argv, answer)

    def communicate(self, data: Optional[_data.Content] = None) -> Result:
        """Writes `data`, closes standard input if it is open, and reads all output until the end."""
        stderr: list[bytes] = []
        reader = threading.Thread(target=lambda: stderr.append(self.stderr.read()), daemon=True)
        reader.start()
        if data is not None:
            self.write(data, eof=True)
        stdout = self.stdout.read()
        reader.join()
        result = self.wait()
        return Result(
            result.argv, result.status, stdout, b"".join(stderr), result.signal, result.truncated
        )

    def write(self, data: _data.Content, *, eof: bool = False) -> None:
        """Writes to standard input, which `start` has left open with `stdin`; waits until the guest has
        taken it. `eof` closes it afterwards."""
        self._call("write", data=_data.encode(data), eof=eof)

    def close_stdin(self) -> None:
        """The command reads the end of its standard input."""
        self._call("write", eof=True)

    def send_signal(self, signal: Union[int, str]) -> None:
        """Sends a signal to the command's process group: a number, or a name such as "TERM"."""
        self._call("signal", signal=signal if isinstance(signal, str) else int(signal))

    def terminate(self) -> None:
        self.send_signal("TERM")

    def kill(self) -> None:
        """Kills the command, unless it has ended."""
        try:
            self.send_signal("KILL")
        except BivouacError:
            if not self._future.done():
                raise

    def resize(self, rows: int, columns: int) -> None:
        """Sets the size of the terminal, which `start` has made with `tty`."""
        self._call("resize", rows=rows, columns=columns)

    def _call(self, method: str, **params: Any) -> None:
        try:
            self._session.call(method, exec=self._id, **params)
        except RequestError:
            # That the command could not be started says more.
            with contextlib.suppress(FutureTimeout):
                if (why := self._future.exception(ENDS)) is not None:
                    raise why from None
            raise


def result_of(argv: Tuple[str, ...], answer: Dict[str, Any]) -> Result:
    """The result in an answer. Raises TimedOut if the command was killed for its time."""
    result = Result(
        argv=argv,
        status=answer["status"],
        stdout_bytes=_data.decode(answer.get("stdout") or ""),
        stderr_bytes=_data.decode(answer.get("stderr") or ""),
        signal=answer.get("signal"),
        truncated=answer["truncated"],
    )
    if answer["timed_out"]:
        raise TimedOut(f"{argv[0]} did not end in its time and was killed", result=result)
    return result
