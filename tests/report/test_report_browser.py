"""
The report in a real browser: Debian's chromium, driven by playwright. Without one these tests are skipped, loudly.

No page may ask for anything but itself, say anything on the console, or let a text act; all of it works by the
keyboard, and axe finds nothing serious.
"""

from __future__ import annotations

import re
import socket
from pathlib import Path
from typing import Any

import pytest

from rlaif.report.report import write
from tests.browser import cells, count, serious, until
from tests.folders import HOSTILE, JUDGES, lines, run_folder, samples, side
from tests.report.test_report import hostile_run


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write([run_folder(tmp_path_factory.mktemp("report") / "run", samples(60))])


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write([hostile_run(tmp_path_factory.mktemp("hostile") / "run")])


@pytest.fixture(scope="module")
def hostile_with_folds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with a long text of some screens: axe looks at what lies under every line of it."""
    return write([hostile_run(tmp_path_factory.mktemp("folds") / "run", longest=5000)])


def changes(page: Any) -> list[float]:
    return [float(text.split("\n")[-1].replace("−", "-")) for text in cells(page, "td.change") if "–" not in text]


# --- what one does with it ------------------------------------------------------------------------------------------


def test_the_worst_regressions_come_first_and_a_press_turns_the_order(report, visit):
    page = visit(report)
    assert count(page) == "Samples 1 to 20 of 60"
    found = changes(page)
    assert found == sorted(found)
    head = page.locator("#explorer th.change")
    assert head.get_attribute("aria-sort") == "ascending"
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "descending"
    assert changes(page) == sorted(changes(page), reverse=True)
    assert changes(page)[0] > found[-1]
    page.locator("#explorer thead th.no").get_by_role("button").click()
    assert [int(text.split()[-1]) for text in cells(page, "th")] == list(range(1, 21))
    assert head.get_attribute("aria-sort") == "none"


def test_search_finds_what_is_in_prompts_texts_and_reasons(report, visit):
    page = visit(report)
    box = page.get_by_role("searchbox")
    box.fill("PROMPT 17:")
    until(page, 1)
    assert "after 17 " in cells(page, "tr")[0]
    assert count(page) == "Samples 1 to 1 of 1, of 60 in all"
    box.fill("no such words anywhere")
    until(page, 0)
    assert count(page) == "No sample matches."
    box.fill("helpfulness says")
    until(page, 20)


def test_another_judge_orders_otherwise_and_filters_are_by_it(report, visit):
    page = visit(report)
    assert page.locator("#explorer select[name=judge]").locator("option").all_inner_texts() == [
        "toxicity_general, held out", "helpfulness, held out", "toxicity, training",
    ]  # fmt: skip
    before = cells(page, "th")
    page.locator("#explorer select[name=judge]").select_option(label="helpfulness, held out")
    assert changes(page) == sorted(changes(page))
    assert cells(page, "th") != before
    page.locator("#explorer select[name=filter]").select_option(label="got better")
    assert min(changes(page)) > 0
    page.locator("#explorer select[name=filter]").select_option(label="judge abstained")
    assert count(page) == "No sample matches."


def test_pages_hold_every_sample_once(report, visit):
    page = visit(report)
    page.locator("#explorer select[name=size]").select_option("50")
    seen = cells(page, "th")
    assert page.get_by_role("button", name="Previous").is_disabled()
    page.get_by_role("button", name="Next").click()
    seen += cells(page, "th")
    assert page.get_by_role("button", name="Next").is_disabled()
    assert sorted(int(text.split()[-1]) for text in seen) == list(range(1, 61))


def test_each_sample_shows_every_judges_number_and_reason(report, visit):
    row = visit(report).locator("#explorer tbody tr").first.inner_text()
    for name in JUDGES:
        assert row.count(f"{name} says so") == 2
    assert len(re.findall(r"\d\.\d{3}, toxicity \d\.\d{3}", row)) == 4


def test_tables_of_numbers_sort_too(report, visit):
    page = visit(report)
    head = page.locator("#judges").get_by_role("columnheader", name="Score after")
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    found = [float(cell.split("\n")[0]) for cell in page.locator("#judges tbody td:nth-child(3)").all_inner_texts()]
    assert found == sorted(found)


def test_all_of_it_works_by_the_keyboard(report, visit):
    page = visit(report)
    focused = "document.activeElement"

    def tab_to(condition: str) -> None:
        for _ in range(120):
            page.keyboard.press("Tab")
            if page.evaluate(f"(e => {condition})({focused})"):
                style = page.evaluate(f"(e => getComputedStyle(e))({focused}).outlineStyle")
                assert style != "none", "what has the focus is not seen to have it"
                return
        raise AssertionError(f"no tab leads to {condition}")

    tab_to("e.className === 'skip'")
    page.keyboard.press("Enter")
    assert page.evaluate(f"{focused}.id") == "content"
    tab_to("e.closest('#judges th') !== null")
    page.keyboard.press("Enter")
    assert page.locator("#judges th[aria-sort=ascending]").count() == 1
    tab_to("e.tagName === 'SUMMARY'")
    page.keyboard.press("Enter")
    assert page.locator("figure details[open]").count() == 1
    tab_to("e.name === 'query'")
    page.keyboard.type("after 3")
    page.get_by_text("of 60 in all").wait_for()
    tab_to("e.closest('#explorer th.change') !== null")
    page.keyboard.press("Space")
    assert page.locator("#explorer th.change").first.get_attribute("aria-sort") == "descending"


# --- how it looks ---------------------------------------------------------------------------------------------------


def background(page: Any) -> str:
    return page.evaluate("getComputedStyle(document.body).backgroundColor")


def test_colours_follow_the_system_or_the_switch_and_print_is_light(report, visit):
    light, dark = (visit(report, color_scheme=scheme) for scheme in ("light", "dark"))
    assert background(light) != background(dark)
    stroke = "getComputedStyle(document.querySelector('#curve-kl svg text')).fill"
    assert light.evaluate(stroke) != dark.evaluate(stroke)
    light.get_by_label("Dark").check(force=True)
    assert background(light) == background(dark)
    dark.emulate_media(media="print")
    light.get_by_label("Light").check(force=True)
    assert background(dark) == background(light)


def test_a_narrow_page_does_not_move_sideways(report, hostile, visit):
    for path in (report, hostile):
        page = visit(path, viewport={"width": 390, "height": 844})
        assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_print_has_the_numbers_and_none_of_the_controls(report, visit):
    page = visit(report)
    page.emulate_media(media="print")
    for hidden in (".theme", "#explorer .tools", "#explorer .pager", ".top nav", "figure details"):
        assert not page.locator(hidden).first.is_visible(), hidden
    for seen in ("#judges", "#curve-kl svg", "#explorer tbody tr", ".lead"):
        assert page.locator(seen).first.is_visible(), seen
    assert page.pdf().startswith(b"%PDF")


def test_without_scripts_the_answer_stands_and_the_samples_say_why_they_do_not(report, visit):
    page = visit(report, java_script_enabled=False)
    assert page.locator(".lead").is_visible()
    assert page.locator("#judges").is_visible()
    assert page.locator("noscript .notice").is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(report, hostile_with_folds, visit, scheme):
    for path in (report, hostile_with_folds):
        page = visit(path, color_scheme=scheme)
        page.locator("figure summary").first.click()
        for region in page.locator(".plain").all()[:1]:
            region.click()
        assert serious(page) == []


def test_two_runs_stand_side_by_side(tmp_path, visit):
    folders = [run_folder(tmp_path / name, samples(12, seed=seed), seed=seed) for name, seed in (("a", 1), ("b", 2))]
    page = visit(write(folders, tmp_path / "both.html"))
    heads = page.locator("#explorer thead th").all_inner_texts()
    ours = ["No.", "Prompt", "Before", "After · a", "After · b", "Change · a", "Change · b"]
    assert [head.strip() for head in heads] == ours
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


# --- hostile texts --------------------------------------------------------------------------------------------------


def test_hostile_texts_are_read_and_do_nothing(hostile, visit):
    page = visit(hostile)
    page.locator("#explorer select[name=size]").select_option("100")
    shown = page.locator("#explorer").inner_text()
    for name in ("script", "end", "comment", "link", "template", "formula", "style", "attribute"):
        assert " ".join(HOSTILE[name].split()) in " ".join(shown.split()), name
    for escape in ("‹U+202E›", "‹U+0000›", "‹U+001B›", "‹U+2028›", "‹U+D800›"):
        assert escape in shown
    assert page.title() == "run · rlaif report"
    assert page.locator("#explorer").locator("a, img, script, style, iframe, [onfocus], [onerror]").count() == 0
    assert page.locator("img").count() == 0
    assert page.locator("script:not([type])").count() == 2


def test_markup_that_got_in_all_the_same_could_not_run(report, chromium):
    page = chromium.new_page()
    stopped: list[str] = []
    page.on("console", lambda message: stopped.append(message.text))
    spy = socket.create_server(("127.0.0.1", 0))
    spy.setblocking(False)
    page.goto(report.as_uri())
    page.evaluate(
        """(address) => {
            document.body.insertAdjacentHTML("beforeend", "<b onclick=\\"document.title='owned'\\" id=planted>x</b>");
            document.getElementById("planted").click();
            const script = document.createElement("script");
            script.textContent = "document.title = 'owned'";
            document.body.append(script);
            document.body.append(Object.assign(new Image(), { src: address }));
        }""",
        f"http://127.0.0.1:{spy.getsockname()[1]}/spy",
    )
    page.wait_for_timeout(200)
    assert page.title() == "run · rlaif report"
    assert len([line for line in stopped if "Content Security Policy" in line]) >= 3
    with spy, pytest.raises(BlockingIOError):  # nobody has come
        spy.accept()
    page.close()


def test_a_megabyte_of_text_is_folded_until_it_is_asked_for(hostile, visit):
    page = visit(hostile)
    button = page.get_by_role("button", name="Show all 1,000,000 characters")
    page.get_by_role("searchbox").fill("x" * 50)
    until(page, 1)
    assert len(page.locator("#explorer tbody").inner_text()) < 5000
    button.click()
    assert len(page.locator("#explorer .text.open").text_content()) == 1_000_000
    page.get_by_role("button", name="Show less").click()
    assert len(page.locator("#explorer tbody").inner_text()) < 5000


# --- many samples ---------------------------------------------------------------------------------------------------


FIRST_PAINT = """() => new Promise(resolve => new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) if (entry.name === "first-contentful-paint") resolve(entry.startTime);
}).observe({ type: "paint", buffered: true }))"""


def test_five_thousand_samples_are_seen_within_three_seconds_and_searched_at_once(tmp_path, visit):
    path = write([run_folder(tmp_path / "run", samples(5000, words=40))])
    paints = []
    for _ in range(2):  # once more on a machine that is busy
        page = visit(path)
        paints.append(page.evaluate(FIRST_PAINT) / 1000)
        if paints[-1] < 3:
            break
    assert min(paints) < 3, paints
    assert count(page) == "Samples 1 to 20 of 5,000"
    assert page.locator("#explorer tbody tr").count() == 20
    page.get_by_role("searchbox").fill("prompt 4321:")
    until(page, 1)
    assert "after 4321 " in cells(page, "tr")[0]


def test_a_sample_of_a_run_that_is_still_going_has_no_after(tmp_path, visit):
    rows = [{**row, "after": None} for row in samples(3)]
    rows[0]["before"] = side("", dict.fromkeys(JUDGES, None))
    folder = run_folder(tmp_path / "run", samples(3), steps=3)
    (folder / "evaluation.json").unlink()
    (folder / "samples.jsonl").write_text(lines(rows))
    page = visit(write([folder]))
    assert page.locator(".notice.alarm").first.inner_text().startswith("Not finished")
    heads = page.locator("#explorer thead th").all_inner_texts()
    assert [head.strip(" ↑") for head in heads] == ["No.", "Prompt", "Before"]  # some browsers tell the arrow too
    last = cells(page, "tr")[-1]
    assert "empty" in last
    assert "– filtered" in last
