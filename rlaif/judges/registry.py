"""
The registry: which adapter makes a judge of which card.

An adapter is one function, `make(card, *, load) -> Judge`. The annotation of `card` is a dataclass derived from
`rlaif.Card`: the keys the adapter knows, by which a card is checked before anything is loaded. `load` makes the judges
inside a panel. Built-in adapters come in through the same door as a stranger's: a name that stands
for `MODULE:NAME`, in the entry-point group `rlaif.adapters`, or a card's `adapter: MODULE:NAME` itself. A
stranger's judge may be a plain function of samples: what it leaves out is filled in, and it is held to the contract.
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
    """Makes a judge of a card, and is given on to make the judges inside it: paths are relative to the outer card."""

    session: Session
    """The budget and the verdict store that the judges of a command share."""
    overrides: Overrides
    folder: Path = Path()
    above: tuple[Path, ...] = ()

    def __call__(self, ref: CardRef) -> Judge:
        """Return the judge, its card checked."""
        text, above = _find(ref, self.folder, self.overrides, self.above)
        make, card = read_card(text)
        load = replace(self, folder=text.folder, above=above)
        if text.keys["adapter"] in BUILT_IN:
            return make(card, load=load)
        with name_raiser(f"{text.where}: the adapter {text.keys['adapter']!r}"):
            judge = make(card, load=load)
        if not callable(judge):
            raise InputError(
                f"{text.where}: the adapter {text.keys['adapter']!r} made no judge but {short_repr(judge)}"
            )
        return PluginJudge(judge, text)


def load_judge(
    card: CardRef, *, folder: Path = Path(), overrides: Overrides | None = None, session: Session | None = None
) -> Judge:
    """
    Make a judge of a card.

    The card is checked, and a panel's members with it, but weights are loaded at the first call: a wrong key
    costs nothing, however large the model.

    Args:
        card: a name (`toxicity`), a path (`./mine.yaml`), or the card itself as a mapping.
        folder: what paths in `card` are relative to; by default the working directory.
        overrides: changes of keys, as `--set` gives them.
        session: the budget of remote judges and the store of their verdicts; by default no cap, and the store of
            `RLAIF_HOME`.

    Raises:
        InputError: the card is not found, or a key is wrong or missing; the message names card and key.

    """
    return Loader(session or Session(), overrides or Overrides(), folder)(card)


def judge_of(judge: CardRef | Judge, session: Session | None = None) -> Judge:
    """Return the judge itself, or the one that a card makes: what public functions take as `judge`."""
    if isinstance(judge, str | Path | Mapping):
        return load_judge(judge, session=session)
    if not callable(judge) or not hasattr(judge, "name"):
        raise InputError(
            f"a judge is named by a card's name, a path or a mapping, or made by load_judge, not {short_repr(judge)}"
        )
    return judge


def to_list(judges: CardRef | Judge | Sequence[CardRef | Judge]) -> list[CardRef | Judge]:
    """Return one or several judges as a list: what public functions take as `judges`."""
    is_one = isinstance(judges, str | Path | Mapping) or callable(judges) or not isinstance(judges, Sequence)
    return [judges] if is_one else list(judges)  # type: ignore[list-item, arg-type]


def read_card(text: CardText) -> tuple[Make, Any]:
    """Find a card's adapter and check the card against the keys that it knows."""
    make = find_adapter(str(text.keys["adapter"]), text.folder, text.where)
    keys = keys_of(make, text.where)
    if isinstance(keys, type) and is_dataclass(keys):
        return make, check(keys, text.keys, text.where, folder=text.folder)
    return make, text.keys  # an adapter that states no keys gets the card as it was written


def keys_of(make: Make, where: str) -> Any:
    """Return the type that `make` states for its card, and nothing else: its other types may be for checkers only."""
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
    Return a card that means the same wherever it is read: the paths in it are absolute. Names stay names.

    A card that is wrong stays wrong: the message is that of its judge's making, with the path that was meant.

    Args:
        ref: a card of a file.
        folder: of that file, which paths are relative to.

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
    """Return an adapter's `make` by built-in name, entry point, or `MODULE:NAME` (also `./FILE.py:NAME`)."""
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
    """Say what a card, or a member of it, still lacks; nothing if it is ready."""
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
    """Find a card below the cards `above` it; a panel that is a member of itself has no bottom."""
    text = overrides.apply(find_card(ref, folder))
    if text.path is None:
        return text, above
    if text.path in above:
        raise InputError(f"{text.where}: the panel is a member of itself; take it out of `judges`")
    return text, (*above, text.path)
