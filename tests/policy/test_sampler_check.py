"""Before the first step: a policy is causal, and sampled from the distribution that it is scored by, or refused."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    BartConfig,
    BertConfig,
    BertForMaskedLM,
    Gemma3TextConfig,
    GenerationConfig,
    MambaConfig,
    RobertaConfig,
    RwkvConfig,
    XLMConfig,
)

from rlaif import InputError, PPOConfig, PPOTrainer, RlaifError
from rlaif.policy.sampler_check import check_sampler
from tests import tiny
from tests.policies import LORA, policy_of

IDS = {"vocab_size": 260, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
SIZE = {**tiny.SIZE, **IDS, "initializer_range": 0.3, "max_position_embeddings": 130}


def causal(config: Any) -> Any:
    return AutoModelForCausalLM.from_config(config)


MODELS: dict[str, tuple[Callable[[], Any], str | None]] = {
    "BERT for masked tokens": (lambda: BertForMaskedLM(BertConfig(**SIZE)), "is not causal"),
    "BERT as a decoder": (lambda: causal(BertConfig(**SIZE, is_decoder=True)), None),
    "RoBERTa as a decoder": (
        lambda: causal(RobertaConfig(**SIZE, is_decoder=True, type_vocab_size=1)), "samples otherwise than it scores",
    ),
    "BART as a decoder": (
        lambda: causal(BartConfig(
            **IDS, d_model=32, decoder_layers=2, decoder_attention_heads=2, decoder_ffn_dim=48, init_std=0.3,
            max_position_embeddings=130, is_decoder=True, is_encoder_decoder=False,
        )), "samples otherwise than it scores",
    ),
    "XLM": (
        lambda: causal(XLMConfig(
            emb_dim=32, n_layers=2, n_heads=2, n_words=260, bos_index=0, eos_index=2, pad_index=1, init_std=0.3,
            embed_init_std=0.3, max_position_embeddings=130, **IDS,
        )), "is not causal",
    ),
    "Gemma 3": (lambda: causal(Gemma3TextConfig(**SIZE, num_key_value_heads=1, head_dim=16)), None),
    "Gemma 3, bidirectional": (
        lambda: causal(
            Gemma3TextConfig(**SIZE, num_key_value_heads=1, head_dim=16, use_bidirectional_attention=True)
        ), "is not causal",
    ),
    "RWKV": (
        lambda: causal(RwkvConfig(context_length=128, hidden_size=32, num_hidden_layers=2, **IDS)),
        "samples otherwise than it scores",
    ),
    "Mamba": (
        lambda: causal(
            MambaConfig(hidden_size=32, num_hidden_layers=2, state_size=8, initializer_range=0.3, **IDS)
        ), None,
    ),
}  # fmt: skip
WRONG = [name for name, (_, what) in MODELS.items() if what]


def folder_of(name: str, folder: Path) -> Path:
    with tiny.weights():
        model = MODELS[name][0]().eval()
    model.generation_config = GenerationConfig(eos_token_id=2, pad_token_id=1, bos_token_id=0)
    model.save_pretrained(folder)
    tiny.tokenizer().save_pretrained(folder)
    return folder


@pytest.mark.parametrize("name", MODELS)
def test_what_sees_later_tokens_or_samples_otherwise_is_refused_with_both_numbers(name, tmp_path):
    policy, what = policy_of(folder_of(name, tmp_path), ends=None), MODELS[name][1]
    if what is None:
        assert check_sampler(policy, "policy.model") == pytest.approx(1e-3, rel=0.5)
        return
    with pytest.raises(InputError) as caught:
        check_sampler(policy, "policy.model")
    found = re.fullmatch(
        rf"policy.model: \w+ {what}.* a log-probability by ([\d.]+) nats, where rounding is ([\d.]+); "
        "it cannot be trained",
        str(caught.value),
    )
    assert found
    assert float(found[1]) > 20 * float(found[2])


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("lora", [None, LORA], ids=["full", "lora"])
@pytest.mark.parametrize("architecture", tiny.POLICIES)
def test_what_is_causal_passes_and_its_rounding_is_small(policy_folder, architecture, dtype, lora):
    rounding = check_sampler(policy_of(policy_folder(architecture), dtype=dtype, lora=lora), "policy.model")
    assert 1e-3 <= rounding < (5e-3 if dtype == "float32" else 1)


def test_the_check_leaves_the_random_numbers_of_a_run_alone(policy_folder):
    policy = policy_of(policy_folder("llama"))
    torch.manual_seed(4)
    expected = torch.rand(3)
    torch.manual_seed(4)
    check_sampler(policy, "policy.model")
    assert torch.equal(torch.rand(3), expected)


def arguments(output: Path) -> PPOConfig:
    return PPOConfig(steps=1, batch_size=4, mini_batch_size=4, max_new_tokens=4, min_new_tokens=1, dtype="float32",
                     learning_rate=1e-3, output_dir=str(output))  # fmt: skip


def length(completions: list[str], **_: Any) -> list[float]:
    return [float(len(text)) for text in completions]


@pytest.mark.parametrize("name", WRONG[:2])
def test_a_trainer_refuses_it_before_a_step(name, tmp_path):
    with pytest.raises(InputError, match=r"^model: \w+ .* it cannot be trained$"):
        PPOTrainer(str(folder_of(name, tmp_path / "start")), length, arguments(tmp_path / "run"), ["a", "bc"] * 4)
    assert not (tmp_path / "run").exists()


def test_a_first_ratio_beyond_rounding_ends_the_run(policy_folder, tmp_path):
    trainer = PPOTrainer(str(policy_folder("llama")), length, arguments(tmp_path / "run"), ["a", "bc"] * 4)
    model = trainer.policy.model
    act = trainer.act

    def act_and_change(step: int) -> Any:
        done = act(step)
        model.lm_head.weight.data.mul_(1.1)  # what learns is another model than what acted
        return done

    trainer.act = act_and_change  # type: ignore[method-assign]
    with pytest.raises(RlaifError, match=r"^the first ratio of step 1 is off by [\d.]+, where rounding is 0\.001: "):
        trainer.train()
