"""A process of `bivouac session`: its requests, answers and notifications.

One thread writes requests, one reads answers, one reads messages for people. None of them refers to a
`Session`, so that this one ends the process when it is collected.
"""

from __future__ import annotations

import atexit
import io
import itertools
import json
import logging
import os
import queue
import subprocess
import threading
import weakref
from concurrent.futures import Future
from typing import Any, Callable, Dict, List, Mapping, Optional, Protocol, Sequence

from .errors import BivouacError, SessionError, of_answer

log = logging.getLogger("bivouac")

#: The version of the protocol that this is a client of.
PROTOCOL = 1
#: How many seconds the process has for its end, before it is killed.
PATIENCE = 10.0
#: How many characters of its messages are kept for an exception.
MESSAGES = 64 * 1024


class Sink(Protocol):
    """Takes the output of a command."""

    def feed(self, stream: str, data: Any) -> None: ...

    def finish(self) -> None: ...


class Connection:
    """The process, and who waits for what from it. May be used by any number of threads."""

    def __init__(
        self,
        argv: Sequence[str],
        env: Optional[Mapping[str, str]] = None,
        descriptors: Sequence[int] = (),
    ) -> None:
        self._ids = itertools.count(1)
        self._lock = threading.Lock()
        self._pending: Dict[int, Future[Any]] = {}
        self._sinks: Dict[int, Sink] = {}
        self._end: Optional[BivouacError] = None
        self._first_end: Optional[Dict[str, Any]] = None
        self._said: List[str] = []
        #: Lines to write; None closes the process's standard input. Finalizers put here, too: they may
        #: run at any point of any thread, so nothing else would do.
        self._outgoing: queue.SimpleQueue[Optional[bytes]] = queue.SimpleQueue()
        #: Done when the first machine is ready.
        self.ready: Future[None] = Future()
        self.pid = os.getpid()
        try:
            # Without buffers, which a fork would copy. In a session of its own, because Ctrl-C is for this
            # process, whose end is that of the other.
            self._process = subprocess.Popen(
                argv,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                env=None if env is None else dict(env),
                start_new_session=True,
                pass_fds=descriptors,
            )
        except OSError as error:
            raise SessionError(f"cannot start {argv[0]}: {error.strerror}", status=125) from error
        _connections.add(self)
        self._writer, self._logger, self._reader = (
            threading.Thread(target=target, name=f"bivouac-{name}", daemon=True)
            for name, target in [("write", self._write), ("log", self._log), ("read", self._read)]
        )
        self._writer.start()
        self._logger.start()
        # The last one: it waits for the others' end, and may be over at once.
        self._reader.start()

    @property
    def process(self) -> int:
        """The process id of bivouac."""
        return self._process.pid

    def request(
        self, method: str, params: Dict[str, Any], sink: Optional[Sink] = None
    ) -> tuple[int, Future[Any]]:
        """Sends a request; returns its id and what its answer will be."""
        number = next(self._ids)
        future: Future[Any] = Future()
        with self._lock:
            if self._end is not None:
                raise _again(self._end)
            self._pending[number] = future
            if sink is not None:
                self._sinks[number] = sink
        self._send({"jsonrpc": "2.0", "id": number, "method": method, "params": params})
        return number, future

    def notify(self, method: str, params: Dict[str, Any]) -> None:
        """Sends a request whose answer is not wanted."""
        self._send({"jsonrpc": "2.0", "method": method, "params": params})

    def call(self, method: str, params: Dict[str, Any]) -> Any:
        """The result of a request."""
        return self.request(method, params)[1].result()

    def end(self) -> None:
        """Ends the process without waiting for it."""
        self._outgoing.put(None)

    def close(self) -> Optional[int]:
        """Ends the process, and waits until it has ended; returns its exit status."""
        if self.pid != os.getpid():
            return None
        self.end()
        for insist in (None, self._process.terminate, self._process.kill):
            if insist is not None:
                insist()
            # A finalizer may run in the reader itself.
            if self._reader is threading.current_thread():
                return None
            self._reader.join(PATIENCE)
            if not self._reader.is_alive():
                break
        return self._process.returncode

    def forked(self) -> None:
        """This is a child of the process that made the connection, and must not keep it open."""
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()
        # Nothing is to be reaped here.
        self._process.returncode = 0
        self._lock = threading.Lock()
        self._end = SessionError("the session belongs to the process that was forked from")

    def _send(self, message: Dict[str, Any]) -> None:
        self._outgoing.put(json.dumps(message).encode("ascii") + b"\n")

    def _write(self) -> None:
        stdin = self._process.stdin
        assert stdin is not None
        try:
            while (line := self._outgoing.get()) is not None:
                view = memoryview(line)
                while view:
                    view = view[stdin.write(view) :]
        except (OSError, ValueError):
            # It has ended, which the reader notices.
            pass
        finally:
            stdin.close()

    def _log(self) -> None:
        stderr = self._process.stderr
        assert stderr is not None
        kept = 0
        with io.BufferedReader(stderr) as lines:  # type: ignore[type-var]
            for raw in lines:
                line = raw.decode("utf-8", "backslashreplace").rstrip("\n")
                log.info("%s", line)
                if kept < MESSAGES:
                    self._said.append(line)
                    kept += len(line)

    def _read(self) -> None:
        stdout = self._process.stdout
        assert stdout is not None
        failure: Optional[str] = None
        with io.BufferedReader(stdout, 1 << 16) as lines:  # type: ignore[type-var]
            for line in lines:
                try:
                    self._take(json.loads(line))
                except (ValueError, KeyError, TypeError, AttributeError) as error:
                    failure = f"what it writes is not the protocol: {error!r}"
                    break
        if failure is not None:
            self._process.kill()
        self._end_all(self._process.wait(), failure)

    def _take(self, message: Dict[str, Any]) -> None:
        if "method" in message:
            self._notified(message["method"], message["params"])
            return
        number = message["id"]
        if number is None:
            raise ValueError(message["error"]["message"])
        with self._lock:
            future = self._pending.pop(number, None)
            sink = self._sinks.pop(number, None)
        if sink is not None:
            sink.finish()
        if future is None:
            return
        if "error" in message:
            future.set_exception(of_answer(message["error"]))
        else:
            future.set_result(message["result"])

    def _notified(self, method: str, params: Dict[str, Any]) -> None:
        if method == "output":
            with self._lock:
                sink = self._sinks.get(params["exec"])
            if sink is not None:
                sink.feed(params["stream"], params["data"])
        elif method == "machine-ready" and not self.ready.done():
            if params["protocol"] != PROTOCOL:
                raise ValueError(f"version {params['protocol']} of it, not {PROTOCOL}")
            self.ready.set_result(None)
        elif method == "machine-ended" and params["machine"] == "m1":
            self._first_end = params

    def _end_all(self, status: int, failure: Optional[str]) -> None:
        self._logger.join(PATIENCE)
        end = self._why(status, failure)
        with self._lock:
            self._end = end
            pending, self._pending = self._pending, {}
            sinks, self._sinks = self._sinks, {}
        for sink in sinks.values():
            sink.finish()
        for future in pending.values():
            future.set_exception(_again(end))
        if not self.ready.done():
            self.ready.set_exception(_again(end))
        self._outgoing.put(None)

    def _why(self, status: int, failure: Optional[str]) -> BivouacError:
        """The exception for the end of the process."""
        first = self._first_end
        if failure is not None:
            return SessionError(failure, status=status)
        if status == 0:
            return SessionError("the session has ended", status=0)
        if first is not None and not self._said:
            return SessionError(first["message"], hint=first.get("hint"), status=status)
        return SessionError.of_messages(self._said, status)


def _again(error: BivouacError) -> BivouacError:
    """The same exception for another thread: each has a traceback of its own."""
    return SessionError(error.message, hint=error.hint, status=error.status)


class Session:
    """Holds a connection: the process ends when nothing refers to this any more."""

    def __init__(
        self,
        argv: Sequence[str],
        env: Optional[Mapping[str, str]] = None,
        descriptors: Sequence[int] = (),
    ) -> None:
        self.connection = Connection(argv, env, descriptors)
        self._finalizer = weakref.finalize(self, self.connection.end)
        try:
            self.connection.ready.result()
        except BaseException:
            self.connection.close()
            raise

    def when_unused(self, owner: object, method: str, params: Dict[str, Any]) -> Callable[[], Any]:
        """Sends a request once `owner` is collected, or the returned function is called."""
        finalizer = weakref.finalize(owner, self.connection.notify, method, params)
        # At the interpreter's end everything ends.
        finalizer.atexit = False
        return finalizer.detach

    def call(self, method: str, **params: Any) -> Any:
        """The result of a request. Parameters that are None are left out."""
        given = {name: value for name, value in params.items() if value is not None}
        return self.connection.call(method, given)

    def close(self) -> Optional[int]:
        self._finalizer.detach()
        return self.connection.close()


_connections: weakref.WeakSet[Connection] = weakref.WeakSet()


def _close_all() -> None:
    for connection in list(_connections):
        connection.end()
    for connection in list(_connections):
        connection.close()


def _forked() -> None:
    for connection in list(_connections):
        connection.forked()


atexit.register(_close_all)
os.register_at_fork(after_in_child=_forked)
