"""How a command ends: with an exit status and, if it failed, one line; never with a traceback."""

from __future__ import annotations

import _thread
import contextlib
import functools
import io
import os
import re
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, NoReturn, TypeVar

import click
from click.exceptions import NoArgsIsHelpError

from adagrad._text import printable
from adagrad.commands import streams
from adagrad.commands.requirements import require
from adagrad.commands.terminal import echo

__all__ = ["Commands", "reads_logs"]

IN_PYTHON = re.compile(r"""^X\[('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")\](?:(\[\d+\]) =)?""")
"""How an encoder names a column, and a value of it, in its errors."""

F = TypeVar("F", bound=Callable[..., Any])

FAILED = 1
INTERRUPTED = 128 + signal.SIGINT
LATER = 0.01  # seconds

# Packages whose exceptions tell about files, data or the cluster, whatever their type.
EXPLAINED = ("adagrad", "pyarrow", "ray", "safetensors", "safetensors_rust")


class Commands(click.Group):
    """A group of commands, each of which ends with an exit status.

    The status is 0 for success, 1 for a failure, 2 for a mistake in the usage, and 128 plus the
    number of a signal that ended it. ``ADAGRAD_TRACEBACK=1`` shows where an error was raised.
    """

    def main(self, *arguments: Any, standalone_mode: bool = True, **options: Any) -> Any:
        """Run a command and exit."""
        run = functools.partial(super().main, *arguments, standalone_mode=False, **options)
        if not standalone_mode:
            return run()
        with _ended_by_signals(), _no_signal_lost(), warnings.catch_warnings():
            warnings.showwarning = _show_warning
            status = _status(run)
        failed = streams.flush()
        if failed is not None and not status:
            status = _report(failed)
            streams.flush()
        sys.exit(status)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command. An EOFError means that a file ends early, not the Ctrl-D of a user."""
        try:
            return super().invoke(ctx)
        except EOFError as error:
            raise ValueError(str(error) or "a file ends too early") from error


def reads_logs(command: F) -> F:
    """Let a command exit with the name of the extra to install, if it lacks packages for logs."""

    @functools.wraps(command)
    def checked(*arguments: Any, **options: Any) -> Any:
        require(
            f"adagrad {click.get_current_context().info_name}",
            *("rich", "sklearn", "pyarrow", "safetensors"),
        )
        import pyarrow

        # Its handler starts a thread, and ends the process if the system gives no more threads.
        pyarrow.enable_signal_handlers(False)
        return command(*arguments, **options)

    return checked  # type: ignore[return-value]


def _status(run: Callable[[], Any]) -> Any:
    """Return the exit status of a command, after its line on stderr if it failed."""
    try:
        found = run()
        return found if isinstance(found, int) else 0
    except SystemExit as error:
        return error.code
    except (click.Abort, KeyboardInterrupt) as error:
        _print_traceback(error)
        _say("interrupted")
        return INTERRUPTED
    except click.UsageError as error:
        _say(_usage(error))
        return error.exit_code
    except Exception as error:
        return _report(error)


def _usage(error: click.UsageError) -> str:
    """Return the help that was asked for by no arguments, or the line of a mistake."""
    if isinstance(error, NoArgsIsHelpError):
        shown = io.StringIO()
        error.show(shown)
        return shown.getvalue().rstrip("\n")
    command = "adagrad" if error.ctx is None else error.ctx.command_path
    text = printable(_on_one_line(error.format_message())).rstrip(".")
    return f"Error: {text} (see {command} --help)"


def _report(error: Exception) -> int:
    """Print the line of an error, and return the exit status."""
    if isinstance(error, BrokenPipeError):
        return FAILED  # who reads the output wants no more of it
    _print_traceback(error)
    _say(f"Error: {printable(_on_one_line(_explanation(error)))}")
    return error.exit_code if isinstance(error, click.ClickException) else FAILED


def _explanation(error: Exception) -> str:
    package = type(error).__module__.partition(".")[0]
    cause = getattr(error, "cause", None)
    if package == "ray" and isinstance(cause, Exception):
        return _explanation(cause)  # the text of the error itself is the traceback of a worker
    text = str(error)
    if isinstance(error, click.ClickException):
        return error.format_message()
    if isinstance(error, MemoryError):
        return f"out of memory: {text}" if text else "out of memory"
    if isinstance(error, OSError):
        name = "" if error.filename is None else f"{_name(error.filename)}: "
        return f"{name}{error.strerror or text or type(error).__name__}"
    if isinstance(error, RuntimeError) and "start new thread" in text:
        return "cannot start a thread: the memory or the number of processes is at its limit"
    if package in EXPLAINED or type(error) in (ValueError, TypeError) or _of_text(error):
        return _of_a_column(text) or type(error).__name__
    if isinstance(error, ImportError):
        return f"cannot import a package: {text}"
    return (
        f"internal error, {type(error).__name__}: {text}; ADAGRAD_TRACEBACK=1 shows where it"
        " happened; please report it"
    )


def _of_text(error: Exception) -> bool:
    return isinstance(error, ValueError) and not isinstance(error, UnicodeEncodeError)


def _of_a_column(text: str) -> str:
    """Return what an encoder says of ``X['site']`` in the words of a command, which has no X.

    A row counts from the start of a batch, of which the user knows nothing.
    """
    return IN_PYTHON.sub(lambda x: f"column {x[1]}:" if x[2] else f"column {x[1]}", text)


def _name(path: object) -> str:
    return os.fsdecode(path) if isinstance(path, (str, bytes, os.PathLike)) else str(path)


def _on_one_line(text: str) -> str:
    return re.sub(r"\s*\n\s*", " ", text.strip())


def _say(text: str) -> None:
    """Print on stderr, if anybody can read it."""
    with contextlib.suppress(OSError):
        echo(text, err=True)


def _print_traceback(error: BaseException) -> None:
    if streams.shows_tracebacks():
        _say("".join(traceback.format_exception(error)).rstrip("\n"))


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    _say(f"Warning: {printable(_on_one_line(_of_a_column(str(message))))}")


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the command by an exception, so that it cleans up."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {}
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:  # not under nohup
            before[number] = signal.signal(number, _end)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _no_signal_lost() -> Iterator[None]:
    """Send a signal again if Python dropped the exception that its handler raised.

    It drops what is raised while an object is destroyed, as the threads that read a log are.
    """

    def hook(dropped: Any) -> None:
        error = dropped.exc_value
        if isinstance(error, KeyboardInterrupt):
            number = int(signal.SIGINT)
        elif isinstance(error, SystemExit) and isinstance(error.code, int):
            number = error.code - 128
        else:
            before(dropped)
            return
        # Later: the exception of a signal in this function would be dropped, too.
        again = threading.Timer(LATER, _send, [number])
        again.daemon = True
        again.start()

    before, sys.unraisablehook = sys.unraisablehook, hook
    try:
        yield
    finally:
        sys.unraisablehook = before


def _send(number: int) -> None:
    if sys.platform == "win32":
        _thread.interrupt_main(number)
    else:
        signal.pthread_kill(threading.main_thread().ident or 0, number)


def _end(number: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)
