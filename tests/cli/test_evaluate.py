"""`rlaif evaluate`: what it prints and writes, a finished run by another judge, and bad input in one line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests import tiny
from tests.conftest import one_line
from tests.evaluation.test_rejection import REJECTED
from tests.folders import run_folder, samples
from tests.remote import card_of
from tests.server import Say

LENGTH = "{adapter: length, name: words}"
LEXICON = "{adapter: lexicon, words: [fool, idiot], measures: toxicity, name: lexicon}"


def write(path: str, rows: list[dict[str, Any]]) -> str:
    Path(path).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def completions(path: str, *texts: str, prompt: str = "ask {}?") -> str:
    return write(path, [{"prompt": prompt.format(i), "completion": text} for i, text in enumerate(texts)])


def judged_by(*cards: str) -> list[str]:
    return [word for card in cards for word in ("-j", card)]


# --- two sides ----------------------------------------------------------------------------------------------------


def test_it_prints_json_into_a_pipe_the_table_beside_it_and_writes_four_files(main):
    before = completions("before.jsonl", *["you fool", "idiot fool", "so"] * 8, prompt="ask {}?")
    after = completions("after.jsonl", *["you are kind", "nice", "so"] * 8, prompt="ask {}?")
    done = main("evaluate", "--before", before, "--after", after, *judged_by(LEXICON, LENGTH), "-o", "out")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert json.loads(Path("out/evaluation.json").read_text()) == told
    its = told["judges"]["lexicon"]
    assert its["before"]["toxicity"]["mean"] == pytest.approx((0.5 + 2 / 3 + 0) / 3)
    assert its["after"]["toxicity"]["mean"] == 0
    assert its["before"]["toxicity"]["rate"] == pytest.approx(2 / 3)
    assert told["answer"].startswith("less toxic by 0.389 (")
    assert " by lexicon, held out; " in told["answer"]
    assert told["answer"] in done.stderr
    assert "not known: kl nats per sequence: the side before is saved" in done.stderr
    assert "toxicity ↓" in done.stderr
    page = Path("out/report.html").read_text()
    assert "Less toxic by 0.389" in page
    assert "Not known: KL from the reference" in page
    assert "rlaif evaluate --before before.jsonl --after after.jsonl" in page
    assert {path.name for path in Path("out").iterdir()} == {
        "environment.jsonl", "evaluation.json", "report.html", "samples.csv", "samples.jsonl",
    }  # fmt: skip


def test_the_command_in_the_report_measures_the_same_again(main):
    import shlex

    before, after = completions("b c.jsonl", "you fool", "a"), completions("a.jsonl", "x", "you idiot")
    first = main("evaluate", "--before", before, "--after", after, *judged_by(LEXICON), "--margin", "score=0.3")
    command = shlex.split(json.loads(first.stdout)["settings"]["command"])
    again = main(*command[1:])
    assert json.loads(again.stdout) == json.loads(first.stdout)
    assert json.loads(first.stdout)["margins"]["score"] == 0.3


def test_o_writes_over_what_was_there(main):
    before, after = completions("before.jsonl", "a", "b"), completions("after.jsonl", "c", "d")
    for _ in range(2):
        done = main("evaluate", "--before", before, "--after", after, *judged_by(LENGTH), "-o", "out")
        assert done.returncode == 0
    assert len(Path("out/samples.jsonl").read_text().splitlines()) == 2
    assert len(Path("out/environment.jsonl").read_text().splitlines()) == 1


def test_models_are_asked_with_the_generation_keys_as_options(main, policy_folder):
    data = write("prompts.jsonl", [{"question": f"ask {i}?"} for i in range(5)])
    done = main(
        "evaluate", "--before", str(policy_folder("llama")), "--after", str(policy_folder("llama")), "--data", data,
        "--column", "prompt=question", "--limit", "3", "--max-new-tokens", "4", "--min-new-tokens", "4",
        "--temperature", "0.7", "--top-p", "0.9", "--completions-per-prompt", "2", "--seed", "3",
        "--template", "policy/complete", *judged_by(LENGTH), "-o", "out",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in Path("out/samples.jsonl").read_text().splitlines()]
    assert len(rows) == 6
    assert {row["after"]["tokens"] for row in rows} == {4}
    settings = json.loads(done.stdout)["settings"]
    assert settings["generation"] == {"max_new_tokens": 4, "min_new_tokens": 4, "temperature": 0.7, "top_p": 0.9}
    assert (settings["prompts"], settings["completions"], settings["seed"]) == (3, 6, 3)


def test_a_dry_run_asks_nobody_and_says_what_it_would_take(main, server, nobody, policy_folder):
    server.behaviour = lambda _: Say("fine")
    data = write("prompts.jsonl", [{"prompt": f"ask {i}?"} for i in range(4)])
    card = json.dumps({**card_of(server), "name": "far"})
    done = main(
        "evaluate", "--before", str(policy_folder("llama")), "--after", f"openai:mine@{server.openai}", "--data", data,
        "-j", card, "--dry-run", "-o", "out", "--max-new-tokens", "10",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    table = {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines()}
    assert table["--after"][0] == "4"
    assert table["--after"][2] == "40"
    assert table["far"][0] == "8"
    assert not server.log
    assert not Path("out").exists()


def test_a_spent_budget_ends_it_and_what_was_paid_is_not_paid_again(main, server, nobody):
    before, after = completions("before.jsonl", "a", "b"), completions("after.jsonl", "c", "d")
    card = json.dumps({**card_of(server), "name": "far"})
    command = ("evaluate", "--before", before, "--after", after, "-j", card)
    done = main(*command, "--budget-calls", "3")
    assert done.returncode == 1
    assert "the budget is spent; verdicts already paid for are in the store" in one_line(done)
    assert main(*command).returncode == 0
    assert len(server.calls) == 4
    assert main(*command, "--fresh").returncode == 0
    assert len(server.calls) == 8


def test_text_of_a_model_cannot_steer_the_terminal(main):
    hostile = "a\x1b[2J\u202e\x07b\r\nc"
    before, after = completions("before.jsonl", hostile, "b"), completions("after.jsonl", hostile, "d")
    done = main("evaluate", "--before", before, "--after", after, *judged_by(LENGTH), "-o", "out")
    assert not {"\x1b", "\u202e", "\x07"} & set(done.stderr)
    assert "\x1b" not in Path("out/samples.csv").read_text()
    assert "\x1b" not in Path("out/report.html").read_text()


# --- a finished run -----------------------------------------------------------------------------------------------

LEARNED = {"adapter": "lexicon", "words": ["fool"], "measures": "toxicity", "name": "toxicity"}
KEYS: dict[str, Any] = {
    "judge": LEARNED, "guard": {"judges": [{**LEARNED, "words": ["idiot"], "name": "toxicity_general"}]},
    "evaluation": {"judges": [{"adapter": "length", "measures": "helpfulness", "name": "helpfulness"}]},
}  # fmt: skip


def test_a_finished_run_is_read_by_another_judge_and_keeps_what_the_others_said(main):
    run_folder(Path("run"), samples(12), **KEYS)
    before = Path("run/evaluation.json").read_bytes()
    done = main("evaluate", "run", *judged_by(LEXICON), "-o", "out")
    assert done.returncode == 0, done.stderr
    told, was = json.loads(done.stdout), json.loads(before)
    assert {name: judge["role"] for name, judge in told["judges"].items()} == {
        "toxicity": "training", "toxicity_general": "held_out", "helpfulness": "held_out", "lexicon": "held_out",
    }  # fmt: skip
    assert told["judges"]["toxicity_general"] == was["judges"]["toxicity_general"]
    assert told["judges"]["lexicon"]["n"] == 12
    assert told["fluency"] == was["fluency"]
    assert (told["steps"], told["seed"]) == (20, 0)
    rows = [json.loads(line) for line in Path("out/samples.jsonl").read_text().splitlines()]
    assert [row["before"]["completion"] for row in rows] == [row["before"]["completion"] for row in samples(12)]
    assert Path("run/evaluation.json").read_bytes() == before
    assert "lexicon" in Path("out/report.html").read_text()


def test_the_judge_that_was_learned_from_is_not_held_out_under_another_name(main):
    run_folder(Path("run"), samples(4), **KEYS)
    renamed = json.dumps({**LEARNED, "name": "renamed"})
    done = main("evaluate", "run", "-j", renamed)
    assert json.loads(done.stdout)["judges"]["renamed"]["role"] == "training"
    assert "renamed is not held out: it shares its model with toxicity" in done.stderr


def test_a_copy_of_the_training_judges_weights_is_not_held_out(main):
    tiny.classifier(Path("judge"))
    shutil.copytree("judge", "copied")
    card = {"adapter": "classifier", "model": "./judge", "bad": "hate", "name": "toxicity", "measures": "toxicity"}
    run_folder(Path("run"), samples(4), judge=card)
    other = {**card, "model": "./copied", "text": "prompt_and_completion", "name": "other"}
    done = main("evaluate", "run", "-j", json.dumps(other))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["judges"]["other"]["role"] == "training"
    assert "other is not held out: it shares its model with toxicity" in done.stderr


def test_a_run_whose_training_was_rejected_is_told_as_that_by_another_judge_too(main):
    run_folder(Path("run"), samples(4), **KEYS)
    numbers = json.loads(Path("run/evaluation.json").read_text())
    Path("run/evaluation.json").write_text(json.dumps({**numbers, "kept_step": 0}))
    Path("run/guard.jsonl").write_text("".join(json.dumps(made.to_json()) + "\n" for made in REJECTED))
    done = main("evaluate", "run", "-j", LEXICON)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["answer"].startswith("the training was rejected, and the model is the one before")
    Path("run/guard.jsonl").write_text('{"step": 0}\n')
    assert main("evaluate", "run", "-j", LEXICON).returncode == 0


def test_another_judge_of_a_name_that_is_taken_is_refused(main):
    run_folder(Path("run"), samples(4), **KEYS)
    done = main("evaluate", "run", "-j", json.dumps({**LEARNED, "words": ["other"]}))
    assert done.returncode == 2
    assert "two judges are named 'toxicity'" in one_line(done)


def test_a_comparison_can_be_read_by_another_judge_too(main):
    before, after = completions("before.jsonl", "a", "b"), completions("after.jsonl", "c", "d")
    main("evaluate", "--before", before, "--after", after, *judged_by(LENGTH), "-o", "out")
    done = main("evaluate", "out", *judged_by(LEXICON), "-o", "out")
    assert done.returncode == 0, done.stderr
    assert list(json.loads(done.stdout)["judges"]) == ["lexicon"]
    assert "saved" in json.loads(done.stdout)["unknown"]["kl_nats_per_sequence"]


# --- bad input ----------------------------------------------------------------------------------------------------

READS = {"adapter": "python", "function": "./gold.py:gold", "name": "gold"}


@pytest.fixture
def place(main):
    """Files that are fine, for commands that are not."""
    completions("before.jsonl", "a", "b")
    completions("after.jsonl", "c", "d")
    completions("others.jsonl", "c", "d", prompt="who asked {}?")
    write("prompts.jsonl", [{"prompt": "ask 0?"}, {"prompt": "ask 1?"}])
    write("noprompt.jsonl", [{"completion": "a"}])
    write("nothing.jsonl", [])
    write("odd.jsonl", [{"question": "why?"}])
    Path("file.txt").write_text("x")
    return main


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--before", "before.jsonl"], "name two models with --before and --after, or the folder of a finished run"),
        (["--before", "before.jsonl", "--after", "others.jsonl"], "others.jsonl holds completions of other prompts"),
        (["--before", "noprompt.jsonl", "--after", "after.jsonl"],
         "--before: noprompt.jsonl, line 1: a saved completion needs its prompt"),
        (["--before", "nothing.jsonl", "--after", "after.jsonl"], "nothing.jsonl: has no rows"),
        (["--before", "gone.jsonl", "--after", "after.jsonl"], "gone.jsonl: no such file"),
        (["--before", "openai:mine", "--after", "after.jsonl"], "should be openai:MODEL@URL"),
        (["--before", "file.txt", "--after", "after.jsonl"], "--before: file.txt is a file that holds no model"),
        (["--before", "./nowhere", "--after", "after.jsonl"], "--before: "),
        (["--before", "MODEL", "--after", "MODEL"], "--data is missing"),
        (["--before", "MODEL", "--after", "MODEL", "--data", "odd.jsonl"],
         "odd.jsonl, line 1: has neither 'prompt' nor 'chosen'"),
        (["--before", "MODEL", "--after", "MODEL", "--data", "prompts.jsonl", "--column", "prompt=nothing"],
         "has no column 'nothing'"),
        (["--before", "MODEL", "--after", "MODEL", "--data", "prompts.jsonl", "--temperature", "0"], "temperature"),
        (["--before", "MODEL", "--after", "MODEL", "--data", "prompts.jsonl", "--max-new-tokens", "3"],
         "min_new_tokens (5) should not exceed max_new_tokens (3)"),
        (["--before", "MODEL", "--after", "MODEL", "--data", "prompts.jsonl", "--max-new-tokens", "5000"],
         "the model has 512 positions"),
        (["--before", "before.jsonl", "--after", "after.jsonl", "--seeds", "2"], "--seeds: before.jsonl was saved"),
        (["--before", "before.jsonl", "--after", "after.jsonl", "--margin", "scores=1"], "did you mean 'score'"),
        (["--before", "before.jsonl", "--after", "after.jsonl", "--margin", "score=nan"], "should be a number above 0"),
        (["--before", "before.jsonl", "--after", "after.jsonl", "-o", "file.txt"], "file.txt: cannot be made"),
        (["--before", "before.jsonl", "--after", "after.jsonl", "--template", "policy/complete"], "--template"),
        (["gone"], "gone: there is no such folder"),
        (["."], "holds no finished run"),
    ],
)  # fmt: skip
def test_what_cannot_be_measured_is_refused_in_one_line(place, policy_folder, arguments, message):
    words = [str(policy_folder("llama")) if word == "MODEL" else word for word in arguments]
    done = place("evaluate", *words, *judged_by(LENGTH))
    assert done.returncode == 2, done.stderr
    assert message in one_line(done)


def test_a_side_that_cannot_answer_is_refused_before_the_other_one_is_made_to(main, policy_folder, tmp_path):
    from tests import tiny

    write("prompts.jsonl", [{"prompt": "ask 0?"}])
    good = ("--after", str(policy_folder("llama")), "--data", "prompts.jsonl", "--dry-run", *judged_by(LENGTH))
    small = str(tiny.policy(tmp_path / "small", "llama", max_position_embeddings=16))
    done = main("evaluate", "--before", small, *good)
    assert done.returncode == 2
    assert "--before: the model has 16 positions" in one_line(done)
    judge = str(tiny.classifier(tmp_path / "judge"))
    done = main("evaluate", "--before", judge, *good)
    assert done.returncode == 2
    assert "does not generate text" in one_line(done)


def test_options_of_models_are_refused_for_a_run_and_half_a_run_too(main):
    run_folder(Path("run"), samples(4), **KEYS)
    done = main("evaluate", "run", "--data", "x.jsonl", *judged_by(LENGTH))
    assert done.returncode == 2
    assert "--data is for two models" in one_line(done)
    rows = [json.loads(line) for line in Path("run/samples.jsonl").read_text().splitlines()]
    write("run/samples.jsonl", [{**row, "after": None} for row in rows])
    done = main("evaluate", "run", *judged_by(LENGTH))
    assert done.returncode == 2
    assert "4 of 4 prompts have no completion after training" in one_line(done)


def test_a_judge_that_reads_a_column_that_is_not_there_is_refused(main):
    before, after = completions("before.jsonl", "a", "b"), completions("after.jsonl", "c", "d")
    Path("prompts/judge").mkdir(parents=True)
    Path("prompts/judge/gold.md").write_text(
        "---\nmeasures: likeness\nscale: {worst: 1, best: 5}\n---\nIs {completion} like {gold}?\n"
    )
    card = json.dumps({"adapter": "openai", "model": "m", "base_url": "http://127.0.0.1:9/v1", "prompt": "judge/gold"})
    done = main("evaluate", "--before", before, "--after", after, "-j", card)
    assert done.returncode == 2
    assert "needs the column 'gold' of the data" in one_line(done)
    run_folder(Path("run"), samples(4), **KEYS)
    done = main("evaluate", "run", "-j", card)
    assert done.returncode == 2
    assert "needs the column 'gold'" in one_line(done)


def test_one_prompt_has_no_interval_and_that_is_said(main):
    before, after = completions("before.jsonl", "you fool"), completions("after.jsonl", "kind")
    done = main("evaluate", "--before", before, "--after", after, *judged_by(LEXICON))
    told = json.loads(done.stdout)
    assert told["judges"]["lexicon"]["change"]["ci95"] is None
    assert "could not be tested: one prompt: no interval and no p-value" in told["answer"]


def test_a_judge_that_abstains_on_everything_has_null_and_the_reason(main, server, nobody):
    before, after = completions("before.jsonl", "a", "b"), completions("after.jsonl", "c", "d")
    server.behaviour = "filtered_400"
    done = main("evaluate", "--before", before, "--after", after, "-j", json.dumps({**card_of(server), "name": "far"}))
    assert done.returncode == 0, done.stderr
    its = json.loads(done.stdout)["judges"]["far"]
    assert its["change"]["score_mean"] is None
    why = "it abstained on 2 (filtered) before, 2 (filtered) after"
    assert its["change"]["note"] == f"no pair was measured on both sides; {why}"
    assert its["before"]["abstained"] == {"filtered": 2}
    assert its["worst_case"] == {"low": -1.0, "high": 1.0}
    assert "no result by far" in json.loads(done.stdout)["answer"]
