"""What a policy writes is read by transformers or peft alone, and by nothing of ours."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer, GenerationConfig

from rlaif.policy.model import Policy
from tests import tiny
from tests.policies import LORA, moved, policy_of, sampled

ALL = pytest.mark.parametrize("architecture", tiny.POLICIES)


def auto(architecture: str) -> Any:
    return AutoModelForSeq2SeqLM if architecture in tiny.SEQ2SEQ else AutoModelForCausalLM


def logits(model: Any, seq2seq: bool) -> Tensor:
    ids = torch.tensor([[5, 9, 100, 200]])
    with torch.no_grad():
        return model(ids, **({"decoder_input_ids": torch.tensor([[1, 7, 8]])} if seq2seq else {})).logits


def same(model: Any, policy: Policy) -> bool:
    one, other = (logits(m.eval(), policy.is_seq2seq) for m in (model, policy.model))
    return bool((one - other).abs().max() < 1e-4)


@ALL
def test_a_fully_trained_policy_is_loaded_by_transformers_alone(policy_folder, tmp_path, architecture, capfd):
    policy = policy_of(policy_folder(architecture, hub_defaults=True, chat=tiny.CHAT), ends=None)
    moved(policy, by=0.1)
    capfd.readouterr()
    policy.save(tmp_path)
    assert capfd.readouterr().err == ""
    model, info = auto(architecture).from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert model.dtype == torch.float32
    assert same(model, policy)
    words = AutoTokenizer.from_pretrained(tmp_path)
    assert words("You are kind.").input_ids == policy.tokenizer("You are kind.").input_ids
    assert words.chat_template == tiny.CHAT
    kept = model.generation_config.to_dict()
    assert {key: kept[key] for key in tiny.HUB_DEFAULTS[architecture]} == tiny.HUB_DEFAULTS[architecture]
    again = policy_of(tmp_path, ends=None)
    assert same(again.model, policy)


@ALL
def test_an_adapter_is_loaded_by_peft_alone_onto_its_base(policy_folder, tmp_path, architecture):
    policy = policy_of(policy_folder(architecture), lora=LORA, lively=True)
    policy.save(tmp_path)
    assert not (tmp_path / "model.safetensors").exists()
    base = auto(architecture).from_pretrained(policy_folder(architecture))
    assert not same(base, policy)
    assert same(PeftModel.from_pretrained(base, tmp_path), policy)
    assert AutoTokenizer.from_pretrained(tmp_path)("kind").input_ids == policy.tokenizer("kind").input_ids
    assert GenerationConfig.from_pretrained(tmp_path).eos_token_id == policy.model.generation_config.eos_token_id


@ALL
def test_a_merged_adapter_is_a_whole_model_and_the_policy_is_left_as_it_was(policy_folder, tmp_path, architecture):
    policy = policy_of(policy_folder(architecture), lora=LORA, lively=True)
    tokens = sampled(policy)
    before = policy(tokens).logprobs
    policy.save(tmp_path, merge=True)
    assert not (tmp_path / "adapter_config.json").exists()
    model = auto(architecture).from_pretrained(tmp_path)
    assert same(model, policy)
    assert torch.equal(policy(tokens).logprobs, before)
    assert any("lora_" in name for name in policy.weights())


def test_merging_is_nothing_where_there_is_no_adapter(policy_folder, tmp_path):
    policy = policy_of(policy_folder("llama"))
    policy.save(tmp_path, merge=True)
    assert same(AutoModelForCausalLM.from_pretrained(tmp_path), policy)


def test_a_merged_adapter_of_a_half_precision_base_is_written_in_float32(policy_folder, tmp_path):
    policy = policy_of(policy_folder("llama", dtype=torch.bfloat16), lora=LORA, dtype="bfloat16", lively=True)
    policy.save(tmp_path, merge=True)
    weights = load_file(tmp_path / "model.safetensors")
    assert {weight.dtype for weight in weights.values()} == {torch.float32}
    assert AutoModelForCausalLM.from_pretrained(tmp_path).dtype == torch.float32


def test_the_value_head_lies_apart(policy_folder, tmp_path):
    policy = policy_of(policy_folder("bart"), lively=True)
    policy.save(tmp_path)
    head = load_file(tmp_path / "value_head.safetensors")
    assert torch.equal(head["weight"], policy.value_head.weight)
    assert torch.equal(head["bias"], policy.value_head.bias)
    assert not any("value" in name for name in load_file(tmp_path / "model.safetensors"))


AWKWARD: list[dict[str, Any]] = [
    {"do_sample": False, "temperature": 0.6, "top_p": 0.9},  # as Llama's were published
    {"do_sample": False, "num_beams": 1, "length_penalty": 2.0, "early_stopping": True},
    {"pad_token_id": -1, "temperature": 0.6},
    {"max_length": 20, "max_new_tokens": 256, "cache_implementation": "hybrid"},
]


@pytest.mark.parametrize("settings", AWKWARD, ids=lambda settings: " ".join(settings))
@pytest.mark.parametrize("lora", [None, LORA], ids=["full", "lora"])
@pytest.mark.parametrize("merge", [False, True])
def test_generation_settings_that_transformers_would_not_write_are_kept(tmp_path, settings, lora, merge):
    start = tiny.policy(tmp_path / "start")
    file = start / "generation_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **settings}))
    policy = policy_of(start, ends=ENDS_TOO, lora=lora)  # changed after it was read: transformers refuses to write it
    sampled(policy, 2, most=3)
    policy.save(tmp_path / "out", merge=merge)
    kept = json.loads((tmp_path / "out" / "generation_config.json").read_text())
    assert {key: kept.get(key) for key in settings if settings[key] not in (1, False)} == {
        key: value for key, value in settings.items() if value not in (1, False)
    }
    assert kept["eos_token_id"] == ENDS_TOO
    assert policy.model.generation_config.eos_token_id == ENDS_TOO
    if merge or not lora:
        assert policy_of(tmp_path / "out", ends=None).eos == tuple(ENDS_TOO)


ENDS_TOO = [2, 9]


def test_a_model_saved_twice_is_the_same_file(policy_folder, tmp_path: Path):
    policy = policy_of(policy_folder("gpt2"))
    for name in ("one", "two"):
        policy.save(tmp_path / name)
    names = {path.name for path in (tmp_path / "one").iterdir()}
    assert names == {path.name for path in (tmp_path / "two").iterdir()}
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
