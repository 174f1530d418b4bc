"""Prompts from data sets: what a row asks, which rows are kept, how long prompts are cut, and the three parts."""

from __future__ import annotations

import contextlib
import json
import pickle
import random
import string
from pathlib import Path
from types import SimpleNamespace

import datasets
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, ByT5Tokenizer

from rlaif.core.config.sections import DataSection
from rlaif.core.errors import InputError
from rlaif.data.filter import parse
from rlaif.data.prompts import Parts, Prompt, load_parts, prompts_of
from rlaif.data.tokenize import LimitedTokenizer
from tests.tiny import CHAT, tokenizer

PLAIN = tokenizer()
CHATTY = tokenizer(chat=CHAT)
# Like Llama's or Mistral's: the user speaks first, turns alternate, and a cue for the answer comes last.
STRICT = tokenizer(
    chat="{{ '<s>' }}{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate user/assistant') }}{% endif %}"
    "[{{ m['role'] }}] {{ m['content'] }}\n{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}"
)
HH = "\n\nHuman: Hi there\n\nAssistant: Hello!\n\nHuman: How are you?\n\nAssistant:"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def jsonl(name, rows):
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return name


def prompts(count, start=0):
    return [{"prompt": f"prompt number {i}"} for i in range(start, start + count)]


def parts(dataset, tokens=PLAIN, guard=5, test=10, **keys) -> Parts:
    return load_parts(DataSection(dataset=dataset, **keys), tokens, guard_prompts=guard, test_prompts=test)


def made(rows, tokens=PLAIN, **keys) -> list[Prompt]:
    return prompts_of(rows, tokens, **keys)[0]


def texts(part):
    return [prompt.text for prompt in part]


def all_of(parts):
    return [*parts.train, *parts.guard, *parts.test]


def kept(dataset, **keys):
    """All prompts that are read, in one part."""
    return load_parts(DataSection(dataset=dataset, **keys), PLAIN, guard_prompts=0, test_prompts=0)


def refusal(act, *arguments, **keywords):
    with pytest.raises(InputError) as caught:
        act(*arguments, **keywords)
    message = str(caught.value)
    assert "\n" not in message
    return message


# --- the prompt's column --------------------------------------------------------------------------------------


def test_the_column_is_the_one_that_is_named_then_prompt():
    row = {"prompt": "p", "question": "q", "id": 1}
    [prompt] = made([row])
    assert (prompt.text, prompt.columns) == ("p", {"question": "q", "id": 1})
    [prompt] = made([row], column="question")
    assert (prompt.text, prompt.columns) == ("q", {"prompt": "p", "id": 1})


def test_a_dotted_column_is_inside_another_and_its_neighbours_stay():
    row = {"prompt": {"text": "once", "toxicity": 0.4}, "challenging": True}
    [prompt] = made([row], column="prompt.text")
    assert prompt.text == "once"
    assert prompt.columns == {"prompt": {"toxicity": 0.4}, "challenging": True}
    assert row["prompt"]["text"] == "once"


def test_a_column_with_a_dot_in_its_name_goes_first():
    [prompt] = made([{"a.b": "whole", "a": {"b": "inside"}}], column="a.b")
    assert (prompt.text, prompt.columns) == ("whole", {"a": {"b": "inside"}})


def test_a_prompt_that_holds_columns_is_refused_with_the_one_that_was_meant():
    row = {"prompt": {"toxicity": 0.4, "text": "once"}}
    jsonl("x.jsonl", [row])
    message = refusal(parts, "x.jsonl")
    assert message.startswith("x.jsonl, line 1: 'prompt' should be text or a list of messages, not {'toxicity'")
    assert message.endswith("; use data.column: prompt.text for the text inside it")


def test_without_a_column_the_names_that_there_are_are_told():
    assert refusal(made, [{"tweet": "a", "chosen": "b"}]) == (
        "train_dataset, item 0: has neither 'prompt' nor 'chosen' and 'rejected'; there are: tweet, chosen; "
        "name the column of prompts with column"
    )
    assert refusal(made, [{"tweet": "a"}], column="tweets") == (
        "train_dataset, item 0: has no column 'tweets' (did you mean 'tweet'?); there are: tweet; correct column"
    )


def test_a_row_that_lost_the_column_is_named():
    jsonl("x.jsonl", [{"prompt": "a"}, {"prompts": "b"}])
    assert refusal(parts, "x.jsonl") == "x.jsonl, line 2: has no column 'prompt'; there are: prompts"


@pytest.mark.parametrize(
    ("row", "column", "named"),
    [({"prompt": None}, None, "'prompt'"), ({"a": {"b": None}}, "a.b", "'a.b'"), ({"a": None}, "a.b", "'a.b'"),
     ({"chosen": None, "rejected": "b"}, None, "'chosen'")],
)  # fmt: skip
def test_a_null_prompt_is_refused_with_its_row_and_the_way_out(row, column, named):
    jsonl("x.jsonl", [row])
    message = refusal(parts, "x.jsonl", column=column)
    assert message.startswith(f"x.jsonl, line 1: {named} is null; correct the row or leave it out, as `where: ")


def test_null_prompts_can_be_left_out():
    jsonl("x.jsonl", [{"prompt": "a"}, {"prompt": None}])
    assert texts(kept("x.jsonl", where="prompt != null").train) == ["a"]


@pytest.mark.parametrize("value", [5, 1.5, True, ["a"], [{"role": "user"}], [{"from": "human", "value": "a"}]])
def test_a_prompt_that_is_no_text_is_refused(value):
    assert "'prompt' should be text or a list of messages, not" in refusal(made, [{"prompt": value}])


def test_a_lone_surrogate_is_replaced_for_no_tokenizer_reads_it():
    [prompt] = made(json.loads('[{"prompt": "a \\ud800 b"}]'))
    assert prompt.text == "a ? b"
    [prompt] = made(json.loads('[{"prompt": [{"role": "user", "content": "a \\ud800 b"}]}]'), CHATTY)
    assert prompt.text == "a ? b"


# --- chosen and rejected --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("chosen", "rejected", "shared"),
    [
        ("The sky is blue", "The sky is green", "The sky is"),
        ("Q: 1+1?\nA: 2", "Q: 1+1?\nA: 3", "Q: 1+1?\nA:"),
        ("same start", "same start, and on", "same start"),
        ("all the same", "all the same", "all the same"),
    ],
)
def test_the_prompt_is_what_chosen_and_rejected_share(chosen, rejected, shared):
    row = {"chosen": chosen, "rejected": rejected}
    [prompt] = made([row])
    assert prompt.text == shared
    assert prompt.columns == row


def test_what_texts_share_is_what_trl_says_they_share():
    from trl import extract_prompt

    rng = random.Random(0)
    for _ in range(300):
        start = "x" + "".join(rng.choices("ab ", k=rng.randrange(8)))
        row = {"chosen": start + "a" + "tail", "rejected": start + "b" + "end"}
        assert texts(made([row])) == [extract_prompt(row)["prompt"]]


def test_what_message_lists_share_is_what_trl_says_they_share():
    from trl import extract_prompt

    asked = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Yo"},
        {"role": "user", "content": "?"},
    ]
    row = {answer: [*asked, {"role": "assistant", "content": answer}] for answer in ("chosen", "rejected")}
    [prompt] = made([row])
    assert extract_prompt(row)["prompt"] == asked
    assert prompt.text == "User: Hi\n\nAssistant: Yo\n\nUser: ?"


def test_identical_answers_still_leave_the_question():
    same = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yo"}]
    assert texts(made([{"chosen": same, "rejected": same}])) == ["Hi"]
    assert texts(made([{"chosen": HH + " fine", "rejected": HH + " fine"}])) == [HH]


def test_a_text_and_a_message_list_are_no_pair():
    message = refusal(made, [{"chosen": "a", "rejected": [{"role": "user", "content": "a"}]}])
    assert message == ("train_dataset, item 0: 'chosen' and 'rejected' should both be texts or both lists of messages")


def test_pairs_that_share_nothing_have_blank_prompts():
    rows = [{"chosen": "yes", "rejected": "no"}, {"chosen": "\n\nHuman: a\n\nAssistant: b", "rejected": "c"}]
    assert "no prompt is left of 2 rows; 2 of 2 rows left out: the prompt is blank" in refusal(made, rows)


# --- dialogues of HH-RLHF -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("chosen", "rejected"),
    [(" I am well", " Bad"), (" I am well", " I am not"), (" Same", " Same"), ("", " x"),
     (" a\n\nHuman: b\n\nAssistant: c", " d")],
    ids=["different", "alike-at-first", "identical", "empty", "longer"],
)  # fmt: skip
def test_a_dialogue_ends_where_the_last_shared_answer_begins(chosen, rejected):
    assert texts(made([{"chosen": HH + chosen, "rejected": HH + rejected}])) == [HH]


@pytest.mark.parametrize(
    ("text", "expected"),
    [(HH, HH), (HH + " I am well", HH), (HH.lstrip() + " well", HH.lstrip()), (HH + " a\n\nb", HH),
     ("\n\nHuman: Hi", "\n\nHuman: Hi"), (HH + " ok\n\nHuman: bye", HH + " ok\n\nHuman: bye"),
     ("Human: alone", "Human: alone"), ("So:\n\nHuman: a\n\nAssistant: b", "So:\n\nHuman: a\n\nAssistant: b")],
    ids=["cue", "answer", "no-newlines-first", "answer-of-two-paragraphs", "question", "ends-in-question", "one-word",
         "no-dialogue"],
)  # fmt: skip
def test_a_dialogue_in_a_column_goes_without_its_final_answer(text, expected):
    assert texts(made([{"prompt": text}])) == [expected]


def test_a_chat_model_gets_a_dialogue_as_messages_and_the_text_has_no_markup():
    [prompt] = made([{"chosen": HH + " well", "rejected": HH + " bad"}], STRICT)
    assert prompt.text == HH
    assert STRICT.decode(prompt.ids) == "<s>[user] Hi there\n[assistant] Hello!\n[user] How are you?\n[assistant]"


def test_turns_of_one_speaker_in_a_row_become_one_message():
    [prompt] = made(["\n\nHuman: a\n\nHuman: b\n\nAssistant: c\n\nAssistant: d\n\nHuman: e\n\nAssistant:"], STRICT)
    assert STRICT.decode(prompt.ids) == "<s>[user] a\n\nb\n[assistant] c\n\nd\n[user] e\n[assistant]"


# --- messages and chat templates ------------------------------------------------------------------------------


def test_messages_go_through_the_chat_template_with_its_own_special_tokens_only():
    messages = [{"role": "user", "content": "Hi"}]
    [prompt] = made([{"prompt": messages}], STRICT)
    assert STRICT.decode(prompt.ids) == "<s>[user] Hi\n[assistant]"
    assert list(prompt.ids).count(STRICT.bos_token_id) == 1
    own = STRICT.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    assert list(prompt.ids) == own


def test_messages_without_a_chat_template_are_read_as_text():
    messages = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Yo"},
        {"role": "user", "content": "?"},
    ]
    [prompt] = made([{"prompt": messages}])
    assert prompt.text == "User: Hi\n\nAssistant: Yo\n\nUser: ?"
    assert list(prompt.ids) == PLAIN(prompt.text)["input_ids"]


def test_messages_that_end_in_an_answer_go_without_it():
    messages = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yo"}]
    assert texts(made([{"messages": messages}], CHATTY, column="messages")) == ["Hi"]


def test_plain_texts_stay_plain_also_with_a_chat_template():
    [prompt] = made(["once upon"], CHATTY)
    assert CHATTY.decode(prompt.ids) == "<s>once upon</s>"


def test_content_in_parts_and_null_keys_of_a_table_are_read():
    rows = [{"prompt": [{"role": "user", "content": [{"type": "text", "text": "a"}], "tool_calls": None}]}]
    [prompt] = made(rows, STRICT)
    assert STRICT.decode(prompt.ids) == "<s>[user] a\n[assistant]"


def test_what_a_chat_template_refuses_is_told_with_its_row():
    jsonl("x.jsonl", [{"prompt": [{"role": "system", "content": "be"}, {"role": "user", "content": "a"}]}])
    assert refusal(parts, "x.jsonl", STRICT) == (
        "x.jsonl, line 1: the tokenizer's chat template refuses the messages: roles must alternate user/assistant"
    )
    assert "a message has no role" in refusal(made, [{"prompt": [{"content": "a"}]}], STRICT)


def test_the_tokenizers_own_special_tokens_are_kept(shared):
    llama = AutoTokenizer.from_pretrained(shared / "models/comment-llama")
    t5 = AutoTokenizer.from_pretrained(shared / "models/comment-t5")
    [prompt] = made(["you are"], llama)
    assert llama.decode(prompt.ids[0]) == "<s>"
    assert prompt.ids[-1] != llama.eos_token_id
    [prompt] = made(["you are"], t5, template="policy/complete")
    assert t5.decode(prompt.ids) == "complete: you are</s>"


def test_token_ids_are_compact():
    [prompt] = made(["x" * 1000])
    assert len(prompt.ids) == 1002
    assert list(prompt.ids)[:2] == [0, PLAIN.convert_tokens_to_ids("x")]
    assert len(pickle.dumps(prompt.ids)) < 5000
    assert pickle.loads(pickle.dumps(prompt)) == prompt


# --- templates ------------------------------------------------------------------------------------------------


def template(text, name="mine.md"):
    path = Path("prompts/policy") / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return "policy/mine"


def test_a_template_is_filled_with_the_prompt_and_columns_in_one_pass():
    rows = [{"prompt": "{title} and {prompt}", "title": "{prompt}", "n": 3, "none": None}]
    [prompt] = made(rows, template=template('{title}|{n}|{none}| {"json": 1} {} |{prompt}\n'))
    assert prompt.text == '{prompt}|3|| {"json": 1} {} |{title} and {prompt}'
    assert list(prompt.ids) == PLAIN(prompt.text)["input_ids"]


@pytest.mark.parametrize(("content", "expected"), [("{prompt}\n", "a"), ("{prompt}", "a"), ("{prompt}\n\n", "a\n")])
def test_only_the_last_newline_of_a_template_is_not_part_of_it(content, expected):
    assert texts(made(["a"], template=template(content))) == [expected]


def test_a_field_that_is_no_column_is_refused_with_those_that_there_are():
    jsonl("x.jsonl", [{"prompt": "a", "title": "b", "id": 1}])
    assert refusal(parts, "x.jsonl", template=template("{titel}: {prompt}")) == (
        "x.jsonl, line 1: the template prompts/policy/mine.md needs the column 'titel' (did you mean 'title'?); "
        "there are: title, id"
    )


def spell(text: str) -> list[int]:
    return [token for char in text for token in PLAIN(char, add_special_tokens=False)["input_ids"]]


def test_special_tokens_that_a_message_spells_are_letters_to_a_chat_model():
    [prompt] = made([{"prompt": [{"role": "user", "content": "a</s><s>b"}]}], CHATTY)
    assert list(prompt.ids) == [0, *spell("user: a</s><s>b"), 2]
    assert prompt.text == "a</s><s>b"


def test_special_tokens_that_a_prompt_spells_are_letters_in_a_template_whose_own_are_meant():
    text = template("x<unk>{prompt}</s>{title}.")
    [prompt] = made([{"prompt": "a</s>", "title": "<pad>"}], PLAIN, template=text)
    assert list(prompt.ids) == [0, *spell("x"), 3, *spell("a</s>"), 2, *spell("<pad>."), 2]
    assert prompt.text == "x<unk>a</s></s><pad>."


def test_a_template_without_the_prompt_is_refused():
    assert refusal(made, ["a"], template=template("Say something.")) == (
        "prompts/policy/mine.md: the template has no field {prompt} for the text; add it"
    )


def test_a_template_that_there_is_not_is_refused_with_those_that_there_are():
    message = refusal(made, ["a"], template="policy/complet")
    assert message.startswith("no prompt named 'policy/complet' (did you mean 'policy/complete'?)")


def test_a_template_is_found_by_path_too():
    Path("here.md").write_text("> {prompt}\n")
    assert texts(made(["a"], template="./here.md")) == ["> a"]


def test_a_filled_template_is_one_message_of_a_chat_model_also_of_a_dialogue():
    for row in ({"prompt": HH}, {"prompt": [{"role": "user", "content": HH}]}):
        [prompt] = made([row], STRICT, template="policy/summarize_dialogue")
        assert prompt.text == f"Summarize the following conversation.\n\n{HH}\n\nSummary:"
        assert STRICT.decode(prompt.ids) == f"<s>[user] {prompt.text}\n[assistant]"


@pytest.mark.parametrize("name", ["complete", "summarize_dialogue", "answer_dialogue"])
def test_shipped_templates_need_the_prompt_alone(name):
    [prompt] = made(["some words"], template=f"policy/{name}")
    assert "some words" in prompt.text
    if name == "complete":
        assert prompt.text == "complete: some words"


# --- too long -------------------------------------------------------------------------------------------------


def test_long_texts_lose_their_beginning_and_it_is_told():
    rows = ["0123456789", "abc"]
    made, notes = prompts_of(rows, PLAIN, max_prompt_tokens=4)
    assert texts(made) == ["6789", "abc"]
    assert PLAIN.decode(made[0].ids) == "<s>6789</s>"
    assert notes == ("train_dataset: 1 of 2 prompts cut to their last 4 tokens (max_prompt_tokens)",)


def test_long_texts_are_dropped_where_that_is_asked_for():
    made, notes = prompts_of(["0123456789", "abc"], PLAIN, max_prompt_tokens=4, overlong="drop")
    assert texts(made) == ["abc"]
    assert notes == ("train_dataset: 1 of 2 rows left out: the prompt is longer than max_prompt_tokens (4)",)


def test_the_limit_counts_neither_the_template_nor_special_tokens():
    made, notes = prompts_of(["0123"], PLAIN, max_prompt_tokens=4, template="policy/complete")
    assert (texts(made), notes) == (["complete: 0123"], ())
    made, _ = prompts_of(["012345"], PLAIN, max_prompt_tokens=4, template="policy/complete")
    assert texts(made) == ["complete: 2345"]


def test_a_cut_falls_between_characters():
    assert texts(made(["a😀é"], max_prompt_tokens=5)) == ["é"]  # é has two tokens here, 😀 four
    assert texts(made(["a😀é"], max_prompt_tokens=6)) == ["😀é"]


def test_what_is_left_blank_by_a_cut_is_dropped():
    made, notes = prompts_of(["long   ", "b"], PLAIN, max_prompt_tokens=3)
    assert texts(made) == ["b"]
    assert "train_dataset: 1 of 2 rows left out: the prompt is blank" in notes


PIECES = [*string.ascii_letters, " ", "\n", ".", "é", "ß", "中", "😀", "\u0301", "\u200d", "ﬁ", "</s>", " the"]
TEXTS = st.lists(st.sampled_from(PIECES), max_size=80).map("".join)


def assert_cut(tokens, text, limit):
    [one] = LimitedTokenizer(tokens, limit).fit([text])
    assert text.endswith(one.text)
    assert len(tokens(one.text, add_special_tokens=False)["input_ids"]) <= limit
    assert one.ids == tokens(one.text)["input_ids"]
    assert one.long == (len(tokens(text, add_special_tokens=False)["input_ids"]) > limit)
    if not one.long:
        assert one.text == text


@pytest.mark.parametrize("model", ["comment-llama", "comment-t5"])
def test_what_a_real_tokenizer_keeps_is_a_suffix_within_the_limit(shared, model):
    tokens = AutoTokenizer.from_pretrained(shared / "models" / model)

    @settings(max_examples=100, deadline=None)
    @given(TEXTS, st.integers(1, 30))
    def check(text, limit):
        assert_cut(tokens, text, limit)

    check()


@settings(max_examples=30, deadline=None)
@given(TEXTS, st.integers(1, 30))
def test_what_a_slow_tokenizer_keeps_is_a_suffix_within_the_limit(text, limit):
    assert_cut(ByT5Tokenizer(), text.replace("</s>", ""), limit)


def test_real_dialogues_keep_nearly_as_many_tokens_as_they_may(shared):
    tokens = AutoTokenizer.from_pretrained(shared / "models/comment-llama")
    rows = [json.loads(line) for line in (shared / "data/hh_harmless_pairs.jsonl").open()]
    cut = [prompt for prompt in made(rows, tokens, max_prompt_tokens=64) if len(prompt.ids) > 60]
    assert len(cut) > 500
    assert all(len(prompt.ids) <= 65 for prompt in cut)
    assert all(any(row["prompt"].endswith(prompt.text) for row in rows) for prompt in cut[:50])


TURNS = [
    {"role": "user", "content": "aaaa"},
    {"role": "assistant", "content": "bbbb"},
    {"role": "user", "content": "cccc"},
]
SYSTEM = {"role": "system", "content": "ss"}


@pytest.mark.parametrize(
    ("messages", "limit", "expected"),
    [
        (TURNS, 12, TURNS),
        (TURNS, 11, TURNS[2:]),  # the answer would fit, but a conversation begins with a question
        (TURNS, 4, TURNS[2:]),
        (TURNS, 2, [{"role": "user", "content": "cc"}]),
        ([*TURNS[:2], *TURNS], 13, TURNS),
        ([SYSTEM, *TURNS], 14, [SYSTEM, *TURNS]),
        ([SYSTEM, *TURNS], 13, [SYSTEM, TURNS[2]]),
        ([SYSTEM, *TURNS], 5, TURNS[2:]),
        ([SYSTEM, *TURNS], 3, [{"role": "user", "content": "ccc"}]),
        ([SYSTEM], 1, [{"role": "system", "content": "s"}]),
    ],
)
def test_long_conversations_lose_their_oldest_turns(messages, limit, expected):
    [prompt] = made([{"prompt": messages}], CHATTY, max_prompt_tokens=limit)
    assert CHATTY.decode(prompt.ids) == "".join(f"<s>{m['role']}: {m['content']}</s>" for m in expected)
    [plain] = made([{"prompt": messages}], PLAIN, max_prompt_tokens=limit)
    assert plain.text == prompt.text


def test_long_conversations_are_dropped_where_that_is_asked_for():
    made, notes = prompts_of([{"prompt": TURNS}, "abc"], CHATTY, max_prompt_tokens=11, overlong="drop")
    assert texts(made) == ["abc"]
    assert "longer than max_prompt_tokens (11)" in notes[0]


def test_a_long_dialogue_of_a_chat_model_loses_its_oldest_turns_in_the_text_too():
    [prompt] = made([HH], STRICT, max_prompt_tokens=12)
    assert prompt.text == "\n\nHuman: How are you?\n\nAssistant:"
    assert STRICT.decode(prompt.ids) == "<s>[user] How are you?\n[assistant]"


# --- blank and repeated ---------------------------------------------------------------------------------------


def test_blank_prompts_are_dropped_and_counted():
    jsonl("x.jsonl", [{"prompt": text} for text in ("a", "", " \n", "b")])
    read = kept("x.jsonl")
    assert sorted(texts(read.train)) == ["a", "b"]
    assert read.notes == ("x.jsonl: 2 of 4 rows left out: the prompt is blank",)


def test_if_no_prompt_is_left_the_reasons_are_told():
    jsonl("x.jsonl", [{"prompt": ""}, {"prompt": "0123456789", "n": 1}, {"prompt": "a", "n": 2}])
    message = refusal(parts, "x.jsonl", where="n != 2", max_prompt_tokens=4, overlong="drop")
    assert message == (
        "x.jsonl: no prompt is left of 3 rows; 1 of 3 rows left out: they do not match data.where; "
        "1 of 3 rows left out: the prompt is blank; "
        "1 of 3 rows left out: the prompt is longer than max_prompt_tokens (4)"
    )
    jsonl("x.jsonl", [])
    assert refusal(parts, "x.jsonl", where="n != 2") == "x.jsonl: no prompt is left of 0 rows"


def test_a_repeated_prompt_is_kept_once_and_the_first_row_wins():
    jsonl(
        "x.jsonl",
        [{"prompt": "a", "n": 1}, {"prompt": "b", "n": 2}, {"prompt": "a", "n": 3}, {"prompt": " a\n", "n": 4}],
    )
    read = kept("x.jsonl")
    assert {prompt.text: prompt.columns["n"] for prompt in read.train} == {"a": 1, "b": 2}
    assert read.notes == ("x.jsonl: 2 of 4 rows left out: the prompt repeats that of another row",)


def test_prompts_that_are_the_same_once_cut_are_kept_once():
    rows = [{"prompt": f"{i} tail", "n": i} for i in range(5)] + [{"prompt": "other", "n": 9}]
    reads = [kept(jsonl("x.jsonl", order), max_prompt_tokens=5) for order in (rows, rows[::-1])]
    assert sorted(texts(reads[0].train)) == [" tail", "other"]
    assert reads[0].notes[-1] == "x.jsonl: 4 of 6 rows left out: after cutting, the prompt equals that of another row"
    assert reads[0].train == reads[1].train


def test_rows_in_memory_keep_their_order_and_their_repetitions():
    assert texts(made(["b", "a", "b"])) == ["b", "a", "b"]


# --- where ----------------------------------------------------------------------------------------------------

ROWS = [
    {"prompt": "a", "n": 1, "x": 0.25, "lang": "en", "ok": True, "in": {"deep": 0.9}},
    {"prompt": "b", "n": 2, "x": None, "lang": "de", "ok": False, "in": None},
    {"prompt": "c", "n": 3, "x": 0.75, "lang": None, "ok": None, "in": {"deep": 0.1}},
    {"prompt": "d", "n": 4, "lang": 'it\'s "and" so', "ok": True, "in": {}},
]


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("n == 2", "b"), ("n != 2", "acd"), ("n < 2", "a"), ("n <= 2", "ab"), ("n > 2", "cd"), ("n >= 2", "bcd"),
        ("n>=2 and n<4", "bc"), ("n>1and", None), ("n == 2.0", "b"), ("n > -1e3", "abcd"), ("n < +.5", ""),
        ("x > 0", "ac"), ("x < 1", "ac"), ("x != 0.25", "bcd"), ("x == null", "bd"), ("x != null", "ac"),
        ("lang == 'en'", "a"), ('lang == "en"', "a"), ("lang != 'en'", "bcd"), ("lang < 'e'", "b"),
        (r"""lang == "it's \"and\" so" """, "d"), (r"""lang == 'it\'s "and" so'""", "d"),
        ("ok == true", "ad"), ("ok == false", "b"), ("ok != true", "bc"), ("ok == null", "c"),
        ("in.deep > 0.5", "a"), ("in.deep == null", "bd"), ("prompt >= 'c'", "cd"), ("prompt == 'a and b'", ""),
        ("n > 1 and n < 4 and x == null", "b"), ("  n\n==\t2  ", "b"),
    ],
)  # fmt: skip
def test_where_keeps_the_rows_that_match(where, expected):
    jsonl("x.jsonl", ROWS)
    if not expected:
        assert refusal(kept, "x.jsonl", where=where)
        return
    read = kept("x.jsonl", where=where)
    assert sorted(texts(read.train)) == list(expected)
    gone = 4 - len(expected)
    assert read.notes == ((f"x.jsonl: {gone} of 4 rows left out: they do not match data.where",) if gone else ())


@pytest.mark.parametrize(
    "where",
    ["", " ", "n", "n ==", "== 2", "n = 2", "n === 2", "n == 2 or n == 3", "n == 2 and", "and", "n == 2 n == 3",
     "n == two", "n == 'a", "n == a'b'", "'n' == 2", "n < true", "n > null", "n == 1 and and n == 2", "n == 0x10",
     "n == 1_000", "n == inf", "n == nan", "__import__('os').system('x')", "n == (2)", "n in [1]", "not n == 2",
     "n == 2;", "n == " + "9" * 5000, "n == 2 AND n == 3", "n == None", "1 < n < 3", "n == 'a' 'b'", "n <> 2"],
)  # fmt: skip
def test_a_where_that_cannot_be_read_is_refused_with_what_is_allowed(where):
    jsonl("x.jsonl", ROWS)
    message = refusal(kept, "x.jsonl", where=where)
    assert message.startswith("data.where: ")
    assert message.endswith(
        "; allowed is COLUMN OP LITERAL, joined by `and`; OP is one of == != < <= > >=; LITERAL is a number, "
        "text in quotes, true, false or null"
    )


WORDS = [*"ab.1=<>!'\" \\\n", "and", " and ", "==", "null", "true", "a == 1", "b != 'text'"]


@settings(max_examples=300)
@given(st.text() | st.lists(st.sampled_from(WORDS), max_size=12).map("".join))
def test_no_where_raises_anything_but_a_refusal(where):
    with contextlib.suppress(InputError):
        condition = parse(where)
        condition.keeps({"a": 1, "b": "text"}, "row 1")
        condition.refuse_unmet("x")


def test_a_column_that_no_row_has_is_refused_with_those_that_there_are():
    jsonl("x.jsonl", ROWS)
    assert refusal(kept, "x.jsonl", where="toxicity > 0.5") == (
        "data.where: x.jsonl: no row has the column 'toxicity'; there are: prompt, n, x, lang, ok, in"
    )
    assert "no row has the column 'in.deeep'" in refusal(kept, "x.jsonl", where="n > 1 and in.deeep > 0.5")
    assert "(did you mean 'lang'?)" in refusal(kept, "x.jsonl", where="lan == 'en'")


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ("lang == 5", "the column 'lang' holds text ('en'), and 5 is a number; put the number in quotes"),
        ("lang > 0.5", "the column 'lang' holds text ('en'), and 0.5 is a number"),
        ("n == '1'", "the column 'n' holds a number (1), and '1' is text; leave the quotes out"),
        ("n != '1'", "the column 'n' holds a number (1), and '1' is text"),
        ("ok == 1", "the column 'ok' holds true or false (True), and 1 is a number"),
        ("n == true", "the column 'n' holds a number (1), and True is true or false"),
        ("in == 'x'", "the column 'in' holds a dict ({'deep': 0.9}), and 'x' is text"),
        ("n > 3 and lang > 3", "the column 'lang' holds text"),
    ],
)
def test_comparing_apples_with_pears_is_refused(where, words):
    jsonl("x.jsonl", ROWS)
    message = refusal(kept, "x.jsonl", where=where)
    assert message.startswith("data.where: x.jsonl, line 1: ")
    assert words in message


def test_cells_of_csv_are_text_and_the_message_says_so():
    Path("x.csv").write_text("prompt,toxicity\na,0.4\n")
    assert "save the data as jsonl or parquet, because CSV holds only text" in refusal(
        kept, "x.csv", where="toxicity > 0.3"
    )


def test_what_pandas_writes_for_null_is_null():
    pyarrow.parquet.write_table(pyarrow.table({"prompt": ["a", "b"], "x": [0.5, float("nan")]}), "x.parquet")
    assert texts(kept("x.parquet", where="x == null").train) == ["b"]
    assert texts(kept("x.parquet", where="x != null").train) == ["a"]


# --- sources --------------------------------------------------------------------------------------------------


def write(name, rows):
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    elif path.suffix == ".csv":
        path.write_text("prompt\n" + "".join(f"{row['prompt']}\n" for row in rows))
    elif path.suffix == ".txt":
        path.write_text("".join(f"{row['prompt']}\n" for row in rows))
    else:
        jsonl(name, rows)


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet", "txt"])
def test_a_file_or_the_file_of_a_split_in_a_folder_is_read(suffix):
    write(f"data/train.{suffix}", prompts(20))
    write(f"data/test.{suffix}", prompts(8, start=15))
    write(f"data/inner/train.{suffix}", prompts(3))
    assert len(kept(f"data/train.{suffix}").train) == 20
    assert len(kept("data").train) == 20
    assert len(kept("data", split="test").train) == 8
    assert len(kept("data", data_dir="inner").train) == 3
    for test_split in ("test", f"test.{suffix}"):
        read = parts("data", test_split=test_split)
        assert sorted(texts(read.test)) == ["prompt number 20", "prompt number 21", "prompt number 22"]
        assert (len(read.train), len(read.guard)) == (18, 2)
        assert read.notes == (f"data/test.{suffix}: 5 of 8 prompts left out: data/train.{suffix} has them",)


def test_the_test_file_may_stand_beside_a_file_or_anywhere():
    jsonl("data/mine.jsonl", prompts(20))
    jsonl("data/test.jsonl", prompts(4, start=30))
    jsonl("else/where.jsonl", prompts(6, start=50))
    assert len(parts("data/mine.jsonl", test_split="test.jsonl").test) == 4
    assert len(parts("data/mine.jsonl", test_split="else/where.jsonl").test) == 6
    Path("data/train.jsonl").write_text(Path("data/mine.jsonl").read_text())
    assert len(parts("data", test_split="else/where.jsonl").test) == 6


def test_limit_is_of_each_file():
    jsonl("data/train.jsonl", [*prompts(20), {"nonsense": 1}])
    jsonl("data/test.jsonl", [*prompts(20, start=30), {"nonsense": 1}])
    read = parts("data", test_split="test", limit=20, test=100)
    assert (len(read.train), len(read.guard), len(read.test)) == (18, 2, 20)


def test_a_missing_split_of_a_folder_tells_which_files_there_are():
    jsonl("data/validation.jsonl", prompts(3))
    Path("data/README.md").write_text("x")
    assert refusal(parts, "data") == (
        "data.split: data has no train.jsonl (or .csv, .parquet, .txt, .json, .tsv); there are: validation.jsonl"
    )
    assert refusal(parts, "data", split="validation", test_split="test.jsonl") == (
        "data.test_split: data has no test.jsonl; there are: validation.jsonl"
    )
    Path("empty").mkdir()
    assert refusal(parts, "empty").endswith("there are: no such files")


def test_two_files_of_one_split_are_not_guessed_between():
    jsonl("data/train.jsonl", prompts(3))
    Path("data/train.csv").write_text("prompt\na\n")
    assert refusal(parts, "data") == "data.split: data holds train.csv and train.jsonl; name one of them"
    assert texts(kept("data", split="train.csv").train) == ["a"]


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"dataset": "missing.jsonl"}, "missing.jsonl: no such file"),
        ({"dataset": "-"}, "data.dataset: prompts are read again when a run resumes; name a file"),
        ({"dataset": "x.jsonl", "name": "en"}, "data.name: x.jsonl is a file, which has none; leave it out"),
        ({"dataset": "x.jsonl", "data_dir": "a"}, "data.data_dir: x.jsonl is a file, which has none"),
        ({"dataset": "folder", "revision": "a"}, "data.revision: folder is a folder, which has none"),
        ({"dataset": "folder", "data_dir": "a"}, "data.data_dir: there is no folder folder/a"),
        (
            {"dataset": "x.jsonl", "split": "test"},
            "data.split: 'test' is no file, and x.jsonl is a file, which has no splits",
        ),
        ({"dataset": "x.jsonl", "test_split": "test"}, "data.test_split: 'test' is no file, and x.jsonl is a file"),
        ({"dataset": "x.yaml"}, "x.yaml: should be one of .jsonl, .csv, .parquet, .txt, .json, .tsv"),
        ({"dataset": ""}, "data.dataset: is empty; name a file, a folder or a hub id"),
    ],
)
def test_a_source_that_is_not_there_or_cannot_be_meant_is_refused(keys, words):
    jsonl("x.jsonl", prompts(20))
    Path("x.yaml").write_text("[]")
    Path("folder").mkdir()
    assert words in refusal(parts, **keys)


def test_a_broken_row_of_the_test_split_is_named_by_its_file():
    jsonl("data/train.jsonl", prompts(20))
    Path("data/test.jsonl").write_text('{"prompt": "a"}\nnonsense\n')
    assert refusal(parts, "data", test_split="test").startswith("data/test.jsonl, line 2: malformed JSON")


def test_the_home_folder_may_be_written_as_a_tilde(monkeypatch, folder):
    monkeypatch.setenv("HOME", str(folder))
    jsonl("x.jsonl", prompts(3))
    assert len(kept("~/x.jsonl").train) == 3


# --- the hub --------------------------------------------------------------------------------------------------


@pytest.fixture
def hub(monkeypatch):
    """The functions of `datasets` that reach for the hub, answered from here; what they were asked is kept."""
    splits = {"train": prompts(40), "test": prompts(10, start=35)}
    asked = []

    def load(*arguments, split, streaming, **keywords):
        asked.append(SimpleNamespace(arguments=arguments, split=split, streaming=streaming, keywords=keywords))
        found = datasets.Dataset.from_list(splits[split])
        return found.to_iterable_dataset() if streaming else found

    monkeypatch.setattr(datasets, "get_dataset_split_names", lambda *_, **__: list(splits))
    monkeypatch.setattr(datasets, "load_dataset", load)
    return asked


def test_a_hub_data_set_is_asked_for_with_all_that_names_it(hub):
    read = parts("owner/name", name="en", data_dir="inner", revision="abc", test_split="test")
    assert [one.split for one in hub] == ["train", "test"]
    for one in hub:
        assert one.arguments == ("owner/name", "en")
        assert one.keywords == {"data_dir": "inner", "revision": "abc"}
        assert not one.streaming
    assert sorted(texts(read.test)) == [f"prompt number {i}" for i in range(40, 45)]
    assert read.notes == ("owner/name (test): 5 of 10 prompts left out: owner/name (train) has them",)


def test_a_few_rows_of_a_hub_data_set_are_streamed(hub):
    assert len(kept("owner/name", limit=7).train) == 7
    assert hub[0].streaming


def test_a_split_that_the_hub_has_not_is_refused_with_those_it_has(hub):
    assert refusal(parts, "owner/name", test_split="validation") == (
        "owner/name: has no split 'validation'; there are: train, test"
    )


def test_the_test_part_of_a_hub_data_set_may_be_a_file(hub):
    jsonl("held_out.jsonl", prompts(3, start=100))
    assert len(parts("owner/name", test_split="held_out.jsonl").test) == 3


def test_a_hub_that_is_out_of_reach_is_told_in_one_line():
    message = refusal(parts, "nobody/nothing-of-this-name")
    assert message.startswith("data: nobody/nothing-of-this-name is not in the local cache")


def test_a_hub_data_set_that_was_loaded_before_needs_no_hub(folder, monkeypatch):
    """A data set in the cache of `datasets`, made by itself of local files and renamed to a hub's."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", folder / "cache")
    for split in ("train", "test"):
        jsonl(f"ours/{split}.jsonl", prompts(20, start=0 if split == "train" else 15))
    datasets.load_dataset("./ours", cache_dir=str(folder / "cache"))
    [made] = (folder / "cache/ours/default/0.0.0").glob("*/")
    place = folder / "cache/owner___name/default/0.0.0/abc"
    place.parent.mkdir(parents=True)
    made.rename(place)
    for file in place.glob("ours-*.arrow"):
        file.rename(place / file.name.replace("ours-", "name-"))
    info = json.loads((place / "dataset_info.json").read_text()) | {"dataset_name": "name"}
    (place / "dataset_info.json").write_text(json.dumps(info))
    monkeypatch.setattr("rlaif.data.rows.refuse_unreachable", lambda _: pytest.fail("asked the hub"))
    read = parts("owner/name", test_split="test", test=100)
    assert (len(read.train), len(read.guard), len(read.test)) == (18, 2, 15)


# --- rows in memory -------------------------------------------------------------------------------------------


def test_rows_of_datasets_mappings_texts_and_messages_are_prompts():
    rows = [{"prompt": "a", "n": 1}, {"prompt": "b", "n": 2}]
    for given_rows in (rows, datasets.Dataset.from_list(rows), datasets.Dataset.from_list(rows).to_iterable_dataset()):
        assert [(prompt.text, prompt.columns) for prompt in made(given_rows)] == [("a", {"n": 1}), ("b", {"n": 2})]
    mixed = made(["a", [{"role": "user", "content": "b"}], {"prompt": "c"}])
    assert texts(mixed) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ("text", "train_dataset: should be a list of prompts, not a single one; put it in brackets"),
        (datasets.DatasetDict(train=datasets.Dataset.from_list([{"prompt": "a"}])), "not a mapping of train; choose"),
        (["a", 5], "train_dataset, item 1: should be a mapping, a text or a list of messages, not 5"),
        (["a", None], "train_dataset, item 1: should be"),
        ([], "train_dataset: no prompt is left of 0 rows"),
    ],
)
def test_what_are_no_rows_is_refused(rows, words):
    assert words in refusal(made, rows)


def test_rows_in_memory_are_named_as_they_are_asked_to_be():
    assert refusal(made, [{"prompt": None}], where="eval_dataset").startswith("eval_dataset, item 0: ")


# --- three parts ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "guard", "test", "sizes"),
    [(1000, 64, 500, (736, 64, 200)), (10_000, 64, 500, (9436, 64, 500)), (100, 64, 500, (70, 10, 20)),
     (10, 64, 500, (7, 1, 2)), (19, 64, 500, (15, 1, 3)), (100, 0, 500, (80, 0, 20)), (100, 64, 0, (90, 10, 0)),
     (1, 0, 0, (1, 0, 0)), (100, 3, 7, (90, 3, 7))],
)  # fmt: skip
def test_parts_have_the_sizes_of_the_contract(count, guard, test, sizes):
    jsonl("x.jsonl", prompts(count))
    read = parts("x.jsonl", guard=guard, test=test)
    assert (len(read.train), len(read.guard), len(read.test)) == sizes
    assert sorted(texts(all_of(read))) == sorted(row["prompt"] for row in prompts(count))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text(string.ascii_lowercase + " ", min_size=1), min_size=1, max_size=60), st.randoms())
def test_parts_never_meet_and_do_not_depend_on_the_order_of_rows(folder, lines, rng):
    lines = [*lines, *(f"more {i}" for i in range(20))]
    one = parts(jsonl("x.jsonl", [{"prompt": line} for line in lines]))
    rng.shuffle(lines)
    other = parts(jsonl("y.jsonl", [{"prompt": line} for line in lines]))
    keys = [" ".join(text.split()) for text in texts(all_of(one))]
    assert len(keys) == len(set(keys)) == len({" ".join(line.split()) for line in lines} - {""})
    for name in ("train", "guard", "test"):
        assert [" ".join(text.split()) for text in texts(getattr(one, name))] == [
            " ".join(text.split()) for text in texts(getattr(other, name))
        ]


def test_a_larger_test_part_holds_the_smaller_one():
    jsonl("x.jsonl", prompts(500))
    small, large = (texts(parts("x.jsonl", test=size).test) for size in (20, 50))
    assert large[:20] == small


def test_models_with_other_tokenizers_and_templates_are_tested_on_the_same_prompts():
    jsonl("x.jsonl", [{"prompt": f"{i} words that are too long for some"} for i in range(100)])
    one = parts("x.jsonl", ByT5Tokenizer(), max_prompt_tokens=1000)
    other = parts("x.jsonl", CHATTY, template="policy/complete")
    assert [f"complete: {text}" for text in texts(one.test)] == texts(other.test)


def test_prompts_that_train_holds_are_not_tested_on_also_when_they_are_cut():
    jsonl("data/train.jsonl", [{"prompt": f"{i} first, and then the end {i % 20:02}"} for i in range(40)])
    jsonl("data/test.jsonl", [{"prompt": f"quite other, and then the end {i:02}"} for i in range(15, 30)])
    read = parts("data", test_split="test", max_prompt_tokens=10, test=100)
    assert sorted(texts(read.test)) == [f"the end {i}" for i in range(20, 30)]
    assert not set(texts(read.test)) & set(texts([*read.train, *read.guard]))


@pytest.mark.parametrize(
    ("count", "guard", "test", "words"),
    [(1, 5, 10, "x.jsonl has 1 prompt: that makes 1 to train on, 0 for the guard (at most 10 %) and 0 for the test"),
     (4, 0, 10, "x.jsonl has 4 prompts: that makes 4 to train on, 0 for the guard (at most 10 %) and 0 for the test"),
     (9, 5, 10, "x.jsonl has 9 prompts: that makes 8 to train on, 0 for the guard")],
)  # fmt: skip
def test_a_part_that_would_be_empty_is_refused_with_the_numbers(count, guard, test, words):
    jsonl("x.jsonl", prompts(count))
    message = refusal(parts, "x.jsonl", guard=guard, test=test)
    assert message.startswith(f"data.dataset: {words}")
    assert message.endswith("no part may be empty; give more prompts")


def test_a_test_split_that_train_holds_is_refused_with_the_numbers():
    jsonl("data/train.jsonl", prompts(20))
    assert refusal(parts, "data", test_split="train") == (
        "data.dataset: data/train.jsonl has 20 prompts, and data/train.jsonl has 0 more: that makes 18 to train "
        "on, 2 for the guard (at most 10 %) and 0 for the test (data.test_split), and no part may be empty; "
        "give more prompts"
    )


# --- real data ------------------------------------------------------------------------------------------------


def test_real_comments_no_test_prompt_is_a_train_prompt(shared):
    tokens = AutoTokenizer.from_pretrained(shared / "models/comment-t5")
    where = str(shared / "data/comment_prompts")
    read = parts(where, tokens, guard=64, test=500, test_split="test", template="policy/complete")
    assert (len(read.train), len(read.guard), len(read.test)) == (3936, 64, 500)
    assert len(set(texts(all_of(read)))) == 4500
    given_prompts = {json.loads(line)["prompt"] for line in (shared / "data/comment_prompts/test.jsonl").open()}
    assert {text.removeprefix("complete: ") for text in texts(read.test)} <= given_prompts
    assert read.notes == ()


def test_real_dialogues_are_cut_counted_and_parted(shared):
    tokens = AutoTokenizer.from_pretrained(shared / "models/comment-llama")
    read = parts(str(shared / "data/hh_harmless_pairs.jsonl"), tokens, guard=64, test=500)
    assert (len(read.train), len(read.guard), len(read.test)) == (816, 64, 219)
    assert all(prompt.text.endswith("\n\nAssistant:") for prompt in all_of(read))
    assert all(set(prompt.columns) == {"chosen", "rejected"} for prompt in all_of(read))
    assert max(len(prompt.ids) for prompt in all_of(read)) == 257
    assert [note.partition(": ")[2] for note in read.notes] == [
        "1 of 1100 rows left out: the prompt repeats that of another row",
        "167 of 1100 prompts cut to their last 256 tokens (max_prompt_tokens)",
    ]


def test_real_dialogues_with_and_without_a_prompt_column_ask_the_same(shared):
    rows = [json.loads(line) for line in (shared / "data/hh_harmless_pairs.jsonl").open()][:200]
    pairs = [{name: f"\n\n{row['prompt']} {row[name]}" for name in ("chosen", "rejected")} for row in rows]
    assert [text.lstrip() for text in texts(made(pairs))] == texts(made(rows))
    chat = made(pairs, STRICT)
    assert all(STRICT.decode(prompt.ids).endswith("[assistant]") for prompt in chat)
