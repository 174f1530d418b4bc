"""From hidden states to log-probabilities: chunk by chunk, forwards and backwards, for each kind of output layer."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import AutoModelForCausalLM, CohereConfig, Gemma2Config, GraniteConfig, LlamaForCausalLM

import rlaif.policy.output_layer as head
from rlaif.core.config.sections import LoraSection
from rlaif.core.errors import InputError
from rlaif.policy.loading import prepare_model
from rlaif.policy.model import Policy
from rlaif.policy.output_layer import capture_hidden_states
from tests import tiny
from tests.policies import (
    ROUNDING,
    Folder,
    gradients,
    moved,
    plain_logits,
    policy_in_float64,
    policy_of,
    sampled,
    tokens_of,
)

LENGTHS = [(5, 9), (2, 3), (9, 1), (4, 12)]


def plain_loss(policy: Policy, tokens: Any) -> Tensor:
    """The loss of `loss`, by plain full-logits autograd, unbatched."""
    total = torch.zeros(())
    for row in range(len(tokens)):
        ids_R, logits_RV, _ = plain_logits(policy, tokens, row)
        log_p_RV = torch.log_softmax(logits_RV.float() / policy.temperature, -1)
        total = total + (log_p_RV.gather(-1, ids_R[:, None])[:, 0] * weights(len(ids_R))).sum()
        total = total - 0.3 * (log_p_RV.exp() * log_p_RV).sum(-1).sum()
    return total


def loss(policy: Policy, tokens: Any) -> Tensor:
    scored = policy(tokens, entropies=True)
    return (scored.logprobs * weights(scored.logprobs.shape[1])).sum() + 0.3 * scored.entropies.sum()


def weights(count: int) -> Tensor:
    """Weights of either sign, as advantages are."""
    return torch.tensor([1.0, -0.5, 2.0, -1.5])[torch.arange(count) % 4]


@pytest.mark.parametrize("architecture", tiny.POLICIES)
@pytest.mark.parametrize("rows", [1, 7, 1000])
def test_gradients_by_chunks_are_those_of_full_logits(policy_folder, monkeypatch, architecture, rows):
    policy = policy_in_float64(policy_folder(architecture), monkeypatch, temperature=0.7)
    tokens = tokens_of(policy, LENGTHS)
    expected = plain_loss(policy, tokens)
    expected.backward()
    wanted = gradients(policy)
    monkeypatch.setattr(head, "CHUNK_LOGITS", rows * policy.model.get_output_embeddings().weight.shape[0])
    now = loss(policy, tokens)
    now.backward()
    found = gradients(policy)
    assert now.dtype == torch.float64
    assert abs(float((now - expected).detach())) <= ROUNDING * abs(float(expected.detach()))
    # One gradient scale for all: BART's keys have biases whose gradient is 0 but for rounding.
    scale = max(float(gradient.abs().max()) for gradient in wanted.values())
    assert wanted.keys() == found.keys() - {"value_head.weight", "value_head.bias"}
    for name, gradient in wanted.items():
        assert (gradient - found[name]).abs().max() <= ROUNDING * scale, name


class Largest(TorchDispatchMode):
    """Records the most numbers that a tensor with an axis of a given size held."""

    def __init__(self, axis: int) -> None:
        super().__init__()
        self.axis, self.most = axis, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for x in out if isinstance(out, tuple | list) else [out]:
            if isinstance(x, Tensor) and self.axis in x.shape:
                self.most = max(self.most, x.numel())
        return out


@pytest.mark.parametrize("entropies", [False, True])
@pytest.mark.parametrize("architecture", ["llama", "t5", "bart"])
def test_logits_of_all_tokens_never_exist(policy_folder, monkeypatch, architecture, entropies):
    vocabulary = 5003
    words = tiny.tokenizer()
    words.add_tokens([f"<{i}>" for i in range(vocabulary - len(words))])
    policy = policy_of(policy_folder(architecture, vocab_size=vocabulary), lively=True, tokenizer=words)
    tokens = tokens_of(policy, [(30, 40)] * 6, vocabulary=vocabulary)
    chunk = 40 * vocabulary  # a sixth of the batch, and just more than the output layer's own weights
    monkeypatch.setattr(head, "CHUNK_LOGITS", chunk)
    with Largest(vocabulary) as largest:
        scored = policy(tokens, entropies=entropies)
        (scored.logprobs.sum() + (scored.entropies.sum() if entropies else 0)).backward()
    assert 0 < largest.most <= chunk
    with Largest(vocabulary) as largest, torch.no_grad():
        policy(tokens, entropies=entropies)
    assert 0 < largest.most <= chunk


def test_before_the_head_a_model_makes_no_logits(policy_folder):
    policy = policy_of(policy_folder("gpt2"))
    ids = torch.tensor([[5, 6, 7]])
    with capture_hidden_states(policy.model) as hidden:
        assert policy.model(ids).logits.numel() == 0
    assert hidden[0].shape == (1, 3, 32)
    assert policy.model(ids).logits.shape == (1, 3, 260)


# --- what architectures do to logits ------------------------------------------------------------------------------

COMMON = {**tiny.SIZE, "vocab_size": 260, "initializer_range": 0.3, "pad_token_id": 1, "bos_token_id": 0,
          "eos_token_id": 2, "num_key_value_heads": 1, "max_position_embeddings": 128}  # fmt: skip
AFTER_THE_HEAD = {
    "softcap": Gemma2Config(**COMMON, head_dim=16, final_logit_softcapping=5.0, query_pre_attn_scalar=16),
    "no softcap": Gemma2Config(**COMMON, head_dim=16, final_logit_softcapping=None, query_pre_attn_scalar=16),
    "factor": CohereConfig(**COMMON, logit_scale=0.25),
    "divisor": GraniteConfig(**COMMON, logits_scaling=4.0, embedding_multiplier=2.0, residual_multiplier=0.5),
}


def policy_in_memory(config: Any, **keys: Any) -> Policy:
    with tiny.weights():
        model = AutoModelForCausalLM.from_config(config)
    given = {"dtype": "float32", "lora": None, "device": torch.device("cpu"), **keys}
    return Policy(prepare_model(model, tiny.tokenizer(), **given), temperature=0.7)


@pytest.mark.parametrize("lora", [None, LoraSection(r=2)], ids=["full", "lora"])
@pytest.mark.parametrize("kind", AFTER_THE_HEAD)
def test_what_an_architecture_does_to_its_logits_is_done(kind, lora):
    if lora:
        from peft import LoraConfig

        lora = LoraConfig(r=2, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    policy = policy_in_memory(AFTER_THE_HEAD[kind], lora=lora)
    moved(policy, by=0.1)
    tokens = sampled(policy, 4)
    with torch.no_grad():
        scored = policy(tokens)
        for row in range(len(tokens)):
            ids_R, logits_RV, _ = plain_logits(policy, tokens, row)
            expected = torch.log_softmax(logits_RV / 0.7, -1).gather(-1, ids_R[:, None])[:, 0]
            assert (scored.logprobs[row, : len(ids_R)] - expected).abs().max() < 1e-4


def test_a_bias_of_the_logits_counts(tmp_path):
    policy = policy_of(tiny.policy(tmp_path, "bart"))
    tokens = tokens_of(policy, LENGTHS)
    before = policy(tokens).logprobs
    torch.manual_seed(1)
    policy.model.final_logits_bias.copy_(torch.rand(1, 260) * 3)  # BART's buffer
    after = policy(tokens).logprobs
    ids_R, logits_RV, _ = plain_logits(policy, tokens, 0)
    expected = torch.log_softmax(logits_RV, -1).gather(-1, ids_R[:, None])[:, 0]
    assert (after[0, : len(ids_R)] - expected).abs().max() < 1e-4
    assert (after - before).abs().max() > 0.1


@pytest.fixture
def unlike(monkeypatch: pytest.MonkeyPatch) -> None:
    """Llama with logits that are made in a way of its own."""
    original = LlamaForCausalLM.forward

    def forward(self: Any, *args: Any, **keys: Any) -> Any:
        out = original(self, *args, **keys)
        out.logits = 3 * out.logits
        return out

    monkeypatch.setattr(LlamaForCausalLM, "forward", forward)


def test_an_architecture_with_another_kind_of_head_is_refused(policy_folder: Folder, unlike):
    with pytest.raises(InputError) as caught:
        policy_of(policy_folder("llama"))
    message = str(caught.value)
    assert message.startswith("policy.model: LlamaForCausalLM makes its logits in a way that is not known here")
    assert "\n" not in message


def test_a_head_that_lora_adapts_is_the_adapted_one(policy_folder: Folder):
    lora = LoraSection(r=4, alpha=8, target_modules=["q_proj", "lm_head", "embed_tokens"])
    policy = policy_of(policy_folder("llama"), lora=lora, lively=True)
    moved(policy, lambda name: "lora_embedding" in name)
    tokens = tokens_of(policy, LENGTHS)
    scored = policy(tokens)
    ids_R, logits_RV, _ = plain_logits(policy, tokens, 0)
    expected = torch.log_softmax(logits_RV, -1).gather(-1, ids_R[:, None])[:, 0]
    assert (scored.logprobs[0, : len(ids_R)] - expected).abs().max() < 1e-4
    scored.logprobs.sum().backward()
    assert any("lm_head" in name and gradient.any() for name, gradient in gradients(policy).items())


def test_a_trained_copy_of_the_head_is_used_and_has_the_old_head_as_its_reference(policy_folder: Folder):
    from peft import LoraConfig

    lora = LoraConfig(r=2, target_modules=["q_proj"], modules_to_save=["lm_head"], task_type="CAUSAL_LM")
    policy = policy_of(policy_folder("llama"), lora=lora, lively=True)
    tokens = tokens_of(policy, LENGTHS)
    moved(policy, lambda name: "lora" not in name and "value" not in name)
    ids_R, logits_RV, _ = plain_logits(policy, tokens, 0)
    expected = torch.log_softmax(logits_RV, -1).gather(-1, ids_R[:, None])[:, 0]
    assert (policy(tokens).logprobs[0, : len(ids_R)] - expected).abs().max() < 1e-4
    start = policy_of(policy_folder("llama"))(tokens).logprobs
    with policy.use_reference():
        assert (policy(tokens).logprobs - start).abs().max() < 1e-5


# --- ends that are blocked -------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunk", [2**23, 600], ids=["one chunk", "chunks"])
@pytest.mark.parametrize("architecture", ["llama", "t5"])
def test_where_an_end_is_blocked_scores_are_those_of_the_other_tokens(policy_folder, architecture, chunk, monkeypatch):
    monkeypatch.setattr(head, "CHUNK_LOGITS", chunk)
    policy = policy_of(policy_folder(architecture), ends=[5, 6], temperature=0.7)
    tokens = tokens_of(policy, LENGTHS)
    tokens.response_BR[tokens.response_BR < 10] = 50
    tokens.response_BR[1, 2] = 5  # it ends where it may
    tokens.response_BR[0, 1] = 5  # and where it may not: what was not sampled so is scored as it is
    policy.min_new_tokens = 2
    scored = policy(tokens, entropies=True)
    ends = list(policy.eos)
    for row in range(len(tokens)):
        ids_R, logits_RV, _ = plain_logits(policy, tokens, row)
        plain_RV = torch.log_softmax(logits_RV / 0.7, -1)
        masked_RV, early = logits_RV / 0.7, torch.zeros(len(ids_R))
        for t in range(min(2, len(ids_R))):
            if int(ids_R[t]) not in ends:
                early[t] = plain_RV[t, ends].exp().sum()
                masked_RV = masked_RV.index_put((torch.tensor([t]), torch.tensor(ends)), torch.tensor(-torch.inf))
        found = torch.distributions.Categorical(logits=masked_RV)
        assert (scored.logprobs[row, : len(ids_R)] - found.log_prob(ids_R)).abs().max() < 1e-4
        assert (scored.entropies[row, : len(ids_R)] - found.entropy()).abs().max() < 1e-3
        assert (scored.ends[row, : len(ids_R)] - early).abs().max() < 1e-5
    assert float(scored.ends.sum()) > 0
    (scored.logprobs.sum() + scored.ends.sum()).backward()
    assert all(p.grad is None or bool(p.grad.isfinite().all()) for p in policy.parameters())
