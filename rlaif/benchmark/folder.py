"""The folder of a benchmark: whose scores lie in it, and whether a benchmark may go on there."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

from rlaif.core.errors import InputError
from rlaif.core.system.files import is_taken, make_folder, write_atomically
from rlaif.core.types import Judge
from rlaif.data.labelled import Labelled
from rlaif.judges.remote.store import key_of


def claim(folder: Path, judges: Sequence[Judge], tables: Sequence[Labelled]) -> None:
    """
    Make the folder of a benchmark, or go on in that of the same one, or raise `InputError`.

    Args:
        folder: where scores are kept.
        judges: whose.
        tables: of which texts.

    """
    ours, path = _settings(judges, tables), folder / "settings.json"
    make_folder(folder, "-o")
    if path.exists():
        _refuse_another(folder, path, ours)
    elif is_taken(folder):
        raise InputError(f"{folder}: holds something else than a benchmark; name another folder by -o")
    else:
        write_atomically(path, json.dumps(ours, indent=1, ensure_ascii=False) + "\n")


def _settings(judges: Sequence[Judge], tables: Sequence[Labelled]) -> dict[str, dict[str, object]]:
    """Return what scores depend on: who judges what, and what the labels mean."""
    return {
        "judges": {judge.name: _identity(judge) for judge in judges},
        "files": {
            table.name: {
                "kind": table.kind, "rows": table.n, "digest": table.digest, "groups": list(table.groups),
                "bad": sorted(table.meaning.bad), "good": sorted(table.meaning.good),
                **({"graded": "low"} if table.meaning.graded == "low" else {}),
            }
            for table in tables
        },
    }  # fmt: skip


def _identity(judge: Judge) -> str:
    """Return what equal judges share in every process; an address in memory is nobody's identity."""
    return key_of(re.sub(r" at 0x[0-9a-f]+", "", repr(judge.identity))).hex()


def _refuse_another(folder: Path, path: Path, ours: dict[str, dict[str, object]]) -> None:
    try:
        theirs = json.loads(path.read_text(encoding="utf-8"))
        differing = [what for what in ("judges", "files") if theirs[what] != ours[what]]
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(f"{path}: is not of a benchmark; name another folder by -o") from None
    for what in differing:
        before, now = theirs[what], ours[what]
        name = next(name for name in {**before, **now} if before.get(name) != now.get(name))
        how = "has changed" if name in before and name in now else "is new" if name in now else "is missing"
        raise InputError(
            f"{folder}: holds a benchmark of other {what}: {name} {how}; name another folder by -o "
            "(no remote verdict is paid again: they are in the store)"
        )
