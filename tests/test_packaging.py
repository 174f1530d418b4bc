"""What is shipped: the wheel alone in an empty folder, the pins, and the cards with the table of them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import rlaif
from rlaif.core.paths import names, shipped_folder
from rlaif.judges.cards.card import find_card
from rlaif.judges.cards.question import read_question
from rlaif.judges.registry import read_card
from tests.conftest import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def built(kind: str, source: Path, into: Path) -> Path:
    command = [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", str(into)]
    subprocess.run(command, cwd=source, check=True, capture_output=True, timeout=60)
    (made,) = into.iterdir()
    return made


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built("wheel", ROOT, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def target(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds the installed wheel, and beside it a package `judges`, such as the index has one."""
    folder = tmp_path_factory.mktemp("target")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", folder, wheel]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    (folder / "judges").mkdir()
    (folder / "judges" / "__init__.py").write_text("raise ImportError('this is somebody else')\n")
    return folder


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A working directory with cards of its own, one of them named as a shipped one."""
    (tmp_path / "judges").mkdir()
    (tmp_path / "judges" / "mine.yaml").write_text("adapter: lexicon\nwords: [spam]\n")
    (tmp_path / "judges" / "constant.yaml").write_text("adapter: constant\nvalue: 0.125\nmeasures: hiding\n")
    return tmp_path


def run(target: Path, folder: Path, *arguments: str) -> str:
    """Run this interpreter with the target first on its import path: before the checkout of an editable install."""
    env = {**os.environ, "PYTHONPATH": str(target), "COLUMNS": "200"}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=env, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_what_is_tested_is_the_wheel_and_not_the_checkout(target: Path, elsewhere: Path) -> None:
    shown = "rlaif.__file__, rlaif.core.paths.shipped_folder('judges')"
    source = f"import rlaif, rlaif.judges.cards.card; print({shown}, sep='\\n')"
    module, cards = run(target, elsewhere, "-c", source).splitlines()
    assert Path(module) == target / "rlaif" / "__init__.py"
    assert Path(cards) == target / "rlaif" / "_bundled" / "judges"


def test_the_wheel_lists_shipped_cards_and_those_of_the_working_directory(target: Path, elsewhere: Path) -> None:
    lines = [line.split() for line in run(target, elsewhere, "-m", "rlaif", "judges").splitlines()[1:]]
    found = {name: measures for name, _, measures, *_ in lines}
    assert set(found) == {*(path.stem for path in (ROOT / "judges").glob("*.yaml")), "mine"}
    assert found["constant"] == "hiding"
    assert found["lexicon"] == "toxicity"


def test_the_wheel_scores_by_shipped_cards_and_by_ones_own(target: Path, elsewhere: Path) -> None:
    judges = ("-j", "lexicon", "-j", "mine", "-j", "constant")
    out = run(target, elsewhere, "-m", "rlaif", "score", *judges, "--text", "you spam idiot")
    assert {row["judge"]: row["score"] for row in map(json.loads, out.splitlines())} == {
        "lexicon": 0.5,  # one insult
        "mine": 0.5,  # one word of our own
        "constant": 0.125,  # ours hides the shipped one
    }


def test_the_wheel_holds_one_package_and_no_other_top_level_name(wheel: Path) -> None:
    inside = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in inside} == {"rlaif", f"rlaif_toolkit-{rlaif.__version__}.dist-info"}
    data = {name for kind in ("judges", "prompts", "recipes") for name in files_of(kind)}
    assert {name.removeprefix("rlaif/_bundled/") for name in inside if "_bundled" in name} == data
    assert not [name for name in inside if "/test" in name or name.endswith((".pyc", "~"))]  # retest.py is ours


def files_of(folder: str) -> set[str]:
    return {path.relative_to(ROOT).as_posix() for path in (ROOT / folder).rglob("*") if path.is_file()}


def test_the_source_archive_builds_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    archive = built("sdist", ROOT, tmp_path / "sdist")
    with tarfile.open(archive) as tar:
        tar.extractall(tmp_path / "unpacked", filter="data")
    (source,) = (tmp_path / "unpacked").iterdir()
    again = built("wheel", source, tmp_path / "again")
    assert sorted(zipfile.ZipFile(again).namelist()) == sorted(zipfile.ZipFile(wheel).namelist())


# --- pins -----------------------------------------------------------------------------------------------------


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


PINS = {
    normal(line.split("==")[0]): line.split("==")[1]
    for line in (ROOT / "constraints.txt").read_text().splitlines()
    if not line.startswith("#")
}
NEEDED = [*PROJECT["dependencies"], *(line for extra in PROJECT["optional-dependencies"].values() for line in extra)]


@pytest.mark.parametrize("line", NEEDED)
def test_what_the_project_needs_is_pinned_within_its_bounds(line: str) -> None:
    requirement = Requirement(line)
    assert requirement.specifier.contains(PINS[normal(requirement.name)])


def test_torch_is_pinned_to_what_was_tested() -> None:
    assert PINS["torch"] == "2.13.0"


def test_the_version_of_the_distribution_is_that_of_the_package(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as inside:
        metadata = inside.read(f"rlaif_toolkit-{rlaif.__version__}.dist-info/METADATA").decode()
    assert f"\nVersion: {rlaif.__version__}\n" in metadata


# --- cards ----------------------------------------------------------------------------------------------------

CARDS = sorted(path.stem for path in (ROOT / "judges").glob("*.yaml"))


@pytest.mark.parametrize("name", CARDS)
def test_every_shipped_card_is_valid(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = find_card(name)
    assert text.path == ROOT / "judges" / f"{name}.yaml"
    _, card = read_card(text)
    assert card.name == name


def test_every_shipped_card_is_found_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert list(names("judges")) == CARDS
    assert shipped_folder("judges") == ROOT / "judges"


def row_of(path: Path) -> str:
    """A card as a row of judges/README.md; the last cell is the first sentence of the card's comment."""
    keys: Mapping[str, object] = find_card(path).keys
    comment = " ".join(line[1:].strip() for line in path.read_text().splitlines() if line.startswith("#"))
    sentence = re.split(r"(?<=\.)(?<!\bal\.)\s", comment)[0]  # "et al." ends no sentence
    measures = keys.get("measures") or (read_question(str(keys["prompt"])).measures if "prompt" in keys else "quality")
    cells = (f"`{path.stem}`", keys["adapter"], measures, keys.get("model", "–"), sentence)
    return f"| {' | '.join(map(str, cells))} |"


def test_the_table_of_cards_has_a_row_for_each_and_no_other() -> None:
    rows = [line for line in (ROOT / "judges" / "README.md").read_text().splitlines() if line.startswith("| `")]
    assert rows == [row_of(ROOT / "judges" / f"{name}.yaml") for name in CARDS]
