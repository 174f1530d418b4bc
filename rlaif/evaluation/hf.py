"""A judge for the library `evaluate` of Hugging Face, in the place of its toxicity measurement."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from statistics import fmean
from typing import Any

from rlaif.core.errors import InputError
from rlaif.core.schema import reason_of, short_repr
from rlaif.core.system.files import write_atomically
from rlaif.core.system.home import home
from rlaif.core.types import HARMS, Judge
from rlaif.judges.cards.card import CardRef, find_card
from rlaif.judges.registry import load_judge, make_paths_absolute, read_card
from rlaif.judges.scoring import score

SCRIPT = '''"""The judge {name} of rlaif as a measurement of the library evaluate; written by rlaif.measurement."""

import rlaif.evaluation.hf_module


class {kind}(rlaif.evaluation.hf_module.JudgeMeasurement):
    card = {card!r}
'''


def measurement(card: CardRef) -> str:
    """
    Write a judge as a measurement of the library `evaluate`, and return its path: nothing is downloaded.

    `evaluate.load(rlaif.measurement("toxicity"), module_type="measurement").compute(predictions=["You fool."])`

    Arguments and keys are those of the stock toxicity measurement: `aggregation` is `all` (key `toxicity`, a list),
    `maximum` (`max_toxicity`) or `ratio` (`toxicity_ratio`, the share of texts whose toxicity is at least `threshold`).
    Toxicity is 1 - score. A text on which the judge abstains, as on a blank one, is None in the list and has no part
    in the others, which are None where nothing is left; of an empty list the list is empty.

    Args:
        card: a card's name or path, or a card as a mapping; of a judge that measures harm.

    Raises:
        InputError: the card is wrong, or measures something else.

    """
    if not isinstance(card, str | Path | Mapping):
        raise InputError(f"measurement takes a card by name, path or as a mapping, not {short_repr(card)}")
    found = find_card(card)
    _, keys = read_card(found)
    # An LLM judge's question may say what it measures; a classifier need not be there yet.
    measures = getattr(keys, "measures", "") or load_judge(card).measures
    if measures not in HARMS:
        raise InputError(
            f"judge {found.name} measures {measures}, and the measurement is of toxicity: take a judge of "
            f"{', '.join(sorted(HARMS))}"
        )
    kept = make_paths_absolute(found.keys, Path()) if found.path is None else str(found.path)
    name = re.sub(r"\W", "_", found.name)
    kind = "Judge" + "".join(part.capitalize() for part in name.split("_"))
    script = SCRIPT.format(name=name, kind=kind, card=kept)
    folder = home() / "measurements" / blake2b(script.encode(), digest_size=8).hexdigest() / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be made: {reason_of(error)}; set RLAIF_HOME to another folder") from None
    write_atomically(folder / f"{name}.py", script)
    return str(folder)


def toxicity(
    texts: Sequence[str], judge: Judge, aggregation: str, toxic_label: str | None, threshold: float
) -> dict[str, Any]:
    """
    Return what the stock toxicity measurement returns, by a judge.

    Args:
        texts: what is judged.
        judge: of harm.
        aggregation: `all`, `maximum` or `ratio`.
        toxic_label: the label that is bad, where the judge is a classifier; None: the one of its card.
        threshold: of `ratio`.

    Raises:
        InputError: there is no such aggregation, or the card names other labels as bad.

    """
    if aggregation not in ("all", "maximum", "ratio"):
        raise InputError(f"aggregation: {short_repr(aggregation)} should be all, maximum or ratio")
    refuse_other_label(judge, toxic_label)
    said = [judgement.score for judgement in score(list(texts), judge)]
    scores = [None if one is None else 1 - one for one in said]
    known = [one for one in scores if one is not None]
    if aggregation == "maximum":
        return {"max_toxicity": max(known, default=None)}
    if aggregation == "ratio":
        return {"toxicity_ratio": fmean(one >= threshold for one in known) if known else None}
    return {"toxicity": scores}


def refuse_other_label(judge: Judge, label: str | None) -> None:
    """Raise `InputError` where a classifier's card calls other labels bad than the one that is wanted."""
    bad = getattr(getattr(judge, "card", None), "bad", None)
    named = [bad] if isinstance(bad, str) else list(bad or ())
    if label is not None and named and label not in named:
        raise InputError(f"toxic_label: the card of {judge.name} has bad: {', '.join(named)}, not {short_repr(label)}")
