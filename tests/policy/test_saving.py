"""What a policy writes is read by transformers or peft alone, and by nothing of ours."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from peft import LoraConfig, PeftModel
from safetensors.torch import load_file
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
)

from rlaif.core.errors import RlaifError
from rlaif.policy.loading import prepare_model
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


TIED = [
    ("qwen2", ["lm_head"]), ("qwen2", ["embed_tokens"]), ("qwen2", ["lm_head", "embed_tokens", "q_proj"]),
    ("gpt2", ["lm_head"]), ("gpt2", ["wte"]), ("t5", ["lm_head"]), ("t5", ["embed_tokens", "q"]), ("t5", ["shared"]),
    ("flan_t5", ["lm_head"]), ("bart", ["lm_head"]), ("bart", ["lm_head", "shared", "embed_tokens"]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("architecture", "targets"), TIED, ids=lambda value: value if isinstance(value, str) else "+".join(value)
)
def test_an_adapter_of_tied_embeddings_is_merged_into_the_layer_that_it_is_of(
    policy_folder, tmp_path, architecture, targets
):
    lora = LoraConfig(r=4, target_modules=targets)
    policy = policy_of(policy_folder(architecture), lora=lora, ends=None)
    before = logits(policy.model, policy.is_seq2seq)
    moved(policy, lambda name: "lora_" in name)
    trained = logits(policy.model, policy.is_seq2seq)
    assert targets == ["shared"] or (trained - before).abs().max() > 0.5  # T5 asks `encoder.embed_tokens`
    policy.save(tmp_path, merge=True)
    assert same(auto(architecture).from_pretrained(tmp_path), policy)
    assert torch.equal(logits(policy.model, policy.is_seq2seq), trained)
    again = policy_of(tmp_path, ends=None)
    again.save(tmp_path / "again")
    assert same(auto(architecture).from_pretrained(tmp_path / "again"), policy)


@pytest.mark.parametrize("merge", [False, True])
def test_an_output_layer_that_is_trained_whole_is_no_longer_tied(policy_folder, tmp_path, merge):
    lora = LoraConfig(r=4, target_modules=["q_proj"], modules_to_save=["lm_head"], task_type="CAUSAL_LM")
    policy = policy_of(policy_folder("qwen2"), lora=lora, ends=None)
    moved(policy, by=0.5)
    policy.save(tmp_path, merge=merge)
    model = AutoModelForCausalLM.from_pretrained(tmp_path if merge else policy_folder("qwen2"))
    assert same(model if merge else PeftModel.from_pretrained(model, tmp_path), policy)


@pytest.mark.parametrize("lora", [None, LORA], ids=["full", "lora"])
@pytest.mark.parametrize("merge", [False, True])
def test_what_is_written_and_is_not_the_trained_model_is_refused_and_lies_apart(
    policy_folder, tmp_path, monkeypatch, lora, merge
):
    start = shutil.copytree(policy_folder("llama"), tmp_path / "start")
    policy = policy_of(start, lora=lora, lively=True)
    written = safetensors.torch.save_file

    def spoilt(tensors: dict[str, Tensor], *args: Any, **keys: Any) -> None:
        written({name: tensor * 1.5 for name, tensor in tensors.items()}, *args, **keys)

    for module in ("transformers.modeling_utils.safe_save_file", "peft.peft_model.safe_save_file"):
        monkeypatch.setattr(module, spoilt)
    with pytest.raises(RlaifError, match=r"is not the model that was trained: its logits are off by [\d.]+, the"):
        policy.save(tmp_path / "out", merge=merge)
    assert not (tmp_path / "out").exists()
    assert (tmp_path / "out.differs" / "tokenizer.json").exists()


def test_an_adapter_whose_base_has_changed_on_disk_is_refused(policy_folder, tmp_path):
    start = shutil.copytree(policy_folder("llama"), tmp_path / "start")
    policy = policy_of(start, lora=LORA)
    weights = load_file(start / "model.safetensors")
    safetensors.torch.save_file({name: w * 1.1 for name, w in weights.items()}, start / "model.safetensors",
                                {"format": "pt"})  # fmt: skip
    with pytest.raises(RlaifError, match=r"out: what was written is not the model that was trained") as caught:
        policy.save(tmp_path / "out")
    assert str(caught.value).endswith(f"it lies apart in {tmp_path / 'out.differs'}")


def test_an_adapter_of_a_base_that_was_never_on_disk_is_compared_on_that_in_memory(tmp_path):
    model = LlamaForCausalLM(LlamaConfig(**tiny.SIZE, vocab_size=260, num_key_value_heads=1))
    loaded = prepare_model(model, tiny.tokenizer(), dtype="float32", lora=LORA, device=torch.device("cpu"))
    policy = policy_of(loaded, lively=True)
    tokens = sampled(policy)
    before = policy(tokens).logprobs
    policy.save(tmp_path / "out")
    assert (tmp_path / "out" / "adapter_model.safetensors").exists()
    assert torch.equal(policy(tokens).logprobs, before)


def test_a_policy_that_diverged_is_written_as_it_is(policy_folder, tmp_path):
    policy = policy_of(policy_folder("llama"))
    policy.weights()["model.model.norm.weight"].fill_(float("nan"))
    policy.save(tmp_path / "out")
    assert load_file(tmp_path / "out" / "model.safetensors")["model.norm.weight"].isnan().all()


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
