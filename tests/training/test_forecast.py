"""The prediction of memory: counted from shapes, the same as what real tensors take, and near what a process takes."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoModelForSequenceClassification

from rlaif.core.config.run import RunConfig
from rlaif.core.config.sections import DataSection, GenerationSection, LoraSection, PolicySection, TrainingSection
from rlaif.policy.tokenizer import read_tokenizer
from rlaif.training.run.forecast.live import LiveBytes
from rlaif.training.run.forecast.memory import memory_of
from rlaif.training.run.forecast.outline import make_outline
from tests import tiny
from tests.policies import policy_of, tokens_of

CPU = torch.device("cpu")
LORA = LoraSection(r=4, alpha=8)


def run_of(model: Any, training: dict[str, Any] | None = None, **policy: Any) -> RunConfig:
    sizes = {"steps": 2, "batch_size": 8, "mini_batch_size": 4, **(training or {})}
    return RunConfig(
        policy=PolicySection(model=str(model), **policy), data=DataSection(dataset="d"), judge="length",
        generation=GenerationSection(max_new_tokens=16), training=TrainingSection(**sizes),
    )  # fmt: skip


def predicted(model: Any, judges: Any = (), **keys: Any) -> Any:
    return memory_of(run_of(model, **keys), read_tokenizer(str(model)), [20, 30, 40], judges, CPU)


# --- bytes that are alive -----------------------------------------------------------------------------------------


def test_what_is_alive_is_counted_and_what_is_gone_is_not():
    there = torch.ones(1000)
    with LiveBytes() as live:
        one = there * 2  # 4,000 bytes
        assert live.now == 4000
        view = one[:10].reshape(2, 5)
        assert live.now == 4000, "a view takes nothing"
        two = one + 1
        assert (live.now, live.peak) == (8000, 8000)
        del one, view
        assert (live.now, live.peak) == (4000, 8000)
        there[:5].add_(1)
        assert live.now == 4000, "nor does what was there before"
        del two
    assert (live.now, live.peak) == (0, 8000)


def test_what_autograd_keeps_is_alive_until_the_backward_pass():
    weight = torch.ones(10, 10, requires_grad=True)
    with LiveBytes() as live:
        x = torch.ones(100, 10)
        loss = (x @ weight).exp().sum()
        del x
        # x and the result of exp, each 4,000 bytes; the product itself is gone; the sum
        assert live.now == 8000 + 4
        loss.backward()
        del loss
    assert live.now == 400, "the gradient"


# --- what stays ---------------------------------------------------------------------------------------------------


def count(model: nn.Module, trained: bool = False) -> int:
    return sum(p.numel() for p in model.parameters() if p.requires_grad or not trained)


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "flan_t5", "bart"])
def test_full_fine_tuning_takes_weights_adam_and_the_reference(architecture, policy_folder):
    folder = policy_folder(architecture)
    policy, told = policy_of(folder), predicted(folder)
    assert told.adam == 8 * count(policy)
    trained = {parameter.data_ptr() for parameter in policy.model.parameters()}
    with policy.use_reference():
        copies = [parameter for parameter in policy.model.parameters() if parameter.data_ptr() not in trained]
        assert told.reference == sum(copy.nbytes for copy in copies) == 4 * count(policy.model)
    assert told.weights == sum(tensor.nbytes for tensor in (*policy.parameters(), *policy.buffers()))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_an_adapter_has_no_reference_and_its_base_no_adam(dtype, policy_folder):
    folder = policy_folder("llama")
    policy, told = policy_of(folder, lora=LORA, dtype=dtype), predicted(folder, lora=LORA, dtype=dtype)
    assert told.adam == 8 * count(policy, trained=True)
    assert told.reference == 0
    assert told.weights == sum(tensor.nbytes for tensor in (*policy.parameters(), *policy.buffers()))


def test_an_adapter_that_is_trained_on_has_a_copy_of_itself(policy_folder, sft_adapter):
    told = predicted(sft_adapter("llama"))
    policy = policy_of(sft_adapter("llama"))
    assert told.reference == 4 * count(policy.model, trained=True)
    assert told.adam == 8 * count(policy, trained=True)


def test_a_separate_critic_is_a_second_model(policy_folder):
    folder = policy_folder("llama")
    policy, told = policy_of(folder, critic="separate"), predicted(folder, critic="separate")
    assert told.adam == 8 * count(policy, trained=True)
    assert told.weights > 1.9 * predicted(folder).weights


def test_four_bits_are_an_eighth_of_the_layers_and_nothing_of_the_rest(policy_folder):
    folder = policy_folder("llama")
    whole, four = predicted(folder, lora=LORA), predicted(folder, lora=LORA, load_in_4bit=True)
    layers = 2 * (32 * 32 + 32 * 32 + 2 * 32 * 16 + 3 * 32 * 48)
    assert whole.weights - four.weights == pytest.approx((4 - 0.516) * layers, rel=1e-3)


def test_judges_count_once_each_and_in_panels_too(policy_folder, tmp_path):
    from rlaif import load_judge

    folder = tiny.classifier(tmp_path / "judge")
    card = {"adapter": "classifier", "model": str(folder), "bad": "hate", "name": "one"}
    judge = load_judge(card)
    panel = load_judge({"adapter": "panel", "judges": [card, "length"]})
    weights = sum(p.nbytes for p in AutoModelForSequenceClassification.from_pretrained(folder).parameters())
    assert predicted(policy_folder("llama"), [judge, panel]).judges == pytest.approx(weights, rel=0.03)
    assert predicted(policy_folder("llama")).judges == 0


# --- what comes and goes ------------------------------------------------------------------------------------------

KINDS: dict[str, dict[str, Any]] = {
    "full": {}, "lora": {"lora": LORA}, "separate": {"critic": "separate"}, "bfloat16": {"dtype": "bfloat16"},
    "recomputing": {"gradient_checkpointing": True},
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("architecture", ["llama", "gpt2", "gpt_neox", "flan_t5", "bart"])
def test_shapes_without_memory_take_what_real_tensors_take(architecture, kind, policy_folder):
    """The same passes with real weights, by the code that trains, their bytes counted in the same way."""
    folder, keys = policy_folder(architecture), KINDS[kind]
    policy = policy_of(folder, **keys)
    tokens = tokens_of(policy, [(30, 16)] * 8)
    trained = [p for p in policy.parameters() if p.requires_grad]
    with LiveBytes() as real, policy.learning_mode():
        scored = policy(tokens)
        torch.autograd.backward(scored.logprobs.sum() + scored.values.sum(), inputs=trained)
    with make_outline(PolicySection(model=str(folder), **keys), policy.tokenizer, CPU) as outline:
        shapes = [p for p in outline.parameters() if p.requires_grad]
        with LiveBytes() as live, outline.learning_mode():
            torch.autograd.backward(outline.run_scoring(8, 30, 16), inputs=shapes)
    assert live.peak == pytest.approx(real.peak, rel=0.15)


@pytest.mark.parametrize("architecture", ["llama", "flan_t5"])
def test_generation_takes_its_cache(architecture, policy_folder):
    """2 layers of keys and values, 16 floats a token in Llama (one head is shared), 32 in T5, for 8 completions."""
    folder = policy_folder(architecture)
    with make_outline(PolicySection(model=str(folder)), read_tokenizer(str(folder)), CPU) as outline:
        with torch.no_grad(), LiveBytes() as live:
            held, growth = outline.run_generation(8, 30, 16)
        cache = live.now * growth
        del held
    llama = 2 * 2 * 16 * (30 + 16)
    t5 = 2 * 2 * 32 * (30 + 16) + 32 * 30 + 32 * 16  # the prompt's by cross-attention, its states, the response's
    assert cache == pytest.approx(4 * 8 * (llama if architecture == "llama" else t5), rel=0.1)


def test_smaller_pieces_and_fewer_completions_take_less(policy_folder):
    folder = policy_folder("llama")
    whole = predicted(folder, training={"micro_batch_tokens": 4096})
    assert predicted(folder, training={"micro_batch_tokens": 64}).busy["learning"] < whole.busy["learning"]
    assert predicted(folder, training={"batch_size": 64}).busy["generating"] > whole.busy["generating"]
    recomputing = predicted(folder, gradient_checkpointing=True)
    assert recomputing.busy["learning"] < whole.busy["learning"]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_process_that_trains_takes_about_what_was_predicted():
    """The other cases are in performance/memory.py."""
    from performance.memory import both

    told, took = both("llama, lora")
    assert told["total"] == pytest.approx(took, rel=0.3)


def test_an_eight_billion_model_is_counted_in_seconds_and_takes_no_memory(tmp_path):
    from transformers import LlamaConfig

    from rlaif.training.run.forecast.machine import resident

    words = tiny.tokenizer(chat=tiny.CHAT)
    LlamaConfig(
        vocab_size=128_256, hidden_size=4096, intermediate_size=14_336, num_hidden_layers=32, num_attention_heads=32,
        num_key_value_heads=8, max_position_embeddings=131_072, architectures=["LlamaForCausalLM"], dtype="bfloat16",
    ).save_pretrained(tmp_path)  # fmt: skip
    words.save_pretrained(tmp_path)
    before = resident()
    told = predicted(tmp_path, lora=LORA, dtype="bfloat16", gradient_checkpointing=True)
    assert told.weights == pytest.approx(2 * 8.03e9, rel=0.01)
    assert resident() - before < 2**30
