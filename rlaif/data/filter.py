"""
The condition `data.where` that selects rows: `COLUMN OP LITERAL`, joined by `and`.

It is parsed by hand and never evaluated as code, because run files are shared between people.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from rlaif.core.errors import InputError
from rlaif.core.schema import did_you_mean, short_repr
from rlaif.data.columns import MISSING, get_column, names

Literal = str | int | float | bool | None

_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}
_WORDS: dict[str, Literal] = {"true": True, "false": False, "null": None}
_TOKEN = re.compile(r"""\s*(?:(==|!=|<=|>=|<|>)|("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')|([^\s=!<>"']+))""", re.DOTALL)
_NUMBER = re.compile(r"[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
_ALLOWED = (
    "allowed is COLUMN OP LITERAL, joined by `and`; OP is one of == != < <= > >=; LITERAL is a number, "
    "text in quotes, true, false or null"
)


@dataclass(frozen=True)
class _Term:
    column: str
    sign: str
    literal: Literal

    def holds(self, value: Any) -> bool:
        """Return whether the comparison is true. Null equals only null, and is neither smaller nor larger."""
        if value is None or self.literal is None:
            return (value is self.literal) == (self.sign == "==") and self.sign in ("==", "!=")
        return _OPERATORS[self.sign](value, self.literal)


@dataclass
class Condition:
    """A parsed `where`. It remembers which of its columns occurred, so that a mistyped name is reported at the end."""

    comparisons: tuple[_Term, ...]
    _unmet: set[str] = field(init=False)
    _columns: dict[str, None] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self._unmet = {comparison.column for comparison in self.comparisons}

    def keeps(self, row: Mapping[str, object], where: str) -> bool:
        """Return whether to keep the row. A missing column is null. Raises `InputError` if the types do not match."""
        if self._unmet:
            self._columns.update(dict.fromkeys(map(str, row)))
        kept = True
        for comparison in self.comparisons:
            value = get_column(row, comparison.column)
            if value is MISSING:
                value = None
            elif value is not None or get_column(row, comparison.column.rpartition(".")[0]) is not None:
                self._unmet.discard(comparison.column)  # a column inside a null one has not occurred
            if isinstance(value, float) and math.isnan(value):  # pandas writes null as NaN
                value = None
            _refuse_mixed_types(comparison, value, where)
            kept = kept and comparison.holds(value)
        return kept

    def refuse_unmet(self, where: str) -> None:
        """Raise `InputError` for a column that no row has. Call it after the last row."""
        for column in sorted(self._unmet) if self._columns else ():
            known = list(self._columns)
            raise InputError(
                f"data.where: {where}: no row has the column {short_repr(column)}{did_you_mean(column, known)}; "
                f"there are: {names(known)}"
            )


def parse(text: str) -> Condition:
    """Parse a `where`, or raise `InputError` that says what is allowed."""
    tokens = _tokens(text)
    comparisons = []
    for i in range(0, len(tokens) + 1, 4):
        match tokens[i : i + 4]:
            case [("word", column), ("sign", sign), (("word" | "text"), _) as literal, *rest]:
                comparisons.append(_comparison(column, sign, literal, text))
                if rest and rest != [("word", "and")]:
                    raise _refusal(text, f"expected `and` before {short_repr(rest[0][1])}")
                if not rest and i + 3 >= len(tokens):
                    return Condition(tuple(comparisons))
            case part:
                words = " ".join(word for _, word in part)
                raise _refusal(text, f"{short_repr(words)} is no comparison" if words else "a comparison is missing")
    raise _refusal(text, "a comparison is missing")


def _tokens(text: str) -> list[tuple[str, str]]:
    tokens, place, text_end = [], 0, len(text.rstrip())
    while place < text_end:
        found = _TOKEN.match(text, place)
        if not found:
            raise _refusal(text, f"cannot read {short_repr(text[place:].strip())}")
        kind = ("sign", "text", "word")[(found.lastindex or 1) - 1]
        tokens.append((kind, found[found.lastindex or 1]))
        place = found.end()
    return tokens


def _comparison(column: str, sign: str, literal: tuple[str, str], text: str) -> _Term:
    kind, word = literal
    value: Literal
    if kind == "text":
        value = re.sub(r"\\(.)", r"\1", word[1:-1], flags=re.DOTALL)
    elif word in _WORDS:
        value = _WORDS[word]
        if sign not in ("==", "!="):
            raise _refusal(text, f"{word} is neither smaller nor larger than anything; compare it with == or !=")
    elif _NUMBER.fullmatch(word) and len(word) < 400:
        value = float(word) if re.search(r"[.eE]", word) else int(word)
    else:
        raise _refusal(text, f"{short_repr(word)} is no literal; put text in quotes")
    return _Term(column, sign, value)


def _refusal(text: str, why: str) -> InputError:
    return InputError(f"data.where: {short_repr(text, 200)}: {why}; {_ALLOWED}")


def _refuse_mixed_types(comparison: _Term, value: Any, where: str) -> None:
    kind, wanted = _kind(value), _kind(comparison.literal)
    if "null" in (kind, wanted) or kind == wanted:
        return
    hint = ""
    if (kind, wanted) == ("text", "a number"):
        hint = "; put the number in quotes, or save the data as jsonl or parquet, because CSV holds only text"
    elif (kind, wanted) == ("a number", "text"):
        hint = "; leave the quotes out"
    raise InputError(
        f"data.where: {where}: the column {short_repr(comparison.column)} holds {kind} ({short_repr(value)}), and "
        f"{short_repr(comparison.literal)} is {wanted}{hint}"
    )


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, str):
        return "text"
    return f"a {type(value).__name__}"
