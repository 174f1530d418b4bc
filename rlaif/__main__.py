"""`python -m rlaif` and the command `rlaif`: errors become one line and an exit status."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from rlaif.errors import RlaifError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status: 0 done, 1 failed, 2 the input is wrong, 130 interrupted."""
    _quiet_libraries()
    import click

    from rlaif.cli import rlaif

    try:
        status = rlaif.main(arguments, prog_name="rlaif", standalone_mode=False)
    except RlaifError as error:
        return _said(str(error), error.exit_status)
    except click.UsageError as error:
        usage = error.ctx.command_path if error.ctx else "rlaif"
        return _said(f"{error.format_message()} (`{usage} --help` lists what there is)", 2)
    except click.ClickException as error:
        return _said(error.format_message(), 2)
    except (KeyboardInterrupt, click.Abort):
        return _said("interrupted", 130)
    except BrokenPipeError:  # the reader of our output, `head` for one, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:  # noqa: BLE001 - no traceback reaches a user
        return _said(f"{type(error).__name__}: {error}; a bug of rlaif: RLAIF_DEBUG=1 shows the traceback", 1)
    return status if isinstance(status, int) else 0


def _said(message: str, status: int) -> int:
    from rlaif.terminal import harmless

    if os.environ.get("RLAIF_DEBUG"):
        import traceback

        traceback.print_exc()
    print(f"rlaif: {harmless(message)}", file=sys.stderr)  # noqa: T201
    return status


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
    sys.exit(main())
