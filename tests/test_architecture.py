"""The shape of the package: imports point down, files and functions stay readable, and nothing heavy loads early."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence, Set
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import rlaif
from rlaif.judges.registry import BUILT_IN
from tests.conftest import ROOT

PACKAGE = ROOT / "rlaif"

# From the bottom up: a file may import what stands on a lower line, and what stands in its own room.
TIERS = (
    ("core",),
    ("stats", "data", "policy"),
    ("judges", "report"),
    ("evaluation", "benchmark"),
    ("training",),
    ("cli",),
    ("__main__",),
)
TIERS_OF_TRAINING = (("loop",), ("ppo", "trl"), ("run",))

OLD_PATHS = {("cards",), ("types",), ("evaluation", "measurement")}
"""Modules that only hand names on, until 0.3.0: no file of ours imports them."""

Module = tuple[str, ...]
"""A module's name below `rlaif`: `("adapters", "panel")`; `()` is the package itself."""


def module_of(path: Path) -> Module:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return parts[:-1] if parts[-1] == "__init__" else parts


FILES = sorted(path for path in PACKAGE.rglob("*.py") if "_bundled" not in path.parts)
MODULES = {module_of(path): path for path in FILES}


def imports_of(source: str, modules: Mapping[Module, Path] = MODULES) -> Iterator[tuple[int, Module]]:
    """Yield line and module of all that a source imports of the package, also in functions and for types only."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"line {node.lineno}: imports are absolute, so that this test can read them"
            submodules = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name for name in submodules if tuple(name.split(".")[1:]) in modules] or [str(node.module)]
        else:
            continue
        yield from ((node.lineno, tuple(name.split(".")[1:])) for name in names if name.split(".")[0] == "rlaif")


def height_of(module: Module, tiers: Sequence[Sequence[str]], depth: int = 0) -> int:
    """Return the tier of a module's room, or, at depth 1, of its folder in the room."""
    return next(height for height, rooms in enumerate(tiers) if module[depth] in rooms)


def points_down(importer: Module, imported: Module) -> bool:
    """Whether `importer` may import `imported`."""
    if importer[:1] != imported[:1]:
        return height_of(imported, TIERS) < height_of(importer, TIERS)
    if importer[0] != "training" or importer[:2] == imported[:2]:
        return True
    return height_of(imported, TIERS_OF_TRAINING, 1) < height_of(importer, TIERS_OF_TRAINING, 1)


def test_every_room_and_every_folder_of_training_has_its_tier() -> None:
    for tiers, found in (
        (TIERS, {module[0] for module in MODULES if module and module not in OLD_PATHS}),
        (TIERS_OF_TRAINING, {module[1] for module in MODULES if module[0:1] == ("training",) and module[1:]}),
    ):
        assert found == {room for tier in tiers for room in tier}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_imports_point_down(path: Path) -> None:
    module = module_of(path)
    imported = list(imports_of(path.read_text()))
    assert not [line for line, what in imported if what in OLD_PATHS], "an old path is for others only"
    if not module or module in OLD_PATHS:  # they hand names on, from wherever they are
        return
    wrong = [
        f"{path}:{line}: rlaif.{'.'.join(module)} imports rlaif.{'.'.join(what)}, which is not below it"
        for line, what in imported
        if not what or not points_down(module, what)
    ]
    assert not wrong, "\n".join(wrong)


def test_old_paths_hand_on_what_they_held() -> None:
    """A package of somebody else, and the scripts that `rlaif.measurement` wrote, import from there until 0.3.0."""
    from rlaif.evaluation.hf_module import JudgeMeasurement

    assert importlib.import_module("rlaif.cards").Card is rlaif.Card
    for name in ("Judge", "Judgement", "Sample", "Status", "Usage", "empty"):
        assert getattr(importlib.import_module("rlaif.types"), name) is getattr(rlaif, name)
    assert importlib.import_module("rlaif.evaluation.measurement").JudgeMeasurement is JudgeMeasurement


def test_an_import_that_points_up_would_be_found() -> None:
    lines = (
        "def f():",
        "from rlaif.judges.scoring import score",
        "import rlaif.cli.main",
        "from rlaif.training.run import guard",
    )
    found = sorted(imports_of("\n    ".join(lines)))
    assert found == [
        (2, ("judges", "scoring")), (3, ("cli", "main")), (4, ("training", "run", "guard")),
    ]  # fmt: skip
    assert not any(points_down(("core", "paths"), imported) for _, imported in found)
    assert not points_down(("training", "loop", "trainer"), ("training", "run", "guard"))


def test_no_file_imports_itself_by_way_of_others() -> None:
    graph = {module: {what for _, what in imports_of(path.read_text())} for module, path in MODULES.items() if module}
    with pytest.raises(CycleError):
        TopologicalSorter({("a",): {("b",)}, ("b",): {("a",)}}).prepare()
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the files


@pytest.mark.parametrize("path", [f for f in FILES if f.name == "__init__.py"], ids=lambda p: str(p.relative_to(ROOT)))
def test_an_init_holds_a_docstring_and_names_that_it_hands_on(path: Path) -> None:
    if path.parent == PACKAGE:  # names that load on first use
        return
    kinds = {type(node) for node in ast.parse(path.read_text()).body}
    assert kinds <= {ast.Expr, ast.ImportFrom, ast.Assign}


ADAPTERS = {target.split(":")[0].split(".")[2] for target in BUILT_IN.values()} | {"llm"}


def test_no_adapter_knows_another() -> None:
    """But for what several have in common: `remote`, and `llm` for those that ask a language model."""
    for module, path in MODULES.items():
        if module[:1] == ("judges",) and module[1:2] and module[1] in ADAPTERS:
            inside = {what[1] for _, what in imports_of(path.read_text()) if what[1:] and what[0] == "judges"}
            assert inside & (ADAPTERS - {"llm"}) <= {module[1]}, f"{path}: an adapter imports another one"


# --- sizes ----------------------------------------------------------------------------------------------------


def functions_of(path: Path) -> Iterator[tuple[str, int]]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            yield f"{path.relative_to(ROOT)}:{node.lineno} {node.name}", node.end_lineno - node.lineno + 1


def test_files_and_functions_stay_readable(capsys: pytest.CaptureFixture[str]) -> None:
    files = [(str(path.relative_to(ROOT)), len(path.read_text().splitlines())) for path in FILES]
    functions = [function for path in FILES for function in functions_of(path)]
    with capsys.disabled():
        for sized, limit in ((files, 300), (functions, 50)):
            for name, lines in sized:
                if lines > limit:
                    print(f"\nlonger than {limit} lines: {name} ({lines})", end="")
    assert [name for name, lines in files if lines > 400] == [], "a file that outgrows one idea becomes a folder"
    assert [name for name, lines in functions if lines > 80] == []


LONGEST_CLASS, LONGEST_BODY = 180, 50


def sizes_of(source: str) -> tuple[list[tuple[str, int]], list[tuple[str, int]]]:
    """Return the lines of each class, and those of each function's body without its docstring."""
    classes, bodies = [], []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ClassDef):
            classes.append((node.name, (node.end_lineno or 0) - node.lineno + 1))
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) is not None else node.body
            bodies.append((node.name, (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0))
    return classes, bodies


def test_what_is_counted_as_a_class_and_as_a_body() -> None:
    f, g = "    def f(self):\n        'Doc.'\n\n        x = 1\n        return x", "    def g(self):\n        'Doc.'"
    assert sizes_of(f"class A:\n{f}\n{g}") == ([("A", 8)], [("f", 2), ("g", 0)])


def test_classes_and_bodies_of_functions_stay_readable() -> None:
    sizes = {path.relative_to(ROOT).as_posix(): sizes_of(path.read_text()) for path in FILES}
    long = {name: path for path, (classes, _) in sizes.items() for name, lines in classes if lines > LONGEST_CLASS}
    assert long == {}
    assert [(path, name) for path, (_, bodies) in sizes.items() for name, lines in bodies if lines > LONGEST_BODY] == []


def test_nothing_is_named_utils() -> None:
    assert [path for path in ROOT.glob("[!.]*/**/*") if path.stem.strip("_") in ("utils", "util", "helpers")] == []


@pytest.mark.parametrize("folder", ["judges", "prompts", "recipes"])
def test_policy_is_data_and_holds_no_python(folder: str) -> None:
    assert {path.suffix for path in (ROOT / folder).rglob("*") if path.is_file()} <= {".yaml", ".md"}


# --- tests use public names -----------------------------------------------------------------------------------

EXCEPTIONS = {
    ("training/test_foreign_names.py", "_generate_single_turn"): "a method of TRL's, which is looked up in TRL",
    (
        "training/test_foreign_names.py",
        "_parameters",
    ): "an attribute of torch's Module; the package has others of this name",
}
"""Private names that a test may use, by file and name, each with the reason why there is no public way."""

TEST_FILES = sorted(path for path in (ROOT / "tests").rglob("*.py") if path.name != Path(__file__).name)


@cache
def private_to_the_package() -> frozenset[str]:
    return frozenset(name for path in FILES for name in private_names_of(path.read_text()))


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and name != "_"


def private_names_of(source: str) -> set[str]:
    """Return the private functions, classes, constants and attributes that a source defines."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and is_self(node.value):
            found.add(node.attr)
        elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__slots__":
            found |= set(ast.literal_eval(node.value))
    return {name for name in found if is_private(name)}


def is_self(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and node.id in ("self", "cls")


def private_uses(source: str, private: Set[str]) -> Iterator[tuple[int, str]]:
    """
    Yield line and name where a test uses a private name of the package.

    These are attributes, imported names, methods that override a private one, and names in strings, as
    `monkeypatch.setattr` takes them. A class of the test may have private attributes of its own.
    """
    tree = ast.parse(source)
    own, imported = private_names_of(source), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and str(node.module).split(".")[0] == "rlaif":
            imported |= {alias.asname or alias.name for alias in node.names}
            names = [*str(node.module).split("."), *(alias.name for alias in node.names)]
            yield from ((node.lineno, name) for name in names if is_private(name))
        elif isinstance(node, ast.Attribute) and node.attr in private:
            if not (is_self(node.value) and node.attr in own):
                yield node.lineno, node.attr
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            words = {word for word in re.findall(r"\b_\w+", node.value) if word in private}
            dotted = set(re.findall(r"\brlaif(?:\.\w+)*\.(_[a-zA-Z]\w*)", node.value))
            yield from ((node.lineno, name) for name in sorted(words | dotted))
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and any(ast.unparse(base).split(".")[0] in imported for base in node.bases):
            methods = [inner for inner in node.body if isinstance(inner, ast.FunctionDef)]
            yield from ((method.lineno, method.name) for method in methods if method.name in private)


@pytest.mark.parametrize("path", TEST_FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_tests_use_no_private_name_of_the_package(path: Path) -> None:
    name = path.relative_to(ROOT / "tests").as_posix()
    wrong = [
        f"{path}:{line}: {used} is private to the package; test what it does through a public name"
        for line, used in private_uses(path.read_text(), private_to_the_package())
        if (name, used) not in EXCEPTIONS
    ]
    assert not wrong, "\n".join(wrong)


def test_every_exception_is_still_used() -> None:
    for name, used in EXCEPTIONS:
        uses = private_uses((ROOT / "tests" / name).read_text(), private_to_the_package())
        assert used in {found for _, found in uses}, f"{name} no longer uses {used}: remove the exception"


@pytest.mark.parametrize(
    "line",
    [
        "from rlaif.cars import _tuned",
        "from rlaif.cars import _tuned as tuned",
        "car._wheels = []",
        "print(garage.car._motor.state)",
        "monkeypatch.setattr(car, '_wheels', [])",
        "monkeypatch.setattr('rlaif.cars.' '_unheard_of', None)",
        "run(meddle='from rlaif.cars import Car; before(Car, \"_wheels\", die)')",
        "run(meddle=f'before({owner}, _wheels)')",
        "class Mine(Car):\n    def _wheels(self): ...",
        "class Mine:\n    def f(self): return self._wheels",
    ],
)
def test_a_private_name_in_a_test_would_be_found(line: str) -> None:
    private = private_names_of(
        "class Car:\n    def __init__(self): self._wheels, self._motor = [], None\ndef _tuned(): ..."
    )
    assert private == {"_wheels", "_motor", "_tuned"}
    assert list(private_uses(f"from rlaif.cars import Car\n{line}", private))


def test_private_names_of_a_test_itself_are_its_own() -> None:
    source = (
        "from rlaif.cars import Car\n"
        "class Mine(Car):\n    def __init__(self): self._wheels = 1\n    def f(self): return self._wheels, _tuned()"
    )
    assert list(private_uses(source, {"_wheels", "_tuned"})) == []


# --- start-up and the public surface --------------------------------------------------------------------------

HEAVY = [
    "torch",
    "transformers",
    "matplotlib",
    "jinja2",
    "datasets",
    "openai",
    "boto3",
    "trl",
    "peft",
    "accelerate",
    "evaluate",
    "pandas",
]


@pytest.mark.parametrize("line", ["import rlaif", "import rlaif.__main__ as m; m.main(['--help'])"])
def test_nothing_heavy_loads_before_it_is_needed(line: str) -> None:
    source = f"{line}\nimport sys\nprint('loaded', *(set(sys.modules) & set({HEAVY})), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True, timeout=60)
    assert done.stderr == "loaded\n"


def test_every_public_name_resolves_and_says_what_it_is() -> None:
    for name in rlaif.__all__:
        thing = getattr(rlaif, name)
        if inspect.isclass(thing) or inspect.isfunction(thing):
            assert inspect.getdoc(thing), f"rlaif.{name} has no docstring"
    assert set(dir(rlaif)) == set(rlaif.__all__)


def test_type_checkers_see_the_names_that_are_public() -> None:
    """They load on first use; what is imported for type checkers is the same list."""
    source = ast.parse((PACKAGE / "__init__.py").read_text())
    (for_types,) = [node for node in source.body if isinstance(node, ast.If)]
    imports = [node for node in ast.walk(for_types) if isinstance(node, ast.ImportFrom)]
    names = {alias.name: node.module for node in imports for alias in node.names}
    assert {*names, "__version__"} == set(rlaif.__all__)
    for name, module in names.items():
        assert getattr(rlaif, name) is getattr(importlib.import_module(str(module)), name)


def test_a_name_that_is_not_public_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'scores'"):
        rlaif.scores  # noqa: B018


@pytest.mark.parametrize("module", sorted(MODULES), ids=lambda module: ".".join(("rlaif", *module)))
def test_every_module_says_in_its_first_line_what_it_is(module: Module) -> None:
    doc = importlib.import_module(".".join(("rlaif", *module))).__doc__
    assert doc
    assert doc.strip().splitlines()[0]
