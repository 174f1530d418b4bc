"""Loading a policy: what is trained and in which dtype, and one clear line for each thing that cannot be."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
)

from rlaif.core.config.sections import LoraSection
from rlaif.core.errors import InputError
from rlaif.policy.loading import LoadedModel, compute_dtype, load, load_any, prepare_model
from rlaif.policy.model import Policy
from rlaif.policy.tokenizer import read_tokenizer
from tests import tiny
from tests.policies import LORA, Folder, moved, policy_of, sampled, tokens_of

CPU = torch.device("cpu")


def refused(call: Callable[[], Any]) -> str:
    """The message of a refusal, which is one line."""
    with pytest.raises(InputError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.fixture
def mine(policy_folder: Folder, tmp_path: Path) -> Callable[..., Path]:
    """A copy of a tiny model's folder, to be spoilt."""

    def copied(architecture: str = "llama", **keys: Any) -> Path:
        return Path(shutil.copytree(policy_folder(architecture, **keys), tmp_path / architecture))

    return copied


def edited(file: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    keys = json.loads(file.read_text())
    change(keys)
    file.write_text(json.dumps(keys))


# --- what cannot be loaded --------------------------------------------------------------------------------------


def test_a_folder_that_is_not_there_is_neither_a_folder_nor_a_hub_id(tmp_path):
    message = refused(lambda: load(str(tmp_path / "gone" / "model")))
    assert message.startswith("policy.model: ")
    assert "is neither a folder that exists nor a hub id" in message


def test_a_hub_id_without_a_network_says_so():
    message = refused(lambda: load("nobody/no-such-model"))
    assert message.startswith("policy.model: nobody/no-such-model is not in the local cache")
    assert "connect" in message
    assert refused(lambda: read_tokenizer("nobody/no-such-model")) == message


@pytest.mark.parametrize("reads", [load, read_tokenizer])
def test_a_folder_without_a_model_is_refused(tmp_path, reads):
    message = refused(lambda: reads(str(tmp_path)))
    assert message == f"policy.model: the folder {tmp_path} holds no model: it has no config.json"


def test_a_folder_without_config_is_refused(mine):
    folder = mine()
    (folder / "config.json").unlink()
    assert refused(lambda: load(str(folder))) == (
        f"policy.model: the folder {folder} holds no model: it has no config.json"
    )


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"model_type": "nonsense"}'])
def test_a_config_that_is_none_is_refused(mine, text):
    folder = mine()
    (folder / "config.json").write_text(text)
    assert str(folder) in refused(lambda: load(str(folder)))


@pytest.mark.parametrize("spoil", ["missing", "cut", "empty"])
def test_weights_that_are_missing_or_cut_are_refused(mine, spoil):
    folder = mine()
    file = folder / "model.safetensors"
    if spoil == "missing":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[: 2000 if spoil == "cut" else 0])
    message = refused(lambda: load(str(folder)))
    assert message.startswith(f"policy.model: the model in {folder} cannot be loaded: ")


@pytest.mark.parametrize("architecture", ["roberta", "deberta", "llama", "gpt2"])
def test_a_classifier_is_no_policy(tmp_path, architecture):
    folder = tiny.classifier(tmp_path, architecture)
    message = refused(lambda: load(str(folder)))
    assert message.startswith(f"policy.model: {folder} is ")
    assert "does not generate text" in message or "it has no weights for" in message


def test_weights_of_other_shapes_than_the_config_says_are_refused(mine):
    folder = mine()
    edited(folder / "config.json", lambda keys: keys.update(hidden_size=64))
    assert str(folder) in refused(lambda: load(str(folder)))


# --- tokenizers -------------------------------------------------------------------------------------------------


def test_a_folder_without_a_tokenizer_is_refused(mine):
    folder = mine()
    for file in folder.glob("tokenizer*"):
        file.unlink()
    for reads in (load, read_tokenizer):
        message = refused(lambda reads=reads: reads(str(folder)))
        assert message == (
            f"policy.model: the folder {folder} holds no tokenizer: save the model's own there by save_pretrained"
        )


def test_a_tokenizer_with_more_tokens_than_the_model_is_refused(mine):
    folder = mine()
    words = AutoTokenizer.from_pretrained(folder)
    words.add_tokens([f"<extra_{i}>" for i in range(5)])
    words.save_pretrained(folder)
    assert refused(lambda: load(str(folder))) == (
        "policy.model: the tokenizer has 265 tokens and the model embeddings for 260; they do not belong together"
    )


HALF = {"t5": "T5Tokenizer", "bart": "BartTokenizer", "llama": "LlamaTokenizer", "gpt2": "GPT2Tokenizer"}


@pytest.mark.parametrize("architecture", HALF)
def test_a_tokenizer_without_its_vocabulary_is_refused(mine, architecture):
    folder = mine(architecture)
    (folder / "tokenizer.json").unlink()
    edited(folder / "tokenizer_config.json", lambda keys: keys.update(tokenizer_class=HALF[architecture]))
    for reads in (load, read_tokenizer):
        message = refused(lambda reads=reads: reads(str(folder)))
        assert message == (
            f"policy.model: the tokenizer of {folder} knows special tokens only, its vocabulary is missing; save the "
            "model's own there by save_pretrained"
        )


def test_a_tokenizer_of_a_far_smaller_vocabulary_than_the_model_is_refused(policy_folder):
    message = refused(lambda: load(str(policy_folder("llama", vocab_size=600))))
    assert message.startswith("policy.model: the tokenizer has 260 tokens only, and the model embeddings for 600: its ")


def test_a_model_with_more_embeddings_than_tokens_is_fine(policy_folder):
    policy = policy_of(policy_folder("llama", vocab_size=320))
    assert sampled(policy).response_BR.numel()


def test_a_tokenizer_without_pad_is_fine(policy_folder):
    policy = policy_of(policy_folder("llama", pad=False))
    assert policy.tokenizer.pad_token_id is None
    assert policy.pad == policy.eos[0]
    assert sampled(policy).mask_BR.any()


def without_eos(folder: Path, settings: dict[str, Any]) -> Path:
    edited(folder / "tokenizer_config.json", lambda keys: keys.pop("eos_token", None))
    (folder / "special_tokens_map.json").unlink(missing_ok=True)
    edited(folder / "config.json", lambda keys: keys.update(eos_token_id=None))
    (folder / "generation_config.json").write_text(json.dumps(settings))
    assert AutoTokenizer.from_pretrained(folder).eos_token_id is None
    return folder


def test_a_policy_that_knows_no_eos_is_refused(mine):
    folder = without_eos(mine(), {})
    message = refused(lambda: Policy(load(str(folder))))
    assert message.startswith("policy.model: neither the tokenizer nor the generation settings name an EOS token")


def test_an_eos_of_the_generation_settings_alone_will_do(mine):
    folder = without_eos(mine(), {"eos_token_id": [5, 6]})
    assert Policy(load(str(folder))).eos == (5, 6)


def test_a_tokenizer_of_ones_own_is_taken(policy_folder):
    words = tiny.tokenizer(chat=tiny.CHAT)
    assert load(str(policy_folder("llama")), tokenizer=words).tokenizer is words


# --- adapters ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", ["llama", "t5"])
def test_an_adapter_is_trained_on(sft_adapter, policy_folder, architecture):
    folder = sft_adapter(architecture)
    loaded = load(str(folder))
    assert isinstance(loaded.model, peft.PeftModel)
    assert not loaded.base_is_reference
    trained = {name for name, parameter in loaded.model.named_parameters() if parameter.requires_grad}
    assert trained
    assert all("lora_" in name for name in trained)
    assert any(p.any() for name, p in loaded.model.named_parameters() if "lora_B" in name)
    # Its folder has no tokenizer of its own: it is the base's.
    assert not (folder / "tokenizer.json").exists()
    assert loaded.tokenizer("kind").input_ids == read_tokenizer(str(policy_folder(architecture)))("kind").input_ids
    assert read_tokenizer(str(folder))("kind").input_ids == loaded.tokenizer("kind").input_ids


def test_an_adapter_may_have_a_tokenizer_of_its_own(sft_adapter, tmp_path):
    folder = Path(shutil.copytree(sft_adapter("llama"), tmp_path / "adapter"))
    tiny.tokenizer(chat=tiny.CHAT).save_pretrained(folder)
    assert load(str(folder)).tokenizer.chat_template == tiny.CHAT
    assert read_tokenizer(str(folder)).chat_template == tiny.CHAT


def test_lora_on_top_of_an_adapter_is_refused(sft_adapter):
    folder = sft_adapter("llama")
    assert refused(lambda: load(str(folder), lora=LORA)) == (
        f"policy.model: {folder} is a LoRA adapter already, and is trained on; leave lora out"
    )


def test_an_adapter_whose_base_is_gone_names_the_base(sft_adapter, tmp_path):
    folder = Path(shutil.copytree(sft_adapter("llama"), tmp_path / "adapter"))
    edited(folder / "adapter_config.json", lambda keys: keys.update(base_model_name_or_path=str(tmp_path / "no/base")))
    assert "no/base" in refused(lambda: load(str(folder)))
    edited(folder / "adapter_config.json", lambda keys: keys.update(base_model_name_or_path=None))
    assert refused(lambda: load(str(folder))) == (
        f"policy.model: the adapter in {folder} does not say which model it is of"
    )


@pytest.mark.parametrize("reads", [load, read_tokenizer])
def test_a_base_that_is_gone_is_told_with_the_file_that_names_it(sft_adapter, tmp_path, reads):
    folder = Path(shutil.copytree(sft_adapter("llama"), tmp_path / "adapter"))
    edited(folder / "adapter_config.json", lambda keys: keys.update(base_model_name_or_path="/home/somebody/llama"))
    assert refused(lambda: reads(str(folder))) == (
        f"policy.model: base_model_name_or_path in adapter_config.json of {folder}: '/home/somebody/llama' is neither "
        "a folder that exists nor a hub id (owner/name)"
    )


@pytest.mark.parametrize("also_weights", [False, True])
def test_a_folder_with_weights_of_its_own_is_a_model_whatever_adapter_was_left_there(
    mine, sft_adapter, tmp_path, also_weights
):
    folder = mine()
    for file in sft_adapter("llama").glob("adapter_*" if also_weights else "adapter_config.json"):
        shutil.copy(file, folder)
    loaded = load(str(folder))
    assert not isinstance(loaded.model, peft.PeftModel)
    assert not any("lora" in name for name, _ in loaded.model.named_parameters())
    assert loaded.model.config.name_or_path == str(folder)
    assert read_tokenizer(str(folder))("kind").input_ids == loaded.tokenizer("kind").input_ids
    policy_of(folder, lora=LORA).save(tmp_path / "out")
    assert isinstance(load(str(tmp_path / "out")).model, peft.PeftModel)


WHOLE = [["lm_head", "embed_tokens"], ["embed_tokens"], None]


@pytest.mark.parametrize("saved", WHOLE, ids=lambda names: "+".join(names or ["auto"]))
@pytest.mark.parametrize("architecture", ["llama", "qwen2"])
def test_an_adapter_with_added_tokens_is_loaded_as_peft_loads_it(policy_folder, tmp_path, architecture, saved):
    words = AutoTokenizer.from_pretrained(policy_folder(architecture))
    words.add_special_tokens({"additional_special_tokens": ["<|a|>", "<|b|>"]})
    base = AutoModelForCausalLM.from_pretrained(policy_folder(architecture))
    base.resize_token_embeddings(len(words))
    keys = {"modules_to_save": saved} if saved else {}
    model = peft.get_peft_model(base, peft.LoraConfig(task_type="CAUSAL_LM", r=4, init_lora_weights=False, **keys))
    model.save_pretrained(tmp_path / "adapter")
    words.save_pretrained(tmp_path / "adapter")
    policy = policy_of(tmp_path / "adapter", ends=None)
    ids = words("kind<|b|>", return_tensors="pt").input_ids
    assert int(ids.max()) == 261
    with torch.no_grad():
        expected = model.eval()(ids).logits
        assert (policy.model(ids).logits - expected).abs().max() < 1e-5
    policy.save(tmp_path / "out")
    with torch.no_grad():
        assert (policy_of(tmp_path / "out", ends=None).model(ids).logits - expected).abs().max() < 1e-5


def test_an_adapter_that_does_not_fit_says_which_sizes_differ(sft_adapter, policy_folder, tmp_path):
    folder = Path(shutil.copytree(sft_adapter("llama"), tmp_path / "adapter"))
    edited(folder / "adapter_config.json", lambda keys: keys.update(r=8))
    message = refused(lambda: load(str(folder)))
    assert message.startswith(
        f"policy.model: the adapter {folder} does not fit the model: Error(s) in loading state_dict"
    )
    assert "torch.Size([4, 32])" in message


@pytest.mark.parametrize("text", ["", "{", "{}", '{"peft_type": "NONSENSE"}'])
def test_an_adapter_that_is_spoilt_is_refused(sft_adapter, tmp_path, text):
    folder = Path(shutil.copytree(sft_adapter("llama"), tmp_path / "adapter"))
    (folder / "adapter_config.json").write_text(text)
    assert str(folder) in refused(lambda: load(str(folder)))


def test_an_adapter_without_weights_is_refused(sft_adapter, tmp_path):
    folder = Path(shutil.copytree(sft_adapter("llama"), tmp_path / "adapter"))
    (folder / "adapter_model.safetensors").unlink()
    assert str(folder) in refused(lambda: load(str(folder)))


def test_an_adapter_of_another_model_is_refused(sft_adapter, policy_folder, tmp_path):
    folder = Path(shutil.copytree(sft_adapter("llama"), tmp_path / "adapter"))
    other = str(policy_folder("gpt2"))
    edited(folder / "adapter_config.json", lambda keys: keys.update(base_model_name_or_path=other))
    message = refused(lambda: load(str(folder)))
    assert message.startswith(f"policy.model: the adapter {folder} does not fit the model: ")


def test_target_modules_that_do_not_exist_are_refused(policy_folder):
    lora = LoraSection(target_modules=["nonsense_proj"])
    message = refused(lambda: load(str(policy_folder("llama")), lora=lora))
    assert message.startswith("policy.model: lora does not fit the model: ")
    assert "nonsense_proj" in message


def test_target_modules_are_those_named(policy_folder):
    loaded = load(str(policy_folder("llama")), lora=LoraSection(target_modules=["down_proj"]))
    trained = [name for name, parameter in loaded.model.named_parameters() if parameter.requires_grad]
    assert trained
    assert all("down_proj" in name for name in trained)


def test_four_bits_without_bitsandbytes_are_refused(policy_folder, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert refused(lambda: load(str(policy_folder("llama")), lora=LORA, load_in_4bit=True)) == (
        "policy.model: load_in_4bit needs a package that is not there: pip install bitsandbytes"
    )


# --- dtypes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["auto", "float32", "bfloat16"])
@pytest.mark.parametrize("own", [torch.float32, torch.bfloat16, torch.float16])
def test_all_that_is_trained_is_float32(policy_folder, dtype, own):
    folder = policy_folder("llama", dtype=own)
    full = load(str(folder), dtype=dtype)
    assert {p.dtype for p in full.model.parameters()} == {torch.float32}
    lora = load(str(folder), dtype=dtype, lora=LORA)
    assert {p.dtype for p in lora.model.parameters() if p.requires_grad} == {torch.float32}
    assert {p.dtype for p in lora.model.parameters() if not p.requires_grad} == {lora.dtype}
    assert full.dtype == lora.dtype


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("kind", ["cpu", "cuda"])
def test_bfloat16_is_computed_in_where_it_is_asked_for_or_where_it_is_fast(monkeypatch, kind, fast):
    """A CPU is fast at it with AMX, a GPU where it does not emulate it: torch is asked of both."""
    emulated_too = {"including_emulation": True}
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: fast and kind == "cpu")
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda **keys: {**emulated_too, **keys}["including_emulation"] or fast
    )
    half, whole, device = torch.bfloat16, torch.float32, torch.device(kind)
    assert compute_dtype("auto", whole, device) == whole
    assert compute_dtype("auto", None, device) == whole
    assert compute_dtype("auto", half, device) == (half if fast else whole)
    assert compute_dtype("auto", torch.float16, device) == (half if fast else whole)
    assert compute_dtype("float32", half, device) == whole
    assert compute_dtype("bfloat16", whole, device) == half


# --- models in memory -------------------------------------------------------------------------------------------


def in_memory(folder: Path, **keys: Any) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder, **keys)


def made(model: Any, tokenizer: Any = None, **keys: Any) -> LoadedModel:
    return load_any(model, tokenizer, **{"lora": None, "dtype": "auto", "device": CPU, **keys})


def test_a_model_in_memory_becomes_float32_and_finds_its_own_tokenizer(policy_folder):
    folder = policy_folder("llama")
    loaded = made(in_memory(folder, dtype=torch.bfloat16), dtype="bfloat16")
    assert {p.dtype for p in loaded.model.parameters()} == {torch.float32}
    assert all(p.requires_grad for p in loaded.model.parameters())
    assert loaded.dtype == torch.bfloat16
    assert loaded.tokenizer("kind").input_ids == read_tokenizer(str(folder))("kind").input_ids


def test_a_model_in_memory_takes_a_lora_config_of_peft(policy_folder):
    lora = peft.LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM")
    loaded = made(in_memory(policy_folder("llama")), lora=lora)
    assert loaded.base_is_reference
    trained = [name for name, parameter in loaded.model.named_parameters() if parameter.requires_grad]
    assert len(trained) == 4  # two factors in each of two layers
    assert all("q_proj" in name for name in trained)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_frozen_base_of_a_model_in_memory_has_the_dtype_of_the_computation(policy_folder, dtype):
    for own in (torch.float32, torch.bfloat16, torch.float16):
        loaded = made(in_memory(policy_folder("llama"), dtype=own), dtype=dtype, lora=LORA)
        assert {p.dtype for p in loaded.model.parameters() if p.requires_grad} == {torch.float32}
        assert {p.dtype for p in loaded.model.parameters() if not p.requires_grad} == {getattr(torch, dtype)}


@pytest.mark.parametrize("keys", [{"bias": "all"}, {"init_lora_weights": "pissa"}, {"init_lora_weights": False}, {}])
def test_the_reference_is_what_training_starts_from_whatever_an_adapter_does_to_the_base(policy_folder, keys):
    lora = peft.LoraConfig(r=4, target_modules=["q_proj"], task_type="CAUSAL_LM", **keys)
    policy = policy_of(made(in_memory(policy_folder("qwen2")), lora=lora))
    tokens = tokens_of(policy, [(3, 4), (1, 6)])
    with torch.no_grad():
        first = policy(tokens).logprobs
        moved(policy)
        assert not torch.allclose(policy(tokens).logprobs, first, atol=1e-2)
        with policy.use_reference():
            assert torch.equal(policy(tokens).logprobs, first)


def test_an_adapter_that_adds_tokens_to_the_prompt_is_refused(policy_folder):
    config = peft.PromptTuningConfig(num_virtual_tokens=4, task_type="CAUSAL_LM")
    assert "adds tokens to the prompt" in refused(lambda: made(in_memory(policy_folder("llama")), lora=config))


def test_a_peft_model_in_memory_is_trained_on_and_is_its_own_reference(policy_folder, sft_adapter):
    base = in_memory(policy_folder("llama"), dtype=torch.bfloat16)
    model = peft.PeftModel.from_pretrained(base, sft_adapter("llama"), is_trainable=True)
    loaded = made(model, read_tokenizer(str(policy_folder("llama"))))
    assert not loaded.base_is_reference
    assert {p.dtype for p in loaded.model.parameters() if p.requires_grad} == {torch.float32}
    policy = policy_of(loaded)
    tokens = tokens_of(policy, [(3, 4)])
    with torch.no_grad(), policy.use_reference():
        assert torch.equal(policy(tokens).logprobs, policy(tokens).logprobs)


def test_a_peft_model_that_is_not_trainable_is_refused(policy_folder, sft_adapter):
    model = peft.PeftModel.from_pretrained(in_memory(policy_folder("llama")), sft_adapter("llama"))
    words = read_tokenizer(str(policy_folder("llama")))
    assert refused(lambda: made(model, words)) == (
        "model: no weight of it is trainable; load the adapter with is_trainable=True"
    )


def test_a_lora_config_for_a_peft_model_is_refused(policy_folder, sft_adapter):
    model = peft.PeftModel.from_pretrained(in_memory(policy_folder("llama")), sft_adapter("llama"), is_trainable=True)
    words = read_tokenizer(str(policy_folder("llama")))
    assert refused(lambda: made(model, words, lora=LORA)) == "model: is a peft model already; leave peft_config out"


def test_a_model_in_memory_without_a_name_needs_a_tokenizer():
    model = LlamaForCausalLM(LlamaConfig(**tiny.SIZE, vocab_size=260, num_key_value_heads=1))
    assert made(model, tiny.tokenizer()).tokenizer.eos_token_id == 2
    assert refused(lambda: made(model)).startswith("model: ")


def test_what_is_no_model_is_refused():
    assert refused(lambda: made(5)) == "model: should be a hub id, a folder or a model, not 5"


def test_what_was_loaded_goes_through(policy_folder):
    loaded = load(str(policy_folder("llama")))
    assert made(loaded) is loaded
    assert isinstance(made(policy_folder("llama")), LoadedModel)
    assert isinstance(made(str(policy_folder("llama"))), LoadedModel)


def test_a_classifier_in_memory_is_refused(tmp_path):
    model = AutoModelForSequenceClassification.from_pretrained(tiny.classifier(tmp_path, "llama"))
    assert "does not generate text" in refused(lambda: made(model, tiny.tokenizer()))
    assert "does not generate text" in refused(lambda: made(torch.nn.Linear(2, 2), tiny.tokenizer()))


def test_a_seq2seq_model_in_memory_is_taken(policy_folder):
    model = AutoModelForSeq2SeqLM.from_pretrained(policy_folder("bart"), dtype=torch.bfloat16)
    policy = policy_of(prepare_model(model, None, dtype="float32", lora=None, device=CPU))
    assert policy.is_seq2seq
    assert sampled(policy).mask_BR.any()


# --- what is shown ----------------------------------------------------------------------------------------------


def test_a_local_model_loads_without_a_word_and_later_downloads_have_their_bar(policy_folder, sft_adapter, capfd):
    from transformers.utils import logging

    folders = [policy_folder("llama"), policy_folder("t5"), sft_adapter("llama")]
    capfd.readouterr()
    for folder in folders:
        load(str(folder))
    load(str(folders[0]), lora=LORA)
    out, err = capfd.readouterr()
    assert not re.sub(r"\s", "", out + err)
    assert logging.is_progress_bar_enabled()
