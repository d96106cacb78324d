"""The exceptions. Each has a message, and a hint if one is known."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Dict, Iterable, List, Optional

if TYPE_CHECKING:
    from .results import Result


class BivouacError(Exception):
    """Base of all exceptions of this package."""

    def __init__(
        self, message: str, *, hint: Optional[str] = None, status: Optional[int] = None
    ) -> None:
        super().__init__(message)
        #: What failed and why.
        self.message = message
        #: The suggested fix, if one is known.
        self.hint = hint
        #: The exit status of bivouac or of the guest's command, if one has ended.
        self.status = status

    def __str__(self) -> str:
        return self.message if self.hint is None else f"{self.message}\nhint: {self.hint}"


class SessionError(BivouacError):
    """bivouac could not be started, or has ended. `status` is its exit status, as in bivouac(1)."""

    @classmethod
    def of_messages(cls, lines: Iterable[str], status: int) -> SessionError:
        """The exception for what it has printed on standard error."""
        # As a shell has it.
        status = 128 - status if status < 0 else status
        prefix = "bivouac: error: "
        hints: List[str] = []
        said: List[str] = []
        for line in lines:
            text = line[len(prefix) :] if line.startswith(prefix) else line
            if text.strip().startswith("hint: "):
                hints.append(text.strip()[len("hint: ") :])
            else:
                said.append(text)
        message = "\n".join(said).strip() or f"bivouac has ended with status {status}"
        return cls(message, hint="\n".join(hints) or None, status=status)


class RequestError(BivouacError):
    """A request failed: the guest's system refused it, the machine has ended, and so on."""

    def __init__(
        self,
        message: str,
        *,
        hint: Optional[str] = None,
        kind: str = "failed",
        errno: Optional[str] = None,
    ) -> None:
        super().__init__(message, hint=hint)
        #: The kind of error, such as "refused" or "machine-ended"; see bivouac-session(5).
        self.kind = kind
        #: The error of the guest's system by its name, such as "ENOENT".
        self.errno = errno


class TimedOut(RequestError):
    """The timeout of a command or request ran out. A command has been killed."""

    def __init__(
        self, message: str, *, hint: Optional[str] = None, result: Optional[Result] = None
    ) -> None:
        super().__init__(message, hint=hint, kind="timed-out")
        #: What the command had written, and how it was ended.
        self.result = result
        self.status = None if result is None else result.status


class CommandFailed(BivouacError):
    """A command that was run with `check` ended with another status than 0."""

    def __init__(self, message: str, result: Result) -> None:
        super().__init__(message, status=result.status)
        #: Status and output of the command.
        self.result = result


class OutputLost(BivouacError):
    """More output of a command was left unread than is kept."""


def of_answer(error: Dict[str, Any]) -> RequestError:
    """The exception for the error object of an answer."""
    data = error.get("data") or {}
    kind, hint = str(data.get("kind", "failed")), data.get("hint")
    message = str(error.get("message", "the request failed"))
    if kind == "timed-out":
        return TimedOut(message, hint=hint)
    return RequestError(message, hint=hint, kind=kind, errno=data.get("errno"))
