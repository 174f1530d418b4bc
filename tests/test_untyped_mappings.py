"""
Mappings of anything, `dict[str, Any]` and `Mapping[str, Any]`, are few: of one, a type checker believes all.

What has a shape is a record, a dataclass or a typed dictionary. What is only passed on holds `object`. `Any` stays
where values are used untyped: JSON schemas, answers of endpoints, what callbacks of users get, and what the functions
return that people call.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Mapping

from tests.conftest import ROOT

UNTYPED = re.compile(r"\b\w*(?:[dD]ict|Mapping)\[str, (?:typing\.)?Any\]")

MOST = 66
"""Of them in the package, each use of a name for such a type counted as one."""


def count_untyped(sources: Mapping[str, str]) -> Counter[str]:
    """Count mappings of anything by module, and uses of names for them; sources are given by module."""
    trees = {module: ast.parse(source) for module, source in sources.items()}
    written = Counter({module: len(UNTYPED.findall(source)) for module, source in sources.items()})
    nodes = {module: list(ast.walk(tree)) for module, tree in trees.items()}
    read = {
        module: Counter(n.id for n in listed if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load))
        for module, listed in nodes.items()
    }
    imports = {module: [n for n in listed if isinstance(n, ast.ImportFrom)] for module, listed in nodes.items()}
    known: set[tuple[str, str]] = set()
    while True:  # until there are no more names for names
        uses, before = Counter[str](), len(known)
        for module, tree in trees.items():
            names = {name for where, name in known if where == module}
            for node in imports[module]:
                names |= {alias.asname or alias.name for alias in node.names if (node.module, alias.name) in known}
            uses[module] = sum(read[module][name] for name in names)
            known |= {(module, name) for name in names_for_untyped(tree, names)}
        if len(known) == before:
            return written + uses


def names_for_untyped(tree: ast.Module, names: set[str]) -> set[str]:
    """Return the names that a module gives to types which are made of mappings of anything, or of such names."""
    found = set()
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Subscript | ast.BinOp | ast.Name):
            used = {inner.id for inner in ast.walk(node.value) if isinstance(inner, ast.Name)}
            if UNTYPED.search(ast.unparse(node.value)) or used & names:
                found |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return found


def test_mappings_of_anything_are_few() -> None:
    files = [path for path in (ROOT / "rlaif").rglob("*.py") if "_bundled" not in path.relative_to(ROOT).parts]
    sources = {".".join(path.relative_to(ROOT).with_suffix("").parts): path.read_text() for path in files}
    count = count_untyped(sources)
    assert 0 < count.total() <= MOST, "\n".join(f"{n} in {module}" for module, n in count.most_common())


def test_each_use_of_a_name_for_one_counts() -> None:
    first = "Row = dict[str, Any]\nRows = list[Row]\ndef f(row: Row) -> Mapping[str, Any]: ..."
    second = "from a import Rows as R\ndef g(rows: R) -> OrderedDict[str, Any]: ..."
    assert count_untyped({"a": first, "b": second}) == {"a": 4, "b": 2}
    assert count_untyped({"c": "def f(row: dict[str, object], key: Any) -> dict[str, int]: ..."}) == {}
