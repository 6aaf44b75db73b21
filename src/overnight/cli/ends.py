"""The one place where exceptions become a line on standard error and an exit code."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import click

from overnight.cli.group import Call

INTERRUPTED: Final = 130
LOCAL: Final = 1
USAGE: Final = 2


class Interrupted(Exception):
    """The user asked to stop; the message says how things stand and how to go on."""


def told(command: click.Command, argv: Sequence[str] | None) -> int:
    """What the command returns as its exit code. Errors are told in one line; with `--json` as a document as well."""
    call = Call()
    try:
        code = _invoked(command, argv, call)
        sys.stdout.flush()
    except BaseException as error:  # noqa: BLE001 - this is where everything ends
        if _nobody_reads(error):
            _forget_stdout()
            return 0
        with contextlib.suppress(BrokenPipeError):
            return _failed(error, call)
        return LOCAL
    return code


def _invoked(command: click.Command, argv: Sequence[str] | None, call: Call) -> int:
    """The command's exit code. Not `command.main`: that has endings of its own, such as for a broken pipe."""
    if "_OVERNIGHT_COMPLETE" in os.environ:  # a shell asks for completions
        command.main(prog_name="overnight")
    try:
        words = list(sys.argv[1:] if argv is None else argv)
        with command.make_context("overnight", words, obj=call) as context:
            code = command.invoke(context)
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.exceptions.NoArgsIsHelpError as bare:
        click.echo(bare.format_message(), err=True)
        return USAGE
    return code if isinstance(code, int) else 0


def _failed(error: BaseException, call: Call) -> int:
    code, name, message = _read(error, call)
    if message:
        prefix = "" if name == "interrupted" else "error: "
        sys.stderr.write(f"{prefix}{message}\n")
    if call.json:
        import json

        document = {"error": {"code": name, "message": message, "exit_code": code}}
        sys.stdout.write(json.dumps(document, ensure_ascii=False) + "\n")
        sys.stdout.flush()
    return code


def _read(error: BaseException, call: Call) -> tuple[int, str, str]:
    """Exit code, name of the error, and the line that says it."""
    from overnight.errors import InvariantError, OvernightError

    match error:
        case SystemExit():
            return int(error.code or 0), "exit", ""
        case KeyboardInterrupt() | click.Abort():
            return INTERRUPTED, "interrupted", "interrupted"
        case Interrupted():
            return INTERRUPTED, "interrupted", str(error)
        case click.UsageError():
            verb = error.ctx.command_path if error.ctx is not None else "overnight"
            text = error.format_message().rstrip(".").replace("\n", " ")
            hint = "" if "`" in text else f" (see {verb} --help)"
            return USAGE, "usage", f"{text}{hint}"
        case click.ClickException():
            return error.exit_code, "usage", error.format_message()
        case InvariantError():
            return LOCAL, error.code, f"{_one_line(error)}: this is a bug of overnight; {_written(error, call)}"
        case OvernightError():
            return error.exit_code, error.code, _one_line(error)
        case OSError() if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO}:
            where = f" ({error.filename})" if error.filename else ""
            return LOCAL, "local", f"{error.strerror}{where}: free the disk or make it writable, then run this again"
        case _:
            return LOCAL, "bug", f"a bug of overnight ({type(error).__name__}): {_written(error, call)}"


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _written(error: BaseException, call: Call) -> str:
    """Log the traceback: frames and types only, for a foreign message may quote a prompt or an answer."""
    import json
    import time
    import traceback

    frames = [line.strip() for line in traceback.format_tb(error.__traceback__)]
    line = json.dumps({"at": round(time.time(), 3), "event": "bug", "type": type(error).__name__, "traceback": frames})
    try:
        path = _log(call)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "a") as file:
            file.write(line + "\n")
    except Exception:  # noqa: BLE001 - the first error is the one to tell
        return f"please report it with this: {line}"
    return f"please report it with the traceback in {path}"


def _log(call: Call) -> Path:
    from overnight.config import make_home

    config = call.config()
    return config.log_file or make_home(config) / "overnight.log"


def _nobody_reads(error: BaseException) -> bool:
    """Whether the reader of standard output went away, as `head` does."""
    return isinstance(error, OSError) and error.errno == errno.EPIPE


def _forget_stdout() -> None:
    """Nobody reads on: what is left must not fail when the interpreter flushes it."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
