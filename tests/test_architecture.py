"""The shape of the package: imports point down, files and functions stay readable, and nothing heavy loads early."""

from __future__ import annotations

import ast
import importlib
import inspect
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import rlaif
from tests.conftest import ROOT

PACKAGE = ROOT / "rlaif"

# From the bottom up. A module may import what stands on a lower line, and, inside a folder, its own siblings.
LAYERS = (
    ("types", "errors", "threads", "environment"),
    ("schema", "messages", "terminal"),
    ("home", "hub", "output", "cards", "ppo", "quality", "stats", "records"),
    ("imports", "config", "rows", "rates", "store"),
    ("limits", "data"),
    ("session",),
    ("adapters", "policy"),
    ("scoring", "checkpoint", "batches", "processes", "interrupt", "view", "json_schemas"),
    ("reward_func", "rewards", "stopping"),
    ("rollout",),
    ("credit",),
    ("learning", "measuring"),
    ("resuming",),
    ("training",),
    ("trainer", "group"),
    ("evaluation", "benchmark", "spending", "folder"),
    ("guard",),
    ("report",),
    ("quickstart", "recipes", "estimate"),
    ("run", "before_after"),
    ("commands",),
    ("cli",),
    ("__main__",),
)
HEIGHT = {name: height for height, layer in enumerate(LAYERS) for name in layer}

Module = tuple[str, ...]
"""A module's name below `rlaif`: `("adapters", "panel")`; `()` is the package itself."""


def module_of(path: Path) -> Module:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return parts[:-1] if parts[-1] == "__init__" else parts


FILES = sorted(path for path in PACKAGE.rglob("*.py") if "_bundled" not in path.parts)
MODULES = {module_of(path): path for path in FILES}


def imports_of(source: str, modules: dict[Module, Path] = MODULES) -> Iterator[tuple[int, Module]]:
    """Yield line and module of what a source imports of the package, inside functions too, but not for types only."""
    waiting: list[ast.AST] = [ast.parse(source)]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            waiting += node.orelse
            continue
        waiting += ast.iter_child_nodes(node)
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"line {node.lineno}: imports are absolute, so that this test can read them"
            submodules = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name for name in submodules if tuple(name.split(".")[1:]) in modules] or [str(node.module)]
        else:
            continue
        yield from ((node.lineno, tuple(name.split(".")[1:])) for name in names if name.split(".")[0] == "rlaif")


def points_down(importer: Module, imported: Module) -> bool:
    """Whether `importer` may import `imported`; the package itself holds the version and is open to all."""
    if not imported or importer[:1] == imported[:1]:
        return True
    return HEIGHT[imported[0]] < HEIGHT[importer[0]]


def test_every_module_has_its_place_in_the_layers() -> None:
    missing = sorted({module[0] for module in MODULES if module} - HEIGHT.keys())
    assert not missing, f"{', '.join(missing)}: add to LAYERS in {__file__}, above all that it imports"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_imports_point_down(path: Path) -> None:
    module = module_of(path)
    if not module:  # the package's public names load on first use, from wherever they are
        assert list(imports_of(path.read_text())) == []
        return
    wrong = [
        f"{path}:{line}: rlaif.{'.'.join(module)} imports rlaif.{'.'.join(imported)}, which is not below it"
        for line, imported in imports_of(path.read_text())
        if not points_down(module, imported)
    ]
    assert not wrong, "\n".join(wrong)


def test_an_import_that_points_up_would_be_found() -> None:
    lines = (
        "def f():",
        "from rlaif.scoring import score",
        "import rlaif.cli",
        "from rlaif import commands, __version__",
    )
    found = sorted(imports_of("\n    ".join(lines)))
    assert found == [(2, ("scoring",)), (3, ("cli",)), (4, ("commands",))]
    assert not any(points_down(("cards",), imported) for _, imported in found)


def test_no_adapter_knows_another() -> None:
    """But for what several have in common: `remote`, and `llm` for those that ask a language model."""
    for module, path in MODULES.items():
        if module[:1] == ("adapters",) and len(module) > 1:
            inside = {
                imported[1]
                for _, imported in imports_of(path.read_text())
                if imported[1:] and imported[0] == "adapters"
            }
            assert inside - {"llm", "remote"} <= {module[1]}, f"{path}: an adapter imports another one"


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


def test_nothing_is_named_utils() -> None:
    assert [path for path in ROOT.glob("[!.]*/**/*") if path.stem.strip("_") in ("utils", "util", "helpers")] == []


@pytest.mark.parametrize("folder", ["judges", "prompts"])
def test_policy_is_data_and_holds_no_python(folder: str) -> None:
    assert {path.suffix for path in (ROOT / folder).rglob("*") if path.is_file()} <= {".yaml", ".md"}


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
    assert set(rlaif.__all__) == {*rlaif._HOMES, "__version__"}


def test_a_name_that_is_not_public_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'scores'"):
        rlaif.scores  # noqa: B018


@pytest.mark.parametrize("module", sorted(MODULES), ids=lambda module: ".".join(("rlaif", *module)))
def test_every_module_says_in_its_first_line_what_it_is(module: Module) -> None:
    doc = importlib.import_module(".".join(("rlaif", *module))).__doc__
    assert doc
    assert doc.strip().splitlines()[0]
