"""A judge in the place of the toxicity measurement of the library `evaluate`: same arguments, same keys, offline."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import evaluate
import pytest

import rlaif
from rlaif.core.errors import InputError
from tests import tiny

TEXTS = ["You are kind.", "You fool.", "What an idiot, what a fool."]
LEXICON = {"adapter": "lexicon", "words": ["fool", "idiot"], "measures": "toxicity", "name": "mine"}


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """Nobody's caches."""
    monkeypatch.setenv("RLAIF_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def loaded(card=LEXICON, *names):
    return evaluate.load(rlaif.measurement(card), *names, module_type="measurement")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, {"toxicity": pytest.approx([0, 1 / 2, 2 / 3])}),
        ({"aggregation": "all"}, {"toxicity": pytest.approx([0, 1 / 2, 2 / 3])}),
        ({"aggregation": "maximum"}, {"max_toxicity": pytest.approx(2 / 3)}),
        ({"aggregation": "ratio"}, {"toxicity_ratio": pytest.approx(2 / 3)}),
        ({"aggregation": "ratio", "threshold": 0.6}, {"toxicity_ratio": pytest.approx(1 / 3)}),
        ({"toxic_label": "hate"}, {"toxicity": pytest.approx([0, 1 / 2, 2 / 3])}),
    ],
)
def test_arguments_and_keys_are_those_of_the_stock_measurement(arguments, expected):
    assert loaded().compute(predictions=TEXTS, **arguments) == expected


@pytest.mark.parametrize(
    ("aggregation", "expected"),
    [("all", {"toxicity": []}), ("maximum", {"max_toxicity": None}), ("ratio", {"toxicity_ratio": None})],
)
def test_an_empty_list_has_an_empty_result(aggregation, expected):
    assert loaded().compute(predictions=[], aggregation=aggregation) == expected


def test_texts_can_be_added_one_by_one_and_in_batches():
    module = loaded()
    module.add_batch(predictions=TEXTS[:2])
    module.add(predictions=TEXTS[2])
    assert module.compute() == {"toxicity": pytest.approx([0, 1 / 2, 2 / 3])}


def test_an_abstention_is_none_and_no_part_of_the_others():
    module = loaded()
    assert module.compute(predictions=["You fool.", " "]) == {"toxicity": [0.5, None]}
    assert module.compute(predictions=["You fool.", " "], aggregation="ratio") == {"toxicity_ratio": 1.0}
    assert module.compute(predictions=[" "], aggregation="maximum") == {"max_toxicity": None}


def test_a_classifier_says_what_the_stock_measurement_would_say_of_its_model():
    from transformers import pipeline

    folder = tiny.classifier(Path("classifier"))
    module = loaded({"adapter": "classifier", "model": str(folder), "bad": "hate", "measures": "toxicity", "name": "c"})
    model = pipeline("text-classification", model=str(folder), top_k=99999, truncation=True)
    stock = [next(label["score"] for label in labels if label["label"] == "hate") for labels in model(TEXTS)]
    assert module.compute(predictions=TEXTS)["toxicity"] == pytest.approx(stock, abs=1e-5)
    assert module.compute(predictions=TEXTS, toxic_label="hate")["toxicity"] == pytest.approx(stock, abs=1e-5)
    with pytest.raises(InputError, match="toxic_label: the card of c has bad: hate, not 'toxic'"):
        module.compute(predictions=TEXTS, toxic_label="toxic")


def test_cards_by_name_by_path_and_another_one_as_configuration():
    Path("mine.yaml").write_text("adapter: lexicon\nwords: [kind]\nmeasures: hate\n")
    assert rlaif.measurement("lexicon").endswith("/lexicon")
    assert loaded("./mine.yaml").compute(predictions=TEXTS) == {"toxicity": [0.5, 0, 0]}
    assert loaded(LEXICON, "./mine.yaml").compute(predictions=TEXTS) == {"toxicity": [0.5, 0, 0]}


def test_two_cards_of_one_name_are_two_measurements():
    other = {**LEXICON, "words": ["kind"]}
    assert rlaif.measurement(LEXICON) != rlaif.measurement(other)
    assert loaded(other).compute(predictions=TEXTS) == {"toxicity": [0.5, 0, 0]}


@pytest.mark.parametrize(
    ("card", "message"),
    [
        ("length", "measures length, but the measurement is of toxicity"),
        ("nobody", "nobody"),
        (3, "measurement takes a card by name, path or as a mapping, not 3"),
    ],
)
def test_what_is_no_measurement_of_toxicity_is_refused(card, message):
    with pytest.raises(InputError, match=message):
        rlaif.measurement(card)


def test_an_aggregation_that_is_none_is_refused():
    with pytest.raises(InputError, match="aggregation: 'mean' should be all, maximum or ratio"):
        loaded().compute(predictions=TEXTS, aggregation="mean")


def test_it_loads_offline_in_a_process_of_its_own_from_any_folder(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    path = rlaif.measurement(LEXICON)
    load = f"evaluate.load({path!r}, module_type='measurement')"
    script = f"import evaluate\nprint({load}.compute(predictions=['fool']))"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path / "elsewhere", capture_output=True, text=True, timeout=120
    )
    assert done.stdout.strip() == "{'toxicity': [0.5]}", done.stderr
    assert rlaif.measurement("toxicity").endswith("/toxicity")
