"""Folders of classifiers as people have them: without a tokenizer, as an adapter, of architectures that see padding."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    FNetConfig,
    FNetForSequenceClassification,
)

from rlaif import InputError, Sample, load_judge
from rlaif.judges.classifier.text import token_batches
from tests import tiny


@pytest.fixture(scope="module")
def roberta(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.classifier(tmp_path_factory.mktemp("roberta"))


def card(model: Path, **keys: Any) -> dict[str, Any]:
    return {"adapter": "classifier", "name": "c", "model": str(model), **keys}


def copy_of(folder: Path, to: Path) -> Path:
    return Path(shutil.copytree(folder, to))


@pytest.mark.parametrize("architecture", ["roberta", "bert", "qwen"])
def test_a_classifier_without_the_files_of_its_tokenizer_is_refused(architecture, tmp_path):
    folder = tiny.classifier(tmp_path, architecture)
    for file in folder.glob("tokenizer*"):
        file.unlink()
    with pytest.raises(InputError, match=r"^judge c: .*(its vocabulary is missing|holds no tokenizer)[^\n]*$"):
        load_judge(card(folder, bad="hate"))([Sample("You fool")])


def test_a_classifier_with_the_tokenizer_of_a_far_smaller_model_is_refused(tmp_path):
    folder = tiny.classifier(tmp_path, "roberta", vocab_size=1000)
    with pytest.raises(InputError, match=r"the tokenizer has 260 tokens only, and the model embeddings for 1000"):
        load_judge(card(folder, bad="hate"))([Sample("You fool")])


def test_a_classifier_with_more_tokens_than_embeddings_is_refused(roberta, tmp_path):
    folder = copy_of(roberta, tmp_path / "more")
    words = AutoTokenizer.from_pretrained(folder)
    words.add_tokens(["<extra>"])
    words.save_pretrained(folder)
    with pytest.raises(InputError, match=r"the tokenizer has 261 tokens and the model embeddings for 260"):
        load_judge(card(folder, bad="hate"))([Sample("You fool")])


def adapter_of(folder: Path, to: Path, labels: int, *, added: int = 0, **keys: Any) -> tuple[Path, Any]:
    """Save a LoRA adapter of a model as a classifier, and return its folder, and what peft makes of both."""
    words = AutoTokenizer.from_pretrained(folder)
    torch.manual_seed(5)
    base = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=labels, ignore_mismatched_sizes=True)
    if added:
        words.add_tokens([f"<extra_{i}>" for i in range(added)])
        base.resize_token_embeddings(len(words))
    model = peft.get_peft_model(base, peft.LoraConfig(task_type="SEQ_CLS", r=4, **keys))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.requires_grad:
                weight.copy_(torch.rand_like(weight) - 0.5)
            assert "score" not in name or weight.shape[0] in (labels, 4)
    model.save_pretrained(to)
    if added:
        words.save_pretrained(to)
    return to, model.eval()


@pytest.mark.parametrize("added", [0, 2])
def test_a_reward_model_that_is_an_adapter_is_read_with_its_base(tmp_path, added):
    base = tiny.policy(tmp_path / "base", "qwen2")
    folder, model = adapter_of(base, tmp_path / "adapter", 1, added=added)
    words = AutoTokenizer.from_pretrained(folder if added else base)
    texts = ["You fool", "You are very kind, thank you."]
    found = load_judge(card(folder))([Sample(text) for text in texts])
    with torch.no_grad():
        expected = [float(model(**words(text, return_tensors="pt")).logits) for text in texts]
    assert [judgement.logit for judgement in found] == pytest.approx(expected, abs=1e-4)
    assert abs(expected[0] - expected[1]) > 1e-2


def test_an_adapter_with_labels_of_its_own_has_as_many_as_it_was_trained_on(tmp_path, roberta):
    folder, model = adapter_of(roberta, tmp_path / "adapter", 3)
    words = AutoTokenizer.from_pretrained(roberta)
    with torch.no_grad():
        expected = model(**words("You fool", return_tensors="pt")).logits[0].softmax(-1).tolist()
    (found,) = load_judge(card(folder, bad="LABEL_2"))([Sample("You fool")])
    assert found.raw == pytest.approx(expected[2], abs=1e-5)


def test_a_reward_adapter_whose_base_is_gone_names_the_key_that_says_so(tmp_path):
    folder, _ = adapter_of(tiny.policy(tmp_path / "base", "qwen2"), tmp_path / "adapter", 1)
    file = folder / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "base_model_name_or_path": "/home/somebody/qwen"}))
    with pytest.raises(InputError) as caught:
        load_judge(card(folder))([Sample("You fool")])
    assert str(caught.value) == (
        f"judge c: base_model_name_or_path in adapter_config.json of {folder}: '/home/somebody/qwen' is neither a "
        "folder that exists nor a hub id (owner/name)"
    )


def test_an_adapter_of_a_policy_is_no_trained_classifier(tmp_path, sft_adapter):
    with pytest.raises(
        InputError, match=r"is no trained classifier: it lacks score.weight, and would answer at random"
    ):
        load_judge(card(sft_adapter("llama"), bad="LABEL_1"))([Sample("You fool")])


def test_a_classifier_that_sees_padding_reads_texts_of_one_length_at_a_time(tmp_path):
    names = {"id2label": {0: "ok", 1: "bad"}, "label2id": {"ok": 0, "bad": 1}}
    with tiny.weights():
        model = FNetForSequenceClassification(
            FNetConfig(
                vocab_size=260,
                hidden_size=32,
                num_hidden_layers=2,
                intermediate_size=48,
                pad_token_id=1,
                initializer_range=0.3,
                type_vocab_size=2,
                **names,
            )
        ).eval()
    model.save_pretrained(tmp_path)
    words = tiny.tokenizer()
    words.model_input_names = ["input_ids"]
    words.save_pretrained(tmp_path)
    texts = ["no", "You are kind.", "yo", "You are a very unkind person, I think.", "hm"]
    judge = load_judge(card(tmp_path, bad="bad"))
    together = [judgement.score for judgement in judge([Sample(text) for text in texts])]
    with torch.no_grad():
        logits = [model(words(text, return_tensors="pt")["input_ids"]).logits[0] for text in texts]
    assert together == pytest.approx([float(z.softmax(-1)[0]) for z in logits], abs=1e-5)
    assert [judge([Sample(text)])[0].score for text in texts] == pytest.approx(together, abs=1e-5)


def test_batches_of_equal_lengths_hold_every_text_once():
    lengths = [3, 9, 3, 5, 9, 3, 20]
    batches = list(token_batches(lengths, 9, 12, equal=True))
    assert [[lengths[i] for i in batch] for batch in batches] == [[9], [9], [5], [3, 3, 3]]
    assert sorted(i for batch in batches for i in batch) == [0, 1, 2, 3, 4, 5]
