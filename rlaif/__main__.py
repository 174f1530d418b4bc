"""`python -m rlaif` and the command `rlaif`: errors become one line and an exit status."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

from rlaif.core.errors import ReportedByOtherRank, RlaifError
from rlaif.core.schema import reason_of
from rlaif.core.system.threads import is_busy


def command() -> NoReturn:
    """Run the command in this process, and exit with its status."""
    if signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:  # treat it as Ctrl-C: print what is saved, exit with 130
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    status = main()
    if status and is_busy():  # otherwise the interpreter waits for the threads of judges, maybe for minutes
        with contextlib.suppress(OSError):
            sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status: 0 success, 1 failure, 2 invalid input, 130 interrupted."""
    _quiet_libraries()
    if isinstance(sys.stdout, io.TextIOWrapper):  # a locale without arrows must not stop a command
        sys.stdout.reconfigure(errors="backslashreplace")
    import click

    from rlaif.cli.main import rlaif

    try:
        status = rlaif.main(arguments, prog_name="rlaif", standalone_mode=False)
        sys.stdout.flush()  # fails here if the disk is full
    except ReportedByOtherRank as error:
        return error.exit_status
    except RlaifError as error:
        return _complain(str(error), error.exit_status)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return 2
    except click.UsageError as error:
        usage = error.ctx.command_path if error.ctx else "rlaif"
        return _complain(f"{error.format_message()} (`{usage} --help` lists what there is)", 2)
    except click.ClickException as error:
        return _complain(error.format_message(), 2)
    except (KeyboardInterrupt, click.Abort) as error:
        details = str(error.__cause__ or "")  # click turns a KeyboardInterrupt into an Abort
        return _complain(f"interrupted{f': {details}' if details else ''}", 130)
    except (BrokenPipeError, SystemExit):  # the reader of our output, such as `head`, has closed the pipe
        _discard_output()
        return 0
    except OSError as error:  # no command handles a full disk or a missing device
        _discard_output()
        return _complain(f"{error.filename or 'standard output'}: {reason_of(error)}", 1)
    except Exception as error:  # noqa: BLE001 - no traceback reaches a user
        return _complain(f"{type(error).__name__}: {error}; a bug of rlaif: RLAIF_DEBUG=1 shows the traceback", 1)
    return status if isinstance(status, int) else 0


def _complain(message: str, status: int) -> int:
    from rlaif.core.system.terminal import complain

    if status != 2 or os.environ.get("RANK", "0") == "0":  # every process finds the same invalid input; print it once
        complain(message)
    return status


def _discard_output() -> None:
    """Discard buffered output, because the interpreter would fail again when it flushes at exit."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _quiet_libraries() -> None:
    """Turn off the progress bars and warnings of libraries."""
    for name, value in {
        "TRANSFORMERS_VERBOSITY": "error",
        "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",
        "DATASETS_VERBOSITY": "error",
        "HF_HUB_VERBOSITY": "error",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "TOKENIZERS_PARALLELISM": "true",
    }.items():
        os.environ.setdefault(name, value)


if __name__ == "__main__":
    command()
