"""
bench.html in a real browser: it asks for nothing, says nothing on the console, lets no text act, and works by keyboard.

What it shares with the report is tested there; here is what is its own. Without a browser it is skipped, loudly.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rlaif.report.bench.page import write
from tests.benching import Scripted, labelled
from tests.browser import cells, count, serious, until
from tests.folders import HOSTILE
from tests.report.test_bench_page import JUDGES, folder_of, hostile_bench


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(folder_of(tmp_path_factory.mktemp("bench") / "out"))


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(hostile_bench(tmp_path_factory.mktemp("hostile") / "out"))


def apart(page: Any) -> list[float]:
    return [float(text.split("\n")[-1]) for text in cells(page, "td.change")]


def test_the_most_disputed_texts_come_first_and_a_press_turns_the_order(bench, visit):
    page = visit(bench)
    assert count(page).startswith("Texts 1 to 20 of ")
    found = apart(page)
    assert found == sorted(found, reverse=True)
    assert len(set(found)) > 5
    head = page.locator("#explorer th.change")
    assert head.get_attribute("aria-sort") == "descending"
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    assert apart(page) == sorted(apart(page))
    assert apart(page)[0] < found[-1]
    page.locator("#explorer th.pane").get_by_role("button").click()
    scores = [float(text.split()[0]) for text in page.locator("#explorer .verdict").all_inner_texts()]
    assert scores == sorted(scores)


def test_search_finds_texts_reasons_labels_groups_and_files(bench, visit):
    page = visit(bench)
    box = page.get_by_role("searchbox")
    box.fill("good says of text 11 ")
    until(page, 1)
    assert "text 11 is fine" in cells(page, "tr")[0]
    assert "people: neutral · topic: t2 · the data, row 11" in cells(page, "tr")[0]
    box.fill("")
    until(page, 20)
    box.fill("people: toxic topic: t1")
    page.get_by_text(" in all").wait_for()
    rows = cells(page, "tr")
    assert rows
    assert all("is bad" in row and "t1" in row for row in rows)
    box.fill("no such words anywhere")
    until(page, 0)
    assert count(page) == "No text matches."


def test_each_text_shows_what_every_judge_said(bench, visit):
    row = visit(bench).locator("#explorer tbody tr").first.inner_text()
    assert all(judge.name in row for judge in JUDGES)
    assert "good says of" in row
    assert row.count("toxicity 0.") + row.count("toxicity 1.") >= 2


def test_an_abstention_can_be_looked_for(tmp_path, visit):
    third = Scripted("third", lambda text: len(text) % 7 / 10)
    page = visit(write(folder_of(tmp_path / "out", judges=[*JUDGES, third])))
    page.locator("#explorer select[name=judge]").select_option(label="gaps")
    page.locator("#explorer select[name=filter]").select_option(label="judge abstained")
    assert cells(page, "tr")
    assert all("– filtered" in row for row in cells(page, "tr"))


def test_tables_of_numbers_sort_by_a_press_and_by_the_keyboard(bench, visit):
    page = visit(bench)
    head = page.locator("#ranking-table-1").get_by_role("columnheader", name="AUROC")
    head.get_by_role("button").focus()
    page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "ascending"
    found = page.locator("#ranking-table-1 tbody td:nth-child(2)").all_inner_texts()
    values = [float(cell.split("\n")[0]) for cell in found]
    assert values == sorted(values)
    assert len(values) == 5
    page.get_by_text("Judges beside the baselines").first.click()
    assert page.locator("#against-baselines tbody tr").first.is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(bench, hostile, visit, scheme):
    for path in (bench, hostile):
        page = visit(path, color_scheme=scheme)
        for summary in page.locator("summary").all():
            summary.click()
        assert serious(page) == []


def test_figures_follow_the_colours_and_a_narrow_page_does_not_move_sideways(bench, hostile, visit):
    light, dark = (visit(bench, color_scheme=scheme) for scheme in ("light", "dark"))
    for figure in ("#ranking-1", "#reliability-1", "#agreement", "#cost-1", "#groups-1"):
        ink = f"getComputedStyle(document.querySelector('{figure} svg text')).fill"
        assert light.evaluate(ink) != dark.evaluate(ink)
    for path in (bench, hostile):
        page = visit(path, viewport={"width": 390, "height": 844})
        assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_no_text_of_a_figure_is_cut_off(bench, visit):
    page = visit(bench)
    cut = page.evaluate(
        """() => [...document.querySelectorAll("figure svg")].flatMap((svg) => {
            const box = svg.getBoundingClientRect();
            return [...svg.querySelectorAll("text")].filter((text) => {
                const its = text.getBoundingClientRect();
                return its.left < box.left - 2 || its.right > box.right + 12 || its.top < box.top - 4;
            }).map((text) => `${svg.closest("figure").id}: ${text.textContent}`);
        })"""
    )
    assert cut == []


def test_print_has_the_numbers_and_none_of_the_controls(bench, visit):
    page = visit(bench)
    page.emulate_media(media="print")
    for hidden in (".theme", "#explorer .tools", "#explorer .pager", ".top nav", "figure details"):
        assert not page.locator(hidden).first.is_visible(), hidden
    for seen in (".lead", "#coverage-table", "#ranking-1 svg", "#explorer tbody tr"):
        assert page.locator(seen).first.is_visible(), seen
    assert page.pdf().startswith(b"%PDF")


def test_without_scripts_all_but_the_texts_stands(bench, visit):
    page = visit(bench, java_script_enabled=False)
    for seen in (".lead", "#coverage-table", "#ranking-1 svg"):
        assert page.locator(seen).is_visible()
    assert page.locator("noscript .notice").is_visible()


def test_hostile_texts_are_read_and_do_nothing(hostile, visit):
    page = visit(hostile)
    page.locator("#explorer select[name=size]").select_option("100")
    for button in page.locator("#explorer .text + .plain").all():
        button.click()
    shown = " ".join(page.locator("#explorer").inner_text().split())
    for name in ("script", "end", "comment", "link", "template", "formula", "style", "attribute"):
        assert " ".join(HOSTILE[name].split()) in shown, name
    for escape in ("‹U+202E›", "‹U+0000›", "‹U+001B›", "‹U+2028›", "‹U+D800›"):
        assert escape in shown
    assert page.title() == "out · rlaif bench"
    assert page.locator("#explorer").locator("a, img, script, style, iframe, [onfocus], [onerror]").count() == 0
    assert page.locator("img").count() == 0
    assert page.locator("script:not([type])").count() == 2


def test_a_thousand_groups_and_ten_judges_stay_a_page(tmp_path, visit):
    rows = [{**row, "topic": f"group {i % 1000}"} for i, row in enumerate(labelled(2000))]
    judges = [Scripted(f"judge number {i} of ten", lambda text, i=i: len(text) * (i + 3) % 11 / 10) for i in range(10)]
    page = visit(write(folder_of(tmp_path / "out", rows, judges, draws=20)))
    assert page.locator("#group-table-1 tbody tr").count() == 60
    assert page.locator("#agreement svg").is_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
