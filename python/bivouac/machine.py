"""Machines and their checkpoints."""

from __future__ import annotations

import contextlib
import os
import shlex
from typing import Any, Callable, Dict, Iterable, List, Mapping, Optional, Sequence, Tuple, Union

from . import _binary, _data
from ._connection import Session
from ._files import Files
from .command import BUFFER, Command, result_of
from .errors import BivouacError
from .results import Diff, KeptImage, Result

HostPath = Union[str, "os.PathLike[str]"]
#: A step of a preparation: a shell command, a command line, or a function of the machine.
Step = Union[str, Sequence[_data.PathLike], "Callable[[Machine], Any]"]


class Machine(Files):
    """A throwaway machine that boots an image, which is never changed.

    The machine is ready when this returns, and ends with `close`, with the `with` block, when it is
    collected or when the interpreter ends. Several threads may use it.

    prepare     what is done first, each a shell command, a command line or a function of the machine
    warm        restores the machine from a template that was saved after booting; the first time makes
                it (see bivouac-run(1), WARM STARTS). Commands of `prepare` are saved, too, up to the
                first function, and not run again; one that fails raises SessionError. All others are
                run each time; one that fails raises CommandFailed
    memory      such as "512M"
    net         "none" (the default), "user" or "internet"
    disks       further disks, each an image with options as of --disk
    options     any other options of bivouac-session(1), such as ["--bus", "scsi"]
    binary      the program; by default the variable BIVOUAC, what the package brought, or PATH
    """

    def __init__(
        self,
        image: Optional[HostPath] = None,
        *,
        prepare: Iterable[Step] = (),
        warm: bool = True,
        memory: Union[str, int, None] = None,
        cpus: Optional[int] = None,
        net: Optional[str] = None,
        publish: Sequence[str] = (),
        disks: Sequence[HostPath] = (),
        kernel: Optional[HostPath] = None,
        initrd: Optional[HostPath] = None,
        append: Optional[str] = None,
        firmware: Optional[HostPath] = None,
        hostname: Optional[str] = None,
        options: Sequence[str] = (),
        binary: Optional[str] = None,
        env: Optional[Mapping[str, str]] = None,
    ) -> None:
        argv: List[str] = [_binary.find(binary), "session"]
        steps = list(prepare)
        if warm:
            saved: List[str] = []
            for step in steps:
                if callable(step):
                    break
                saved.append(f"--prepare={_line(step)}")
            argv += ["--warm", *saved]
            steps = steps[len(saved) :]
        named = {
            "--memory": memory,
            "--cpus": cpus,
            "--net": net,
            "--kernel": kernel,
            "--initrd": initrd,
            "--append": append,
            "--firmware": firmware,
            "--hostname": hostname,
        }
        argv += [f"{name}={value}" for name, value in named.items() if value is not None]
        argv += [f"--publish={port}" for port in publish]
        argv += [f"--disk={os.fspath(disk)}" for disk in disks]
        argv += options
        if image is not None:
            argv += ["--", os.fspath(image)]
        self._session = Session(argv, env)
        self._id = "m1"
        self._is_first = True
        try:
            for step in steps:
                self._prepare(step)
        except BaseException:
            self.close()
            raise

    @classmethod
    def _branch(cls, session: Session, machine: str) -> Machine:
        branch = cls.__new__(cls)
        branch._session = session
        branch._id = machine
        branch._is_first = False
        branch._keep = session.when_unused(branch, "stop", {"machine": machine})
        return branch

    _keep: Callable[[], Any]

    def __enter__(self) -> Machine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<bivouac.Machine {self._id} of process {self.pid}>"

    @property
    def id(self) -> str:
        """The id of the machine in its session, such as "m1"."""
        return self._id

    @property
    def pid(self) -> int:
        """The id of the process that holds the machine and its branches."""
        return self._session.connection.process

    def close(self) -> None:
        """Ends the machine. The one that was made first ends all of its branches, too."""
        if self._is_first:
            self._session.close()
            return
        self._keep()
        # The session may have ended, and all of its machines with it.
        with contextlib.suppress(BivouacError):
            self.stop()

    def stop(self) -> None:
        """Ends the machine at once, but not its branches."""
        self._session.call("stop", machine=self._id)

    def run(
        self,
        argv: Sequence[_data.PathLike],
        *,
        input: Optional[_data.Content] = None,
        env: Optional[Mapping[str, str]] = None,
        cwd: Optional[_data.PathLike] = None,
        user: Optional[str] = None,
        timeout: Optional[float] = None,
        limit: Optional[int] = None,
        check: bool = False,
    ) -> Result:
        """Runs a command, and waits for its end.

        Raises TimedOut, and kills the command, if it takes longer than `timeout` seconds; CommandFailed
        with `check` if its status is not 0. The result holds up to `limit` bytes of each stream, by
        default 1 MiB, at most 16 MiB.
        """
        __tracebackhide__ = True  # In a report of pytest.
        params = self._command(argv, input, env, cwd, user)
        params.update(
            {k: v for k, v in {"timeout": timeout, "limit": limit}.items() if v is not None}
        )
        number, future = self._session.connection.request("exec", params)
        try:
            answer = future.result()
        except BaseException:
            # As Ctrl-C: nobody knows of the command any more.
            if not future.done():
                self._session.connection.notify("signal", {"exec": number, "signal": "KILL"})
            raise
        result = result_of(_words(argv), answer)
        return result.check() if check else result

    def sh(self, script: str, *, check: bool = True, **options: Any) -> Result:
        """Runs a shell script by `sh -ec`, and by default raises CommandFailed if it fails."""
        __tracebackhide__ = True  # In a report of pytest.
        return self.run(["sh", "-ec", script], check=check, **options)

    def start(
        self,
        argv: Sequence[_data.PathLike],
        *,
        stdin: bool = False,
        input: Optional[_data.Content] = None,
        tty: Optional[Tuple[int, int]] = None,
        env: Optional[Mapping[str, str]] = None,
        cwd: Optional[_data.PathLike] = None,
        user: Optional[str] = None,
        timeout: Optional[float] = None,
        buffer: int = BUFFER,
    ) -> Command:
        """Starts a command, whose output comes while it runs.

        `stdin` leaves its standard input open for `Command.write`. `tty` gives it a terminal of so many
        rows and columns. `buffer` is how many bytes of each stream are kept that are not read.
        """
        params = self._command(argv, input, env, cwd, user)
        params["open_stdin"] = stdin
        if tty is not None:
            params["tty"] = {"rows": tty[0], "columns": tty[1]}
        if timeout is not None:
            params["timeout"] = timeout
        return Command(self._session, _words(argv), params, buffer)

    def write(
        self,
        path: _data.PathLike,
        content: _data.Content,
        *,
        mode: Optional[int] = None,
        uid: Optional[int] = None,
        gid: Optional[int] = None,
    ) -> None:
        """Writes a file of the guest. By default it is root's and has the mode 0o644."""
        self._call(
            "put",
            path=_data.encode(path),
            content=_data.encode(content),
            mode=mode,
            uid=uid,
            gid=gid,
        )

    def put(self, source: HostPath, path: _data.PathLike) -> int:
        """Copies a file or tree of this host into the guest, like cp -r; returns the number of files."""
        answer = self._call("put", path=_data.encode(path), source=_data.host_path(source))
        return int(answer["files"])

    def get(self, path: _data.PathLike, target: HostPath) -> int:
        """Copies a file or tree of the guest to this host, like cp -r; returns the number of files."""
        answer = self._call("get", path=_data.encode(path), target=_data.host_path(target))
        return int(answer["files"])

    def checkpoint(self, *, sync: bool = False) -> Checkpoint:
        """Saves the machine as it is, memory and running commands included. It goes on.

        `sync` has the guest write everything to its disks before, so that `diff` of a branch shows
        nothing of what was done before.
        """
        answer = self._call("checkpoint", sync=sync)
        return Checkpoint(self._session, type(self), answer["checkpoint"], answer["bytes"])

    def revert(self, checkpoint: Checkpoint, *, hostname: Optional[str] = None) -> None:
        """Puts the machine back to a checkpoint of its session. Its running commands fail."""
        checkpoint._of(self._session)
        self._call("revert", checkpoint=checkpoint.id, hostname=hostname)

    def diff(
        self,
        *,
        content: bool = False,
        all: bool = False,
        limit: Optional[int] = None,
        timeout: Optional[float] = None,
    ) -> Diff:
        """What the machine has changed on its disks since it was started, branched, reverted or saved.

        `content` has unified diffs of text files, `all` also what every run of a system changes.
        """
        answer = self._call("diff", content=content, all=all, limit=limit, timeout=timeout)
        return Diff.of(answer)

    def keep(self, path: HostPath, *, full: bool = False, force: bool = False) -> List[KeptImage]:
        """Makes images of the machine's disks on this host, over those that it was started from; with
        `full` without need of them. `force` replaces files."""
        answer = self._call("keep", path=_data.host_path(path), full=full, force=force)
        return [KeptImage.of(image) for image in answer["images"]]

    def console(self, *, timeout: Optional[float] = None) -> List[str]:
        """The last lines on the console, without control characters. Also of a machine that has ended."""
        lines: List[str] = self._call("console", timeout=timeout)["lines"]
        return lines

    def _open(self) -> Session:
        return self._session

    def _call(self, method: str, **params: Any) -> Any:
        return self._session.call(method, machine=self._id, **params)

    def _command(
        self,
        argv: Sequence[_data.PathLike],
        input: Optional[_data.Content],
        env: Optional[Mapping[str, str]],
        cwd: Optional[_data.PathLike],
        user: Optional[str],
    ) -> Dict[str, Any]:
        """The parameters of exec that `run` and `start` have in common."""
        if isinstance(argv, (str, bytes)):
            raise TypeError("argv is a list of words; sh() runs a shell command")
        params: Dict[str, Any] = {
            "machine": self._id,
            "argv": [_data.encode(word) for word in argv],
        }
        if input is not None:
            params["stdin"] = _data.encode(input)
        if env:
            params["env"] = {name: _data.encode(value) for name, value in env.items()}
        if cwd is not None:
            params["cwd"] = _data.encode(cwd)
        if user is not None:
            params["user"] = user
        return params

    def _prepare(self, step: Step) -> None:
        if isinstance(step, str):
            self.sh(step)
        elif callable(step):
            step(self)
        else:
            self.run(step, check=True)


class Checkpoint:
    """A machine as it was. Held in memory until `release`, or until nothing refers to it."""

    def __init__(self, session: Session, kind: type[Machine], id: str, bytes: int) -> None:
        self._session = session
        self._kind = kind
        #: Its id in the session, such as "c1".
        self.id = id
        #: How much memory of this host it takes.
        self.bytes = bytes
        self._keep = session.when_unused(self, "release", {"checkpoint": id})

    def __repr__(self) -> str:
        return f"<bivouac.Checkpoint {self.id}>"

    def branch(self, *, hostname: Optional[str] = None, new_machine_id: bool = False) -> Machine:
        """Starts another machine that goes on from here. It cannot reboot."""
        answer = self._session.call(
            "branch",
            checkpoint=self.id,
            hostname=hostname,
            new_machine_id=new_machine_id or None,
        )
        return self._kind._branch(self._session, answer["machine"])

    def release(self) -> None:
        """Forgets it. Its memory is free once its branches have ended."""
        self._keep()
        self._session.call("release", checkpoint=self.id)

    def _of(self, session: Session) -> None:
        if session is not self._session:
            raise ValueError("the checkpoint is of another session")


def _line(step: Union[str, Sequence[_data.PathLike]]) -> str:
    """A step, as one line for the shell."""
    argv = ["sh", "-ec", step] if isinstance(step, str) else step
    return shlex.join(os.fsdecode(word) for word in argv)


def _words(argv: Sequence[_data.PathLike]) -> Tuple[str, ...]:
    return tuple(_data.name(_data.encode(word)) for word in argv)
