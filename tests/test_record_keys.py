"""
What is written to disk is read and built through records: outside `rlaif/core/records`, no file names their keys.

A file may name a key in a record's mapping in two ways. It reads or sets one: `line["kl"]`, `line.get("kl")`,
`line.pop("kl")`, `"kl" in line`. Or it builds the mapping: a literal with all keys that a record needs, and no others.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Set
from functools import cache
from typing import Any, get_args, get_type_hints

import pytest

from rlaif.core.records import RECORDS, Record
from rlaif.core.records.keys import fields_of
from tests.conftest import ROOT

PACKAGE = ROOT / "rlaif"

ORDINARY = {
    "prompt": "a column of data sets", "completion": "a column of data sets", "label": "a column of data sets",
    "role": "a key of chat messages", "input": "a key of chat messages", "usage": "a key of endpoints' answers",
    "output": "a key of endpoints' answers", "reason": "a key of a judge's verdict",
    "cached_tokens": "a key of endpoints' answers", "length": "a judge's card, and why an endpoint stopped",
    "judge": "a key of run files and cards", "judges": "a key of run files and cards",
    "policy": "a key of run files", "data": "a key of run files", "run": "an option of rlaif evaluate",
    "before": "a side of a comparison", "after": "a side of a comparison", "over_budget": "a status",
    "missing": "a kind of error of pydantic", "measures": "a key of cards",
}  # fmt: skip
"""Keys of records that are as well words of other mappings, and of which."""

OTHER_FORMATS = {
    "core/system/files.py": "cuts files back to a step, whatever else their lines hold",
    "evaluation/compare/comparison.py": "why figures are not known, by their names",
    "evaluation/compare/prepared_comparison.py": "why figures are not known, by their names",
    "training/loop/checkpoint/checkpoint.py": "the manifest of a checkpoint",
    "training/loop/progress.py": "what a checkpoint says beside the weights",
    "training/trl/bridge.py": "what TRL's trainers log",
}
"""Files that read or build other mappings with such keys, and which."""

READERS = ("get", "pop", "setdefault")


@cache
def records() -> tuple[type[Record], ...]:
    """Return the records of the five files, and those inside them."""
    found: dict[type[Record], None] = {}

    def add(hint: Any) -> None:
        if isinstance(hint, type) and issubclass(hint, Record) and hint not in found:
            found[hint] = None
            for inner in get_type_hints(hint).values():
                add(inner)
        for part in get_args(hint):
            add(part)

    for record in RECORDS.values():
        add(record)
    return tuple(found)


@cache
def keys() -> frozenset[str]:
    return frozenset(field.key for record in records() for field in fields_of(record) if not field.further)


def records_with(written: Set[str]) -> list[str]:
    """Return the records that a mapping with these keys could be; of one key alone nothing can be told."""
    found = []
    for record in records():
        its = [field for field in fields_of(record) if not field.further]
        needed = {field.key for field in its if field.is_needed}
        if len(needed) > 1 and needed <= written <= {field.key for field in its}:
            found.append(record.__name__)
    return found


def text_of(node: ast.expr | None) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def uses_in(source: str) -> Iterator[tuple[int, str]]:
    """Yield line and key, or record, of all that names keys of records."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Dict):
            written = {key for node_key in node.keys if (key := text_of(node_key)) is not None}
            yield from ((node.lineno, f"all keys of {name}") for name in records_with(written))
            continue
        if isinstance(node, ast.Subscript):
            key = text_of(node.slice)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in READERS:
            key = text_of(node.args[0]) if node.args else None
        elif isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.In | ast.NotIn):
            key = text_of(node.left)
        else:
            continue
        if key in keys() and key not in ORDINARY:
            yield node.lineno, str(key)


FILES = {
    path.relative_to(PACKAGE).as_posix(): path
    for path in sorted(PACKAGE.rglob("*.py"))
    if not {"_bundled", "records"} & {*path.relative_to(PACKAGE).parts}
}


@pytest.mark.parametrize("name", sorted(FILES.keys() - OTHER_FORMATS.keys()))
def test_no_file_outside_the_records_names_their_keys(name: str) -> None:
    wrong = [f"rlaif/{name}:{line}: {key}: read it as a record" for line, key in uses_in(FILES[name].read_text())]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    "line",
    [
        'row["kl"]', 'row["score"] = 1', 'row.get("statuses", {})', 'row.pop("toxicity")', '"ci95" in row',
        '"ci95" not in row', 'f(row["before"]["judgements"])', '{"p50": 1, "p95": 2}',
    ],
)  # fmt: skip
def test_a_key_that_is_named_would_be_found(line: str) -> None:
    assert list(uses_in(line))


@pytest.mark.parametrize("line", ["row.kl", 'row["mine"]', 'row["prompt"]', 'print("kl")', '{"p50": 1}'])
def test_other_words_are_not(line: str) -> None:
    assert not list(uses_in(line))


def test_each_exception_is_a_key_and_a_file_with_such_a_word() -> None:
    assert ORDINARY.keys() <= keys()
    sources = {name: path.read_text() for name, path in FILES.items()}
    assert [word for word in ORDINARY if not any(f'"{word}"' in source for source in sources.values())] == []
    assert [name for name in OTHER_FORMATS if not list(uses_in(sources[name]))] == [], "it names no key any more"
