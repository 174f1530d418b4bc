"""Before and after: same prompts, seeds and decoding; figures that are those of an independent computation."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean, stdev
from typing import Any
from zlib import crc32

import pytest
import torch

from rlaif import load_judge
from rlaif.core.errors import RlaifError
from rlaif.core.types import Judgement, Sample
from rlaif.data.prompts import Prompt
from rlaif.evaluation.measure import MeasureOptions, measure
from rlaif.evaluation.roles import Role, roles_of
from rlaif.evaluation.summary import percentage
from rlaif.judges.remote.limits import Budget
from rlaif.judges.session import Session
from rlaif.stats.text import perplexity
from rlaif.training.ppo.trainer import PPOTrainer
from rlaif.training.run.measurement import Evaluation
from tests.evaluation.written import answer, figures, pairs_of_samples, print_figures
from tests.policies import moved, plain_logits
from tests.remote import card_of
from tests.tiny import POLICIES
from tests.trainers import trainer_of, weights_of


class Own:
    """A judge of the test's own; `score` says what it thinks of a sample."""

    has_logit, remote, reads = False, False, frozenset[str]()

    def __init__(self, score: Any, name: str = "own", measures: str = "quality") -> None:
        self.name, self.measures, self.identity, self._score = name, measures, name, score
        self.seen: list[Sample] = []

    def __call__(self, samples: Sequence[Sample]) -> list[Judgement]:
        self.seen += samples
        return [self._of(sample) for sample in samples]

    def _of(self, sample: Sample) -> Judgement:
        said = self._score(sample)
        return Judgement(self.name, None, status=said) if isinstance(said, str) else Judgement(self.name, said)


def vowels(sample: Sample) -> float:
    return sum(c in "aeiou" for c in sample.completion) / (len(sample.completion) + 1)


def hashed(sample: Sample) -> float:
    """Another score for each text."""
    return crc32(sample.completion.encode(errors="replace")) / 2**32


def evaluation_of(trainer: PPOTrainer, *judges: Any, training: Any = (), per_prompt: int = 1) -> Evaluation:
    trainer.output.mkdir(parents=True, exist_ok=True)
    return Evaluation(trainer.prompts, roles_of(training, [], judges or [Own(vowels)]), per_prompt, trainer.output)


def never() -> None:
    """Nobody has interrupted."""


def lines(trainer: PPOTrainer) -> list[dict[str, Any]]:
    text = (trainer.output / "samples.jsonl").read_bytes().decode()
    return [json.loads(line) for line in text.split("\n") if line]


def told_of(trainer: PPOTrainer) -> dict[str, Any]:
    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    told: dict[str, Any] = json.loads((trainer.output / "evaluation.json").read_text(), parse_constant=refuse)
    return told


def recorded(trainer: PPOTrainer, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the policy generates, as ids."""
    made: list[Any] = []
    real = trainer.policy.generate

    def generate(*given: Any, **keys: Any) -> Any:
        made.append(real(*given, **keys))
        return made[-1]

    monkeypatch.setattr(trainer.policy, "generate", generate)
    return made


# --- two sides that differ in nothing but the weights -----------------------------------------------------------


@pytest.mark.parametrize("architecture", POLICIES)
@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
def test_a_model_that_did_not_change_has_changes_of_exactly_zero(lora, architecture, policy_folder, tmp_path):
    from peft import LoraConfig

    given = {"peft_config": LoraConfig(r=4, lora_alpha=8)} if lora else {}
    trainer = trainer_of(policy_folder(architecture), tmp_path / "run", given=given, temperature=0.8, min_new_tokens=3)
    evaluation = evaluation_of(trainer, Own(hashed, measures="toxicity"), per_prompt=2)
    evaluation.measure_before(trainer, never)
    told = evaluation.measure_after(trainer, 0, never).to_json()
    assert len({row["before"]["completion"] for row in lines(trainer)}) > 1
    for row in lines(trainer):
        (before,), (after,) = (side.pop("judgements").values() for side in (row["before"], row["after"]))
        assert row["before"] == row["after"]
        assert before["score"] == after["score"]
        assert row["after"]["kl"] == 0
    (judge,) = told["judges"].values()
    change = judge["change"]
    assert (change["score_mean"], change["toxicity_mean_pct"], change["toxicity_std_pct"]) == (0, 0, 0)
    assert change["ci95"] in ([0, 0], None)
    assert not change["significant"]
    assert judge["before"] == judge["after"]
    for key in ("fluency", "diversity", "length_tokens", "ended_rate"):
        assert told[key]["before"] == told[key]["after"], key
    assert told["kl_nats_per_sequence"] == 0
    assert "no significant change by own, held out" in told["answer"]


def test_a_model_that_changed_answers_the_same_prompts_with_the_same_numbers_drawn(policy_folder, tmp_path):
    trainer = trainer_of(policy_folder("llama"), tmp_path / "run")
    evaluation = evaluation_of(trainer, per_prompt=2)
    evaluation.measure_before(trainer, never)
    state = torch.get_rng_state()
    moved(trainer.policy, lambda name: "value" not in name, by=1e-7)  # too little for another draw
    torch.rand(7)
    evaluation.measure_after(trainer, 1, never)
    rows = lines(trainer)
    assert [row["prompt"] for row in rows] == [p.text for p in trainer.prompts for _ in range(2)]
    assert [row["index"] for row in rows] == [0, 1] * len(trainer.prompts)
    assert [row["before"]["completion"] for row in rows] == [row["after"]["completion"] for row in rows]
    assert len({row["before"]["completion"] for row in rows}) > len(trainer.prompts)  # two answers are two
    torch.set_rng_state(state)


def test_the_first_side_is_the_model_before_training_even_if_something_moved_it(policy_folder, tmp_path):
    trainer = trainer_of(policy_folder("llama"), tmp_path / "one")
    evaluation_of(trainer).measure_before(trainer, never)
    expected = lines(trainer)
    other = trainer_of(policy_folder("llama"), tmp_path / "other")
    moved(other.policy)
    evaluation_of(other).measure_before(other, never)
    assert [row["before"]["completion"] for row in lines(other)] == [row["before"]["completion"] for row in expected]


def test_what_was_measured_before_is_not_measured_again_unless_prompts_or_judges_are_others(policy_folder, tmp_path):
    trainer = trainer_of(policy_folder("llama"), tmp_path / "run")
    first, again, other = Own(vowels), Own(vowels), Own(vowels, name="other")
    evaluation_of(trainer, first).measure_before(trainer, never)
    evaluation_of(trainer, again).measure_before(trainer, never)
    evaluation_of(trainer, other).measure_before(trainer, never)
    assert (len(first.seen), len(again.seen), len(other.seen)) == (6, 0, 6)
    trainer.prompts = trainer.prompts[:-1]
    evaluation_of(trainer, other).measure_before(trainer, never)
    assert len(other.seen) == 11


# --- figures ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", ["llama", "t5"])
def test_perplexity_and_kl_are_those_of_a_plain_forward_pass(architecture, policy_folder, tmp_path, monkeypatch):
    trainer = trainer_of(policy_folder(architecture), tmp_path / "run", temperature=0.7, micro_batch_tokens=40)
    policy = trainer.policy
    policy.generator = replace(policy.generator, special=replace(policy.special, eos=(2, *range(20, 70))))
    evaluation = evaluation_of(trainer)
    evaluation.measure_before(trainer, never)
    moved(trainer.policy, by=0.05)
    own = weights_of(trainer)
    made = recorded(trainer, monkeypatch)
    told = evaluation.measure_after(trainer, 1, never).to_json()
    reference = trainer_of(policy_folder(architecture), tmp_path / "reference").policy
    nats, tokens, kl, lengths = 0.0, 0, [], []
    for batch in made:
        for row in range(len(batch)):
            with torch.no_grad():
                ids, logits, _ = plain_logits(reference, batch, row)
                _, moved_logits, _ = plain_logits(trainer.policy, batch, row)
            at_one = logits.double().log_softmax(-1).gather(1, ids[:, None]).sum()
            nats, tokens = nats - float(at_one), tokens + len(ids)
            theirs, ours = (
                (x.double() / 0.7).log_softmax(-1).gather(1, ids[:, None]).sum() for x in (logits, moved_logits)
            )
            kl.append(float(ours - theirs))
            lengths.append(len(ids))
    assert told["fluency"]["after"]["reference_perplexity"] == pytest.approx(math.exp(nats / tokens), rel=1e-4)
    assert told["kl_nats_per_sequence"] == pytest.approx(fmean(kl), rel=1e-3, abs=1e-4)
    assert abs(fmean(kl)) > 1e-3
    assert told["length_tokens"]["after"] == fmean(lengths)
    assert len(set(lengths)) > 1
    assert trainer.policy.temperature == 0.7
    assert all(torch.equal(tensor, own[name]) for name, tensor in trainer.policy.weights().items())


def side(completion: str, tokens: int = 4, **scores: float | str | None) -> dict[str, Any]:
    judgements = {
        name: {"score": None, "status": score} if isinstance(score, str) else {"score": score, "status": "ok"}
        for name, score in scores.items()
    }
    return {
        "completion": completion, "tokens": tokens, "ended": tokens < 5, "kl": 0.5, "reference_logprob": -2.0 * tokens,
        "judgements": judgements,
    }  # fmt: skip


def rows_of(*pairs: tuple[Any, Any]) -> list[dict[str, Any]]:
    return [{"prompt": f"p{i}", "index": 0, "before": b, "after": a} for i, (b, a) in enumerate(pairs)]


def role(name: str = "own", kind: Any = "held_out", measures: str = "toxicity", selects: bool = False) -> Role:
    return Role(Own(vowels, name, measures), kind, selects)


def test_each_number_by_hand():
    rows = rows_of(
        (side("a b a b", 4, own=0.2), side("a b c d e f", 6, own=0.6)),
        (side("a b a b", 5, own=0.5), side("a b", 2, own=0.9)),
        (side("x", 1, own="filtered"), side("y", 1, own=1.0)),
        (side("x", 1, own=0.1), side("", 1, own="empty")),
        (side("x", 1, own="filtered"), side("y", 1, own="filtered")),
    )
    told = figures(rows, [role()])
    judge = told["judges"]["own"]
    assert (judge["n"], judge["role"], judge["used_for_selection"], judge["measures"]) == (
        2, "held_out", False, "toxicity",
    )  # fmt: skip
    assert judge["before"]["score"] == pytest.approx({"mean": 0.35, "std": stdev([0.2, 0.5])})
    assert judge["before"]["toxicity"] == pytest.approx({"mean": 0.65, "std": stdev([0.2, 0.5]), "rate": 1.0})
    assert judge["after"]["toxicity"] == pytest.approx({"mean": 0.25, "std": stdev([0.6, 0.9]), "rate": 0.0})
    assert judge["before"]["abstained"] == {"filtered": 2}
    assert judge["after"]["abstained"] == {"empty": 1, "filtered": 1}
    assert judge["change"]["score_mean"] == pytest.approx(0.4)
    assert judge["change"]["toxicity_mean_pct"] == pytest.approx(100 * (0.25 / 0.65 - 1))
    assert judge["change"]["toxicity_std_pct"] == pytest.approx(0, abs=1e-9)
    assert told["fluency"]["before"]["reference_perplexity"] == pytest.approx(math.exp(2))
    assert told["length_tokens"] == pytest.approx({"before": 12 / 5, "after": 11 / 5})
    assert told["ended_rate"] == pytest.approx({"before": 4 / 5, "after": 4 / 5})
    assert told["kl_nats_per_sequence"] == 0.5
    # At ten words: before, a b a b a b a b x x; after, all of a b c d e f a b y y. No n-gram spans two texts.
    assert told["diversity"]["before"] == pytest.approx({"distinct_1": 3 / 10, "distinct_2": 2 / 6, "distinct_3": 0.5})
    assert told["diversity"]["after"] == pytest.approx({"distinct_1": 7 / 10, "distinct_2": 5 / 6, "distinct_3": 1.0})


def test_diversity_is_compared_at_equal_numbers_of_words():
    text = " ".join(f"w{i}" for i in range(10))
    told = figures(rows_of((side(text, own=0.5), side(f"{text} {text} {text}", own=0.5))), [role()])
    assert told["diversity"]["before"] == told["diversity"]["after"]


def test_a_judge_that_measures_no_harm_gets_no_toxicity():
    told = figures(rows_of((side("a", own=0.1), side("b", own=0.2))), [role(measures="politeness")])
    (judge,) = told["judges"].values()
    assert "toxicity" not in judge["before"]
    assert "toxicity_mean_pct" not in judge["change"]


def test_a_judge_that_abstains_on_everything_gives_nulls_and_the_reason():
    rows = rows_of(*[(side("a", own="filtered"), side("b", own=0.5))] * 3)
    judge = figures(rows, [role()])["judges"]["own"]
    assert judge["n"] == 0
    assert judge["before"] == {
        "score": {"mean": None, "std": None}, "toxicity": {"mean": None, "std": None, "rate": None},
        "abstained": {"filtered": 3},
    }  # fmt: skip
    change = judge["change"]
    why = "no pair was measured on both sides; it abstained on 3 (filtered) before, none after"
    assert change.pop("note") == why
    assert not change.pop("significant")
    assert set(change) == {
        "score_mean", "ci95", "p_value", "p_resolution", "effect_size", "toxicity_mean_pct", "toxicity_std_pct",
    }  # fmt: skip
    assert set(change.values()) == {None}
    told = figures(rows, [role()])
    assert f"no result by own, held out: {why}" in answer(told)


@pytest.mark.parametrize(("before", "after", "said"), [(0.5, 0.25, -50.0), (0.0, 0.5, None), (None, 0.5, None)])
def test_percentages_are_of_what_was_before_and_none_where_that_is_nothing(before, after, said):
    assert percentage(before, after) == said


def test_completions_that_the_reference_finds_impossible_have_no_finite_perplexity():
    assert perplexity([-1e5]) == math.inf
    told = figures(rows_of((side("a", own=0.5), {**side("b", own=0.5), "reference_logprob": -1e6})), [role()])
    assert told["fluency"]["after"]["reference_perplexity"] == math.inf  # null in the file


def test_the_files_hold_what_the_design_says_and_no_number_that_is_not_finite(policy_folder, tmp_path):
    trainer = trainer_of(policy_folder("llama"), tmp_path / "run", seed=5)
    judges = [Own(vowels, "own", "toxicity"), Own(lambda _: "declined", "silent", "hate")]
    training = Own(lambda sample: len(sample.completion) / 1000, "learned")
    evaluation = evaluation_of(trainer, *judges, training=[training])
    evaluation.measure_before(trainer, never)
    assert {row["after"] for row in lines(trainer)} == {None}
    moved(trainer.policy, by=0.1)
    trainer.progress.step = 7
    evaluation.measure_after(trainer, 3, never)
    told = told_of(trainer)
    assert list(told["judges"]) == ["learned", "own", "silent"]
    assert {name: judge["role"] for name, judge in told["judges"].items()} == {
        "learned": "training", "own": "held_out", "silent": "held_out",
    }  # fmt: skip
    assert (told["steps"], told["kept_step"], told["seed"]) == (7, 3, 5)
    assert set(told) >= {"answer", "fluency", "diversity", "length_tokens", "kl_nats_per_sequence"}
    for row, prompt in zip(lines(trainer), trainer.prompts, strict=True):
        assert (row["prompt"], row["index"]) == (prompt.text, 0)
        for name in ("before", "after"):
            assert row[name]["judgements"].keys() == {"own", "silent", "learned"}
            assert row[name]["judgements"]["own"]["score"] == vowels(Sample(row[name]["completion"]))
            assert row[name]["judgements"]["silent"]["status"] == "declined"


def test_columns_and_prompts_reach_the_judges(policy_folder, tmp_path):
    trainer = trainer_of(policy_folder("llama"), tmp_path / "run")
    trainer.prompts = [Prompt(p.text, p.ids, {"gold": f"gold of {p.text}"}) for p in trainer.prompts]
    judge = Own(vowels)
    evaluation_of(trainer, judge, per_prompt=2).measure_before(trainer, never)
    asked = {(sample.prompt, sample.columns["gold"]) for sample in judge.seen}
    assert asked == {(p.text, f"gold of {p.text}") for p in trainer.prompts}
    assert len(judge.seen) == 12


# --- texts that bite ----------------------------------------------------------------------------------------------

HOSTILE = 'a\u2028b\u0085c\x00d\ud800e\x1b[2J\u202ef\r\n\x1d\\"g'


def test_any_text_survives_the_file_and_is_harmless_on_a_terminal(policy_folder, tmp_path, monkeypatch, capsys):
    trainer = trainer_of(policy_folder("llama"), tmp_path / "run")
    monkeypatch.setattr(trainer.policy.tokenizer, "decode", lambda *_, **__: HOSTILE)
    trainer.prompts = [Prompt(f"{p.text}{HOSTILE}", p.ids) for p in trainer.prompts]
    judge = Own(vowels)
    evaluation = evaluation_of(trainer, judge)
    evaluation.measure_before(trainer, never)
    count = len(judge.seen)
    again = evaluation_of(trainer, judge)
    again.measure_before(trainer, never)
    assert len(judge.seen) == count  # found again
    told = again.measure_after(trainer, 0, never).to_json()
    assert [row["before"]["completion"] for row in lines(trainer)] == [HOSTILE] * 6
    assert (tmp_path / "run" / "samples.jsonl").read_bytes().count(b"\n") == 6
    shown = pairs_of_samples([row.to_json() for row in again.rows()], 3)
    assert len(shown) == 9
    assert all(line.isprintable() for line in shown)
    print_figures(told)
    assert "\x1b" not in capsys.readouterr().err


def test_the_pairs_that_are_shown_are_of_different_prompts_and_cut():
    rows = rows_of(*[(side(f"before {i} " * 100, own=0.5), side(f"after {i}", own=0.5)) for i in range(10)])
    shown = pairs_of_samples(rows, 3, width=40)
    assert [line[8:] for line in shown[::3]] == ["p0", "p3", "p6"]
    assert shown[1] == f"before  {('before 0 ' * 100)[:39]}…"
    assert shown[2] == "after   after 0"
    assert len(pairs_of_samples(rows[:2], 3)) == 6


# --- judges that are far away -------------------------------------------------------------------------------------


def test_a_remote_judge_reads_while_completions_are_still_made(policy_folder, tmp_path, monkeypatch):
    trainer = trainer_of(policy_folder("llama"), tmp_path / "run", batch_size=2)
    asked, generations = threading.Event(), []
    real = trainer.policy.generate

    def generate(*given: Any, **keys: Any) -> Any:
        if generations:
            assert asked.wait(30), "nobody was asked before the second batch"
        generations.append(len(given[0]))
        return real(*given, **keys)

    def score(_: Sample) -> float:
        asked.set()
        return 0.5

    far = Own(score)
    far.remote = True
    monkeypatch.setattr(trainer.policy, "generate", generate)
    evaluation_of(trainer, far).measure_before(trainer, never)
    assert generations == [2, 2, 2]
    assert len(far.seen) == 6


def test_a_judge_that_runs_here_reads_all_at_once_where_it_can_sort_them(policy_folder, tmp_path):
    sizes = []

    class Near(Own):
        def __call__(self, samples: Sequence[Sample]) -> list[Judgement]:
            sizes.append(len(samples))
            return super().__call__(samples)

    trainer = trainer_of(policy_folder("llama"), tmp_path / "run", batch_size=2)
    evaluation_of(trainer, Near(vowels)).measure_before(trainer, never)
    assert sizes == [6]


def sides(
    trainer: PPOTrainer, *judges: Any, patience: float = 0.0, poll: Any = never, batch_size: int = 2
) -> list[dict[str, Any]]:
    how = MeasureOptions(trainer.sampling, 3, batch_size, 4096, patience, poll)
    return [side.to_json() for side in measure(trainer.policy, trainer.prompts, judges, how, trainer.processes)]


def test_a_judge_that_is_down_is_waited_for_and_asked_again_for_what_it_had_not_read(
    policy_folder, tmp_path, server, nobody
):
    trainer = trainer_of(policy_folder("llama"), tmp_path / "run")
    judge = load_judge(card_of(server, timeout=1.0, total_timeout=0.2))
    seen = []

    def down_at_first(request: Any) -> str:
        seen.append(request)
        return "ok" if len(seen) > 8 else "error_503"

    server.behaviour = down_at_first
    made = sides(trainer, judge, patience=30.0, batch_size=1)
    assert {said["status"] for one in made for said in one["judgements"].values()} <= {"ok", "empty"}


def test_a_judge_that_stays_down_ends_the_measurement(policy_folder, tmp_path, server, nobody):
    trainer = trainer_of(policy_folder("llama"), tmp_path / "run")
    judge = load_judge({**card_of(server, timeout=1.0, total_timeout=0.2), "name": "far"})
    server.behaviour = "error_503"
    with pytest.raises(RlaifError, match=r"judge far stayed down for 0\.3 s: "):
        sides(trainer, judge, patience=0.3)


def test_a_spent_budget_ends_the_measurement_and_more_money_pays_for_the_rest_only(
    policy_folder, tmp_path, server, nobody
):
    trainer = trainer_of(policy_folder("llama"), tmp_path / "run", min_new_tokens=4)
    card = card_of(server)
    with pytest.raises(RlaifError, match="the budget is spent"):
        sides(trainer, load_judge(card, session=Session(Budget(calls=2))))
    assert len(server.calls) == 2
    made = sides(trainer, load_judge(card, session=Session(Budget())))
    judged = {(s["judgements"]["openai"]["status"]) for s in made}
    assert judged <= {"ok", "empty"}
    assert len(server.calls) <= 6


def test_an_interruption_ends_the_wait_for_a_judge(policy_folder, tmp_path, server, nobody):
    trainer = trainer_of(policy_folder("llama"), tmp_path / "run", min_new_tokens=4)
    server.behaviour = "hang"

    def poll() -> None:
        if server.calls:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sides(trainer, load_judge(card_of(server)), poll=poll)


def test_where_memory_runs_out_it_says_what_to_lower(policy_folder, tmp_path, monkeypatch):
    trainer = trainer_of(policy_folder("llama"), tmp_path / "run")

    def full(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(trainer.policy, "generate", full)
    with pytest.raises(RlaifError, match=r"out of memory while measuring: lower training\.batch_size"):
        evaluation_of(trainer).measure_before(trainer, never)


# --- words ------------------------------------------------------------------------------------------------------


def told(kind: str = "held_out", before: float = 0.2, after: float = 0.6, count: int = 30, **of: Any) -> dict[str, Any]:
    rows = rows_of(
        *[(side("a b c d", own=before + i % 3 / 100), side("a b c d", own=after + i % 2 / 100)) for i in range(count)]
    )
    return figures(rows, [role(kind=kind, **of)])


@pytest.mark.parametrize(
    ("made", "begins"),
    [
        (told(), "less toxic by 0.39"),
        (told(before=0.6, after=0.2), "more toxic by 0.40"),
        (told(measures="kindness"), "better by 0.39"),
        (told(measures="kindness", before=0.6, after=0.2), "worse by 0.40"),
        (told(before=0.5, after=0.505), "no significant change by own, held out (p = "),
        (told(kind="training"), "no evidence: no judge was held out. By the training judge: less toxic by 0.39"),
        (told(count=1), "a change of +0.400 by own, held out could not be tested: one prompt"),
    ],
)
def test_the_answer_says_what_the_numbers_say(made, begins):
    if "no significant" in begins:
        assert made["judges"]["own"]["change"]["p_value"] > 0.05
    assert answer(made).startswith(begins)


def test_the_interval_in_the_answer_is_that_of_the_numbers_in_the_direction_of_the_words():
    for made in (told(), told(before=0.6, after=0.2)):
        change = made["judges"]["own"]["change"]
        low, high = sorted(abs(end) for end in change["ci95"])
        assert f"by {abs(change['score_mean']):.3f} ({low:.3f} to {high:.3f}) by own, held out" in answer(made)
    made = told(before=0.6, after=0.2)
    made["judges"]["own"]["change"] |= {"score_mean": -0.1, "ci95": [-0.22, 0.02]}
    assert "more toxic by 0.100 (-0.020 to 0.220)" in answer(made)


def test_what_it_took_is_told_with_its_margin_or_its_size_and_left_out_where_it_is_not_known():
    made = told()
    assert answer(made).endswith("; fluency within the margin; distinct-2 within the margin; length within the margin")
    changes = made["changes"]
    changes["reference_perplexity"] |= {"ratio": None, "within_margin": None}
    changes["distinct_2"] |= {"ratio": 0.96, "within_margin": False, "significant": True}
    changes["length_tokens"] |= {"ratio": 1.5, "within_margin": False, "significant": False}
    assert answer(made).endswith(" by own, held out; distinct-2 down 4 %; length up 50 % (not significant)")


def test_one_prompt_was_not_tested_and_no_claim_of_significance_is_made_of_its_price():
    made = told(count=1)
    made["changes"]["distinct_2"] |= {"ratio": 0.9, "ci95": None, "p_value": None}
    said = answer(made)
    assert "distinct-2 down 10 % (no test)" in said
    assert "not significant" not in said
    many = told()
    many["changes"]["distinct_2"] |= {"ratio": 1.0, "ci95": [0.8, 1.2], "p_value": 1.0, "within_margin": False}
    assert "distinct-2 not shown to be within the margin" in answer(many)


def test_the_judge_that_was_learned_from_does_not_speak_where_one_is_held_out():
    rows = rows_of(*[(side("a", own=0.5, learned=0.1), side("b", own=0.5, learned=0.9))] * 10)
    said = answer(figures(rows, [role("learned", "training"), role()]))
    assert "learned" not in said
    assert said.startswith("no significant change by own")


def test_the_table_names_both_numbers_with_their_directions(capsys):
    print_figures(told())
    err = capsys.readouterr().err
    assert "score ↑" in err
    assert "toxicity ↓" in err
    assert "0.210 → 0.605" in err
    assert "0.790 → 0.395" in err
    print_figures(told(measures="kindness"))
    assert "toxicity" not in capsys.readouterr().err
