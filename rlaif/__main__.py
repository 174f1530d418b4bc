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
    """Run the command as the process that it is, and end it."""
    if signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:  # so that what is kept is said, and the status is 130
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    status = main()
    if status and is_busy():  # the interpreter would wait for a judge's thread, maybe minutes
        with contextlib.suppress(OSError):
            sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status: 0 done, 1 failed, 2 the input is wrong, 130 interrupted."""
    _quiet_libraries()
    if isinstance(sys.stdout, io.TextIOWrapper):  # a locale without arrows must not stop a command
        sys.stdout.reconfigure(errors="backslashreplace")
    import click

    from rlaif.cli.main import rlaif

    try:
        status = rlaif.main(arguments, prog_name="rlaif", standalone_mode=False)
        sys.stdout.flush()  # a full disk shows here
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
        what = str(error.__cause__ or "")  # click makes an Abort of the first
        return _complain(f"interrupted{f': {what}' if what else ''}", 130)
    except (BrokenPipeError, SystemExit):  # the reader of our output, `head` for one, has seen enough; click exits
        _discard_output()
        return 0
    except OSError as error:  # what a command does not expect: a full disk, a device that is gone
        _discard_output()
        return _complain(f"{error.filename or 'standard output'}: {reason_of(error)}", 1)
    except Exception as error:  # noqa: BLE001 - no traceback reaches a user
        return _complain(f"{type(error).__name__}: {error}; a bug of rlaif: RLAIF_DEBUG=1 shows the traceback", 1)
    return status if isinstance(status, int) else 0


def _complain(message: str, status: int) -> int:
    from rlaif.core.system.terminal import complain

    if status != 2 or os.environ.get("RANK", "0") == "0":  # of several processes each finds the same wrong input
        complain(message)
    return status


def _discard_output() -> None:
    """Let what is still buffered go nowhere, or the interpreter fails once more when it flushes at its end."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _quiet_libraries() -> None:
    """Keep the libraries' own bars and warnings off the screen: what matters, rlaif says itself."""
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
