"""
The registry: finds the adapter of a card and makes the judge.

An adapter is a function `make(card, *, load) -> Judge`. The annotation of `card` is a dataclass derived from
`rlaif.Card` with the keys of the adapter, and a card is checked against it before anything is loaded. `load` makes the
members of a panel. `adapter` in a card is the name of a built-in adapter, a name in the entry-point group
`rlaif.adapters`, or `MODULE:NAME`; all are loaded in the same way. The judge of an external adapter may be a plain
function of samples: `PluginJudge` adds the missing attributes and checks its results.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, is_dataclass, replace
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from rlaif.core.errors import InputError
from rlaif.core.paths import exists, is_path, resolve_path
from rlaif.core.schema import check, did_you_mean, reason_of, short_repr
from rlaif.core.types import Judge
from rlaif.judges.cards.card import Card, CardRef, CardText, find_card
from rlaif.judges.cards.overrides import Overrides
from rlaif.judges.plugins import PluginJudge, load_object, name_raiser
from rlaif.judges.session import Session

BUILT_IN = {
    "classifier": "rlaif.judges.classifier.judge:make",
    "openai": "rlaif.judges.openai.judge:make",
    "openai_moderation": "rlaif.judges.openai.moderation:make",
    "bedrock": "rlaif.judges.bedrock.judge:make",
    "bedrock_guardrail": "rlaif.judges.bedrock.guardrail:make",
    "python": "rlaif.judges.python:make",
    "panel": "rlaif.judges.panel:make",
    "constant": "rlaif.judges.baselines:make_constant",
    "random": "rlaif.judges.baselines:make_random",
    "length": "rlaif.judges.baselines:make_length",
    "lexicon": "rlaif.judges.baselines:make_lexicon",
}


Make = Callable[..., Judge]


@dataclass(frozen=True)
class Loader:
    """Makes a judge from a card. Panels use it to make their members, with paths relative to the panel's card."""

    session: Session
    """Budget and verdict store that the judges of a command share."""
    overrides: Overrides
    folder: Path = Path()
    above: tuple[Path, ...] = ()

    def __call__(self, ref: CardRef) -> Judge:
        """Check a card and return its judge."""
        text, above = _find(ref, self.folder, self.overrides, self.above)
        make, card = read_card(text)
        load = replace(self, folder=text.folder, above=above)
        if text.keys["adapter"] in BUILT_IN:
            return make(card, load=load)
        with name_raiser(f"{text.where}: the adapter {text.keys['adapter']!r}"):
            judge = make(card, load=load)
        if not callable(judge):
            raise InputError(
                f"{text.where}: the adapter {text.keys['adapter']!r} returned no judge but {short_repr(judge)}"
            )
        return PluginJudge(judge, text)


def load_judge(
    card: CardRef, *, folder: Path = Path(), overrides: Overrides | None = None, session: Session | None = None
) -> Judge:
    """
    Make a judge from a card.

    The card is checked at once, with the members of a panel. Weights are loaded at the first call.

    Args:
        card: name (`toxicity`) or path (`./mine.yaml`) of a card, or a card as a mapping.
        folder: folder that paths in `card` are relative to; by default the working directory.
        overrides: overrides of keys, as in `--set`.
        session: budget of remote judges and store of their verdicts; by default without a limit, and the store in
            `RLAIF_HOME`.

    Returns:
        The judge.

    Raises:
        InputError: the card is not found, or a key is wrong or missing. The message names card and key.

    """
    return Loader(session or Session(), overrides or Overrides(), folder)(card)


def judge_of(judge: CardRef | Judge, session: Session | None = None) -> Judge:
    """Return a judge unchanged, or make one from a card; for the argument `judge` of public functions."""
    if isinstance(judge, str | Path | Mapping):
        return load_judge(judge, session=session)
    if not callable(judge) or not hasattr(judge, "name"):
        raise InputError(
            f"a judge is named by a card's name, a path or a mapping, or made by load_judge, not {short_repr(judge)}"
        )
    return judge


def to_list(judges: CardRef | Judge | Sequence[CardRef | Judge]) -> list[CardRef | Judge]:
    """Return one or several judges as a list; for the argument `judges` of public functions."""
    is_one = isinstance(judges, str | Path | Mapping) or callable(judges) or not isinstance(judges, Sequence)
    return [judges] if is_one else list(judges)  # type: ignore[list-item, arg-type]


def read_card(text: CardText) -> tuple[Make, Any]:
    """Find the adapter of a card, and check the card against its keys."""
    make = find_adapter(str(text.keys["adapter"]), text.folder, text.where)
    keys = keys_of(make, text.where)
    if isinstance(keys, type) and is_dataclass(keys):
        return make, check(keys, text.keys, text.where, folder=text.folder)
    return make, text.keys  # an adapter without declared keys gets the card unchecked


def keys_of(make: Make, where: str) -> Any:
    """Return the type of the card of `make`. Other annotations may be for type checkers only."""
    annotation = next(iter(inspect.signature(make).parameters.values())).annotation
    if isinstance(annotation, str):
        try:
            return eval(annotation, vars(inspect.getmodule(make)))
        except Exception as error:
            raise InputError(
                f"{where}: the type of `card`, {annotation}, cannot be read: {reason_of(error)}"
            ) from error
    return annotation


def make_paths_absolute(ref: Any, folder: Path) -> Any:
    """
    Return a card with absolute paths, so that it can be read from any folder. Names stay names.

    An invalid card is returned as far as possible; making its judge reports the error.

    Args:
        ref: a card that is named or written in a file.
        folder: folder of that file, which paths are relative to.

    """
    if not isinstance(ref, Mapping):
        path = resolve_path(str(ref), folder)
        return str(path.absolute()) if path.suffix in (".yaml", ".yml") and exists(path, "file") else ref
    if "adapter" not in ref:  # a member of a panel, with its weight
        return {**ref, "judge": make_paths_absolute(ref["judge"], folder)} if "judge" in ref else ref
    card = None
    with suppress(InputError):
        _, card = read_card(find_card(ref, folder))
    keys = dict(ref)
    for key, value in ref.items():
        if key == "judges" and isinstance(value, list):
            keys[key] = [make_paths_absolute(member, folder) for member in value]
        elif not isinstance(value, str):
            continue
        elif key == "adapter" and (file := value.partition(":")[0]).endswith(".py"):
            keys[key] = str(resolve_path(file, folder).absolute()) + value.removeprefix(file)
        elif isinstance(checked := getattr(card, key, None), str):
            keys[key] = checked
        elif card is None and is_path(value):
            keys[key] = str(resolve_path(value, folder).absolute())
    return keys


def find_adapter(name: str, folder: Path, where: str) -> Make:
    """Return the `make` of an adapter by built-in name, entry point, or `MODULE:NAME` (also `./FILE.py:NAME`)."""
    if name in BUILT_IN:
        found = load_object(BUILT_IN[name], folder, where)
    elif ":" in name:
        found = load_object(name, folder, f"{where}: adapter")
    else:
        plugins = {plugin.name: plugin for plugin in entry_points(group="rlaif.adapters")}
        if name not in plugins:
            known = [*BUILT_IN, *plugins]
            raise InputError(
                f"{where}: unknown adapter {name!r}{did_you_mean(name, known)}; there are: {', '.join(known)}, "
                "or MODULE:NAME of your own"
            )
        plugin = plugins[name]
        found = load_object(f"{plugin.module}:{plugin.attr or 'make'}", folder, f"{where}: the adapter {name!r}")
    make = getattr(found, "make", found)
    try:
        inspect.signature(make).bind(None, load=None)
    except (TypeError, ValueError):
        raise InputError(f"{where}: adapter {name!r} should be a function make(card, *, load) -> Judge") from None
    return make  # type: ignore[no-any-return]


def readiness(ref: CardRef, folder: Path = Path()) -> str:
    """Return what a card or one of its members still lacks; empty if it is ready."""
    return _lack(ref, folder, ())


def _lack(ref: CardRef, folder: Path, above: tuple[Path, ...]) -> str:
    text, above = _find(ref, folder, Overrides(), above)
    _, card = read_card(text)
    if not isinstance(card, Card):
        return ""
    lacks = (_lack(member, text.folder, above) for member in card.members())
    return card.missing() or next(filter(None, lacks), "")


def _find(
    ref: CardRef, folder: Path, overrides: Overrides, above: tuple[Path, ...]
) -> tuple[CardText, tuple[Path, ...]]:
    """Find a card inside the cards `above`. Raises `InputError` if a panel is a member of itself."""
    text = overrides.apply(find_card(ref, folder))
    if text.path is None:
        return text, above
    if text.path in above:
        raise InputError(f"{text.where}: the panel is a member of itself; take it out of `judges`")
    return text, (*above, text.path)
