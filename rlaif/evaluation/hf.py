"""Makes a judge usable in the library `evaluate` of Hugging Face, like its toxicity measurement."""

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
    Write a judge as a measurement for the library `evaluate`, and return its path. Nothing is downloaded.

    `evaluate.load(rlaif.measurement("toxicity"), module_type="measurement").compute(predictions=["You fool."])`

    Arguments and keys are those of the stock toxicity measurement: `aggregation` is `all` (key `toxicity`, a list),
    `maximum` (`max_toxicity`) or `ratio` (`toxicity_ratio`, the share of texts whose toxicity is at least `threshold`).
    Toxicity is 1 - score. A text on which the judge abstains is None in the list, and is left out of maximum and ratio,
    which are None if no text is left.

    Args:
        card: name or path of a card, or a card as a mapping. The judge has to measure harm.

    Returns:
        The path of the measurement, a folder.

    Raises:
        InputError: the card is invalid, or its judge does not measure harm.

    """
    if not isinstance(card, str | Path | Mapping):
        raise InputError(f"measurement takes a card by name, path or as a mapping, not {short_repr(card)}")
    found = find_card(card)
    _, keys = read_card(found)
    # The question of an LLM judge may say what it measures. A classifier need not be downloaded for this.
    measures = getattr(keys, "measures", "") or load_judge(card).measures
    if measures not in HARMS:
        raise InputError(
            f"judge {found.name} measures {measures}, but the measurement is of toxicity; use a judge of "
            f"{', '.join(sorted(HARMS))}"
        )
    absolute = make_paths_absolute(found.keys, Path()) if found.path is None else str(found.path)
    name = re.sub(r"\W", "_", found.name)
    kind = "Judge" + "".join(part.capitalize() for part in name.split("_"))
    script = SCRIPT.format(name=name, kind=kind, card=absolute)
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
    Return the toxicity of texts in the format of the stock toxicity measurement.

    Args:
        texts: texts to judge.
        judge: a judge that measures harm.
        aggregation: `all`, `maximum` or `ratio`.
        toxic_label: bad label of a classifier, which has to be that of its card; None to use the card's.
        threshold: toxicity from which a text counts for `ratio`.

    Returns:
        A mapping with the key `toxicity`, `max_toxicity` or `toxicity_ratio`.

    Raises:
        InputError: the aggregation is not known, or the card has other bad labels.

    """
    if aggregation not in ("all", "maximum", "ratio"):
        raise InputError(f"aggregation: {short_repr(aggregation)} should be all, maximum or ratio")
    refuse_other_label(judge, toxic_label)
    scores = [judgement.score for judgement in score(list(texts), judge)]
    toxicities = [None if score is None else 1 - score for score in scores]
    known = [toxicity for toxicity in toxicities if toxicity is not None]
    if aggregation == "maximum":
        return {"max_toxicity": max(known, default=None)}
    if aggregation == "ratio":
        return {"toxicity_ratio": fmean(toxicity >= threshold for toxicity in known) if known else None}
    return {"toxicity": toxicities}


def refuse_other_label(judge: Judge, label: str | None) -> None:
    """Raise `InputError` if the card of a classifier has other bad labels than the given one."""
    bad = getattr(getattr(judge, "card", None), "bad", None)
    named = [bad] if isinstance(bad, str) else list(bad or ())
    if label is not None and named and label not in named:
        raise InputError(f"toxic_label: the card of {judge.name} has bad: {', '.join(named)}, not {short_repr(label)}")
