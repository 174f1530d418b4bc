"""The classifier judge against transformers' own forward pass and numbers worked out by hand."""

from __future__ import annotations

import json
import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from rlaif import InputError, Sample, load_judge
from rlaif.judges.classifier.card import ClassifierCard
from rlaif.judges.classifier.head import Head, resolve_head
from rlaif.judges.classifier.text import token_batches
from tests import tiny

ARCHITECTURES = ("roberta", "bert", "distilbert", "deberta", "llama", "qwen", "gpt2")
SIX = ("toxic", "severe_toxic", "obscene", "threat", "insult", "identity_hate")
TEXTS = [
    "You are kind.",
    "x",
    "What a long and winding text this is, " * 3,
    "Grüße, 世界 🌍",
    "tabs\tand\nlines",
    "a" * 90,
]


@pytest.fixture(scope="module")
def roberta(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.classifier(tmp_path_factory.mktemp("roberta"))


@pytest.fixture
def networks(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The networks that transformers loads."""
    loaded: list[Any] = []
    load = AutoModelForSequenceClassification.from_pretrained

    def recorded(*args: Any, **keys: Any) -> Any:
        found = load(*args, **keys)
        loaded.append(found[0] if isinstance(found, tuple) else found)
        return found

    monkeypatch.setattr(AutoModelForSequenceClassification, "from_pretrained", recorded)
    return loaded


def card(model: Path, **keys: Any) -> dict[str, Any]:
    return {"adapter": "classifier", "model": str(model), **keys}


def reference_logits(model: Path, text: str, *more: str, **options: Any) -> list[float]:
    """One text at a time through transformers, with nothing of ours."""
    tokenizer = AutoTokenizer.from_pretrained(model)
    network = AutoModelForSequenceClassification.from_pretrained(model, dtype=torch.float32).eval()
    with torch.no_grad():
        return network(**tokenizer(text, *more, return_tensors="pt", **options)).logits[0].tolist()


def softmax(logits: list[float]) -> list[float]:
    top = max(logits)
    odds = [math.exp(z - top) for z in logits]
    return [o / sum(odds) for o in odds]


def sigmoid(z: float) -> float:
    return 1 / (1 + math.exp(-z))


# --- heads ----------------------------------------------------------------------------------------------------


def config(labels: tuple[str, ...], problem_type: str | None = None) -> Any:
    return SimpleNamespace(id2label=dict(enumerate(labels)), num_labels=len(labels), problem_type=problem_type)


def head_of(labels: tuple[str, ...], problem_type: str | None = None, **keys: Any) -> Head:
    return resolve_head(
        config(labels, problem_type), ClassifierCard(adapter="classifier", model="owner/model", **keys), "judge x"
    )


@pytest.mark.parametrize(
    ("labels", "problem_type", "keys", "kind"),
    [
        (("nothate", "hate"), None, {"bad": "hate"}, "softmax"),
        (("a", "b", "c"), None, {"bad": "a"}, "softmax"),
        (("a", "b"), "single_label_classification", {"bad": "a"}, "softmax"),
        (SIX, "multi_label_classification", {"bad": "toxic"}, "sigmoid"),
        (("a", "b"), "multi_label_classification", {"bad": "a"}, "sigmoid"),
        (("LABEL_0",), None, {}, "one_logit"),
        (("LABEL_0",), "regression", {}, "one_logit"),
        (("LABEL_0",), "multi_label_classification", {}, "one_logit"),
        (("a", "b"), None, {"bad": "a", "head": "sigmoid"}, "sigmoid"),
        (SIX, "multi_label_classification", {"bad": "toxic", "head": "softmax"}, "softmax"),
    ],
)
def test_the_kind_of_head_is_told_from_the_config(labels, problem_type, keys, kind):
    assert head_of(labels, problem_type, **keys).kind == kind


# Worked out by hand: exp(0) : exp(ln 3) : exp(ln 4) = 1 : 3 : 4, so softmax is 1/8, 3/8, 4/8; the sigmoids of
# ln 3 and ln 4 are 3/4 and 4/5, and of 0 it is 1/2.
THREE = [0.0, math.log(3), math.log(4)]


@pytest.mark.parametrize(
    ("head", "logits", "score", "logit", "raw"),
    [
        # two labels under softmax: the other label's raw logit is the evidence for good
        (Head("softmax", ("no", "hate"), (1,), None), [math.log(3), 0.0], 3 / 4, math.log(3), 1 / 4),
        (Head("softmax", ("no", "hate"), (), 0), [math.log(3), 0.0], 3 / 4, math.log(3), 3 / 4),
        # three labels: bad ones add up; without a good label the logit is minus the largest bad one
        (Head("softmax", ("a", "b", "c"), (0, 1), None), THREE, 1 / 2, -math.log(3), 1 / 2),
        (Head("softmax", ("a", "b", "c"), (2,), None), THREE, 1 / 2, -math.log(4), 1 / 2),
        (Head("softmax", ("a", "b", "c"), (), 1), THREE, 3 / 8, math.log(3), 3 / 8),
        # both named: 1 - p(bad), the good label's logit, p(good)
        (Head("softmax", ("a", "b", "c"), (0,), 2), THREE, 7 / 8, math.log(4), 1 / 2),
        # sigmoids: the largest bad probability counts
        (Head("sigmoid", ("a", "b", "c"), (0, 1), None), THREE, 1 / 4, -math.log(3), 3 / 4),
        (Head("sigmoid", ("a", "b", "c"), (0, 1, 2), None), THREE, 1 / 5, -math.log(4), 4 / 5),
        (Head("sigmoid", ("a", "b", "c"), (), 2), THREE, 4 / 5, math.log(4), 4 / 5),
        # one logit: itself, and its sigmoid
        (Head("one_logit", ("reward",), (), None), [math.log(3)], 3 / 4, math.log(3), math.log(3)),
        (Head("one_logit", ("toxic",), (0,), None), [math.log(3)], 1 / 4, -math.log(3), 3 / 4),
        (Head("one_logit", ("good",), (), 0), [math.log(3)], 3 / 4, math.log(3), 3 / 4),
    ],
)
def test_scores_logits_and_raw_values_are_those_worked_out_by_hand(head, logits, score, logit, raw):
    # float64, or the logarithms alone would be rounded by 6e-8; a probability is a few operations with an eps of 2e-16
    got = [column.item() for column in head.verdict(torch.tensor([logits], dtype=torch.float64))]
    assert got == pytest.approx([score, logit, raw], abs=1e-14)


def test_a_saturated_score_keeps_its_digits_and_its_order():
    head = Head("softmax", ("no", "hate"), (1,), None)
    scores, _, _ = head.verdict(torch.tensor([[-30.0, 30.0], [-31.0, 30.0], [30.0, -30.0]]))
    assert scores[0] == pytest.approx(math.exp(-60), rel=1e-6)
    assert scores[1] < scores[0]
    assert scores.min() >= 0
    assert scores.max() <= 1


@pytest.mark.parametrize(
    ("labels", "problem_type", "keys", "words"),
    [
        (("nothate", "hate"), None, {}, ["bad:", "good:", "nothate, hate"]),
        (("nothate", "hate"), None, {"bad": "toxic"}, ["bad", "'toxic'", "nothate, hate"]),
        (("nothate", "hate"), None, {"bad": "hat"}, ["did you mean 'hate'"]),
        (("nothate", "hate"), None, {"good": "kind"}, ["good", "'kind'", "nothate, hate"]),
        (("nothate", "hate"), None, {"bad": ["hate", "nothate"]}, ["all labels"]),
        (("nothate", "hate"), None, {"bad": "hate", "good": "hate"}, ["both good and bad"]),
        (("a", "b"), "regression", {"bad": "a"}, ["regression"]),
        (("only",), None, {"head": "softmax"}, ["one logit"]),
    ],
)
def test_an_unresolved_head_is_refused_with_what_there_is(labels, problem_type, keys, words):
    with pytest.raises(InputError) as refused:
        head_of(labels, problem_type, **keys)
    assert all(word in str(refused.value) for word in ["judge x", *words])


def test_a_label_is_found_but_for_case_and_never_by_position():
    assert head_of(("NOT_HATE", "HATE"), bad="hate").bad == (1,)
    with pytest.raises(InputError):
        head_of(("Hate", "HATE"), bad="hate")


def test_bad_and_good_of_two_labels_are_the_same_question():
    labels = ("nothate", "hate")
    assert head_of(labels, bad="hate").identity == head_of(labels, good="nothate").identity
    assert head_of(SIX, bad=["toxic", "insult"]).identity == head_of(SIX, bad=["insult", "toxic"]).identity
    assert head_of(SIX, bad="toxic").identity != head_of(SIX, bad="insult").identity


# --- against transformers -------------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_architecture_scores_as_transformers_does_one_text_at_a_time(architecture, tmp_path):
    model = tiny.classifier(tmp_path, architecture)
    judgements = load_judge(card(model, bad="hate"))([Sample(text) for text in TEXTS])
    for text, judgement in zip(TEXTS, judgements, strict=True):
        logits = reference_logits(model, text)
        assert judgement.logit == pytest.approx(logits[0], abs=1e-4)
        assert judgement.score == pytest.approx(softmax(logits)[0], abs=1e-4)
        assert judgement.raw == pytest.approx(softmax(logits)[1], abs=1e-4)


def test_six_sigmoids_score_by_the_worst_label(tmp_path):
    model = tiny.classifier(tmp_path, "bert", SIX, problem_type="multi_label_classification")
    (judgement,) = load_judge(card(model, bad=list(SIX)))([Sample("some text")])
    worst = max(reference_logits(model, "some text"))
    assert judgement.score == pytest.approx(1 - sigmoid(worst), abs=1e-5)
    assert judgement.logit == pytest.approx(-worst, abs=1e-4)
    assert judgement.raw == pytest.approx(sigmoid(worst), abs=1e-5)


@pytest.mark.parametrize("architecture", ["llama", "qwen", "deberta"])
def test_a_reward_model_gives_its_one_logit(architecture, tmp_path):
    model = tiny.classifier(tmp_path, architecture, ("LABEL_0",))
    judgements = load_judge(card(model))([Sample(text) for text in TEXTS])
    for text, judgement in zip(TEXTS, judgements, strict=True):
        (logit,) = reference_logits(model, text)
        assert judgement.logit == pytest.approx(logit, abs=1e-4)
        assert judgement.score == pytest.approx(sigmoid(logit), abs=1e-4)


@pytest.mark.parametrize("architecture", ["roberta", "bert", "llama"])
def test_a_pair_is_encoded_as_the_tokenizer_encodes_pairs(architecture, tmp_path):
    model = tiny.classifier(tmp_path, architecture)
    judge = load_judge(card(model, bad="hate", text="prompt_and_completion"))
    assert judge.reads == {"prompt"}
    judgements = judge([Sample("Fine.", "How are you?"), Sample("Fine.", "And she?"), Sample("Fine.")])
    for prompt, judgement in zip(("How are you?", "And she?", ""), judgements, strict=True):
        assert judgement.logit == pytest.approx(reference_logits(model, prompt, "Fine.")[0], abs=1e-4)


def test_a_chat_is_read_through_the_chat_template(tmp_path):
    model = tiny.classifier(tmp_path, "qwen", ("LABEL_0",), tokens={"chat": tiny.CHAT})
    judge = load_judge(card(model, text="chat"))
    short, long = judge([Sample("Fine.", "How?"), Sample("Fine." * 100, "How?")])
    text = "<s>user: How?</s><s>assistant: Fine.</s>"
    assert short.logit == pytest.approx(reference_logits(model, text, add_special_tokens=False)[0], abs=1e-4)
    assert (long.score, long.status) == (None, "too_long")


def test_a_chat_without_a_template_is_refused(tmp_path):
    model = tiny.classifier(tmp_path, "qwen", ("LABEL_0",))
    with pytest.raises(InputError, match="chat template"):
        load_judge(card(model, text="chat"))([])


@pytest.mark.parametrize("pad", ["<pad>", "</s>"])
@pytest.mark.parametrize("architecture", ["llama", "qwen", "gpt2"])
def test_a_decoder_reads_the_last_token_even_where_pad_is_eos(architecture, pad, tmp_path):
    model = tiny.classifier(tmp_path, architecture, ("LABEL_0",), tokens={"pad": pad})
    texts = ["short", "a good deal longer than the other one"]
    together = load_judge(card(model))([Sample(text) for text in texts])
    network = AutoModelForSequenceClassification.from_pretrained(model).eval()
    trunk, score = network.base_model, network.score
    for text, judgement in zip(texts, together, strict=True):
        ids = torch.tensor([AutoTokenizer.from_pretrained(model)(text)["input_ids"]])
        with torch.no_grad():  # the head at the last token, without transformers' search for it
            expected = score(trunk(ids).last_hidden_state[:, -1]).item()
        assert judgement.logit == pytest.approx(expected, abs=1e-4)


# --- what else is in the batch --------------------------------------------------------------------------------


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-4), ("bfloat16", 1e-2)])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_score_does_not_depend_on_what_else_is_in_the_batch(architecture, dtype, tolerance, tmp_path):
    model = tiny.classifier(tmp_path, architecture, initializer_range=0.1)
    judge = load_judge(card(model, bad="hate", dtype=dtype))
    together = judge([Sample(text) for text in TEXTS])
    for text, judgement in zip(TEXTS, together, strict=True):
        assert judge([Sample(text)])[0].score == pytest.approx(judgement.score, abs=tolerance)


def test_real_texts_score_alike_alone_and_in_a_batch_and_in_half_precision(shared):
    lines = (shared / "data/paradetox_labels.jsonl").read_text().splitlines()[:160]
    samples = [Sample(json.loads(line)["completion"]) for line in lines]
    model = shared / "models/toxicity-roberta"
    full, half = (load_judge(card(model, bad="hate", dtype=dtype)) for dtype in ("float32", "bfloat16"))
    scores, halves = full(samples), half(samples)
    for sample, together, in_half in list(zip(samples, scores, halves, strict=True))[::10]:
        assert full([sample])[0].score == pytest.approx(together.score, abs=1e-4)
        assert half([sample])[0].score == pytest.approx(in_half.score, abs=1e-2)
        assert in_half.score == pytest.approx(together.score, abs=1e-2)
    # A bfloat16 head has 59 distinct logits in these texts; a float32 head has as many as there are texts.
    assert len({j.logit for j in halves}) >= 0.95 * len({j.logit for j in scores})


def test_the_head_stays_in_float32_and_the_trunk_does_not(roberta, networks):
    judge = load_judge(card(roberta, bad="hate", dtype="bfloat16"))
    judge([])
    (network,) = networks
    assert {p.dtype for p in network.classifier.parameters()} == {torch.float32}
    assert {p.dtype for p in network.roberta.parameters()} == {torch.bfloat16}


def test_equal_texts_are_read_once_and_paid_once(roberta, networks):
    judge = load_judge(card(roberta, bad="hate"))
    judge([])
    seen = []
    (network,) = networks
    network.register_forward_hook(
        lambda _module, _args, kwargs, _output: seen.append(kwargs["input_ids"].shape[0]), with_kwargs=True
    )
    first, other, again = judge(
        [Sample("same", "p"), Sample("other"), Sample("same", "another prompt, which is not read")]
    )
    assert sum(seen) == 2
    assert (first.score, first.logit, first.raw) == (again.score, again.logit, again.raw)
    assert first.usage.input_tokens == other.usage.input_tokens - 1 == len("same") + 2
    assert (again.usage.input_tokens, again.usage.seconds) == (0, 0.0)


def test_batches_hold_similar_lengths_within_the_budget_and_every_text_once():
    lengths = [3, 9, 1, 9, 4, 200, 2]
    batches = list(token_batches(lengths, batch_tokens=18, limit=128))
    assert batches[0] == [1, 3]  # longest first, two times nine
    assert sorted(i for batch in batches for i in batch) == [0, 1, 2, 3, 4, 6]  # 200 is over the limit
    assert all(max(lengths[i] for i in batch) * len(batch) <= 18 for batch in batches)
    assert list(token_batches([50], batch_tokens=18, limit=128)) == [[0]]


def test_judges_that_ask_one_model_different_questions_share_its_weights(roberta, networks):
    hate, nice = load_judge(card(roberta, bad="hate")), load_judge(card(roberta, good="hate", name="nice"))
    (bad,), (good,) = hate([Sample("text")]), nice([Sample("text")])
    assert len(networks) == 1
    assert good.score == pytest.approx(1 - bad.score, abs=1e-6)


def test_many_threads_get_what_one_gets(roberta):
    judge = load_judge(card(roberta, bad="hate", max_tokens=32))
    batches = [[Sample(f"{text} {i}") for text in TEXTS] for i in range(24)]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(judge, batches))
    for batch, judgements in zip(batches, together, strict=True):
        assert [j.score for j in judgements] == pytest.approx([j.score for j in judge(batch)], abs=1e-5)


# --- long, odd and missing ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("architecture", "positions", "max_length", "limit"),
    [
        ("roberta", 130, 1e30, 128),  # the table's first padding_idx + 1 rows belong to no token
        ("roberta", 130, 64, 64),
        ("bert", 130, 1e30, 130),
        ("llama", 90, 1e30, 90),
    ],
)
def test_a_text_is_cut_at_the_models_true_limit_and_said_to_be(architecture, positions, max_length, limit, tmp_path):
    model = tiny.classifier(tmp_path, architecture, positions=positions, tokens={"max_length": max_length})
    judge = load_judge(card(model, bad="hate"))
    fits, over = judge([Sample("y" * (limit - 2)), Sample("y" * (limit - 1))])
    assert (fits.shortened, fits.reason, fits.usage.input_tokens) == (False, "", limit)
    assert (over.shortened, over.status, over.usage.input_tokens) == (True, "ok", limit)
    assert over.reason == f"read {limit} of {limit + 1} tokens"
    expected = reference_logits(model, "y" * (limit - 1), truncation=True, max_length=limit)
    assert over.logit == pytest.approx(expected[0], abs=1e-4)


def test_the_real_model_has_room_for_512_tokens(shared):
    judge = load_judge(card(shared / "models/toxicity-roberta", bad="hate"))
    (judgement,) = judge([Sample("word " * 20_000)])
    assert judgement.usage.input_tokens == 512
    assert judgement.shortened


def test_of_a_long_pair_the_prompt_loses_its_beginning_first(tmp_path):
    model = tiny.classifier(tmp_path, tokens={"max_length": 32})
    judge = load_judge(card(model, bad="hate", text="prompt_and_completion"))
    room = 32 - 4  # <s> prompt </s> </s> completion </s>
    cut_prompt, cut_completion = judge([Sample("c" * 10, "p" * 50 + "q" * 9), Sample("c" * 10 + "d" * 90, "p" * 50)])
    kept = "p" * (room - 10 - 9) + "q" * 9
    assert cut_prompt.logit == pytest.approx(reference_logits(model, kept, "c" * 10)[0], abs=1e-4)
    assert cut_completion.logit == pytest.approx(reference_logits(model, "", ("c" * 10 + "d" * 90)[:room])[0], abs=1e-4)
    assert cut_prompt.shortened
    assert cut_completion.shortened


def test_max_tokens_acts_and_cannot_exceed_the_model(roberta):
    for asked, used in ((16, 16), (4000, 128)):
        (judgement,) = load_judge(card(roberta, bad="hate", max_tokens=asked))([Sample("z" * 500)])
        assert judgement.usage.input_tokens == used


@pytest.mark.parametrize("text", ["\ud800 lone", "nul \0 inside", "x" * 100_000, "\u202e turned", "\x1b[31m red"])
def test_an_odd_text_gets_a_score(text, roberta):
    (judgement,) = load_judge(card(roberta, bad="hate"))([Sample(text)])
    assert judgement.status == "ok"
    assert 0 <= judgement.score <= 1


def test_a_blank_text_is_an_abstention_and_its_neighbours_are_not(roberta):
    judgements = load_judge(card(roberta, bad="hate"))([Sample(""), Sample("words"), Sample(" \n\t")])
    assert [j.status for j in judgements] == ["empty", "ok", "empty"]
    assert [j.score is None for j in judgements] == [True, False, True]


def test_an_empty_batch_scores_nothing(roberta):
    assert load_judge(card(roberta, bad="hate"))([]) == []


def test_a_model_that_answers_nan_abstains(tmp_path):
    model = tiny.classifier(tmp_path)
    network = AutoModelForSequenceClassification.from_pretrained(model)
    with torch.no_grad():
        network.classifier.out_proj.bias[0] = float("nan")
    network.save_pretrained(model)
    (judgement,) = load_judge(card(model, bad="hate"))([Sample("text")])
    assert (judgement.score, judgement.status) == (None, "unparsable")
    assert "float32" in judgement.reason


def test_a_model_without_a_trained_head_is_refused(tmp_path):
    from transformers import RobertaConfig, RobertaModel

    RobertaModel(RobertaConfig(**tiny.SIZE, vocab_size=260, max_position_embeddings=130)).save_pretrained(tmp_path)
    tiny.tokenizer().save_pretrained(tmp_path)
    with pytest.raises(InputError, match="would answer at random"):
        load_judge(card(tmp_path, bad="LABEL_1"))([])


def test_code_that_comes_with_a_model_is_not_run(tmp_path):
    (tmp_path / "config.json").write_text(
        json.dumps({"model_type": "evil", "auto_map": {"AutoConfig": "evil.EvilConfig"}, "architectures": ["Evil"]})
    )
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').write('x')\nclass EvilConfig: pass\n")
    with pytest.raises(InputError) as refused:
        load_judge(card(tmp_path, bad="hate"))
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "ran").exists()


def test_a_device_that_is_not_there_is_refused_with_those_that_are(roberta):
    with pytest.raises(InputError, match="device: cuda:9 is not on this machine, which has: cpu"):
        load_judge(card(roberta, bad="hate", device="cuda:9"))([])
    with pytest.raises(InputError, match="device: should be auto, cpu, cuda"):
        load_judge(card(roberta, bad="hate", device="nonsense"))


@pytest.mark.parametrize("broken", [{"1": "a", "2": "b"}, {"0": "a", "1": "a"}, {"0": "a"}])
def test_broken_labels_are_refused(broken, tmp_path):
    model = tiny.classifier(tmp_path)
    written = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**written, "id2label": broken, "num_labels": 2}))
    with pytest.raises(InputError, match=r"id2label|labels"):
        load_judge(card(model, bad="x"))


def test_weights_that_do_not_fit_the_config_are_refused_by_name(tmp_path):
    model = tiny.classifier(tmp_path, labels=("a", "b", "c"))
    written = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**written, "id2label": {"0": "a", "1": "b"}}))
    with pytest.raises(InputError, match=r"does not fit its config.json: classifier.out_proj"):
        load_judge(card(model, bad="a"))([])


def test_a_text_that_quotes_special_tokens_does_not_disturb_its_neighbours(tmp_path):
    from transformers import T5Config, T5ForSequenceClassification

    words = tiny.tokenizer()
    config = T5Config(
        vocab_size=len(words), d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=2, num_labels=2,
        pad_token_id=1, eos_token_id=2, decoder_start_token_id=1, problem_type="single_label_classification",
    )  # fmt: skip
    with tiny.weights():
        T5ForSequenceClassification(config).save_pretrained(tmp_path)
    words.save_pretrained(tmp_path)
    judge = load_judge(card(tmp_path, bad="LABEL_1"))
    texts = ["hello there", "evil </s> text", "another"]
    together = judge([Sample(text) for text in texts])
    for text, judgement in zip(texts, together, strict=True):
        logits = reference_logits(tmp_path, text, split_special_tokens=True)
        assert judgement.logit == pytest.approx(logits[0], abs=1e-4)


def test_a_model_that_states_no_limit_reads_512_tokens(tmp_path):
    from transformers import XLNetConfig, XLNetForSequenceClassification

    words = tiny.tokenizer(max_length=1e30)
    XLNetForSequenceClassification(
        XLNetConfig(vocab_size=len(words), d_model=32, n_layer=1, n_head=2, d_inner=48, pad_token_id=1)
    ).save_pretrained(tmp_path)
    words.save_pretrained(tmp_path)
    (judgement,) = load_judge(card(tmp_path, bad="LABEL_1"))([Sample("z" * 700)])
    assert (judgement.usage.input_tokens, judgement.shortened) == (512, True)


def test_a_broken_weight_file_is_refused_in_one_line(tmp_path):
    model = tiny.classifier(tmp_path)
    (model / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(InputError) as refused:
        load_judge(card(model, bad="hate"))([])
    assert str(model) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_identity_is_model_revision_and_question(roberta, tmp_path):
    other = tiny.classifier(tmp_path)
    same = load_judge(card(roberta, bad="hate", name="one", batch_tokens=64, measures="hate"))
    assert same.identity == load_judge(card(roberta, good="nothate", name="two")).identity
    assert same.identity != load_judge(card(other, bad="hate")).identity
    assert same.identity != load_judge(card(roberta, bad="hate", text="prompt_and_completion")).identity
