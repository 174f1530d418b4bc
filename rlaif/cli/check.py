"""`rlaif check`: check judges or a run file before spending time and money on them."""

from __future__ import annotations

from pathlib import Path

from rlaif.cli.probing import FaultList, probe_all, read_cards
from rlaif.core.config import recipes
from rlaif.core.errors import InputError
from rlaif.judges.cards.card import refuse_equal_names
from rlaif.judges.cards.overrides import Overrides
from rlaif.judges.session import Session


def run(path: Path | None, judges: tuple[str, ...], sets: tuple[str, ...], quick: bool) -> int:
    """Print the findings, and faults to standard error; return the exit status of the worst fault."""
    if path is None and not judges:
        raise InputError("nothing to check: name a run file, or a judge with -j")
    if path is None:
        return _judges(judges, sets)
    if not (file := recipes.find_run_file(path)).exists():
        raise InputError(
            f"{path}: cannot be read: No such file or directory; `rlaif init` writes a run file, "
            f"and recipes are: {recipes.list_names()}"
        )
    from rlaif.cli.check_run import check_run

    return check_run(file, judges, sets, quick)


def _judges(names: tuple[str, ...], sets: tuple[str, ...]) -> int:
    faults, overrides = FaultList(), Overrides(sets)
    session = Session(fresh=True)  # a judgement from the verdict store would not show that the judge works
    read = read_cards(names, overrides, session, faults)
    refuse_equal_names([one.judge for one in read if one.judge], "check")
    probe_all(read, faults)
    return faults.worst
