"""The policy: what it samples, how probable it holds that, and what it is measured against."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from rlaif.core.config.sections import LoraSection
from rlaif.policy.generation.protocol import Sampling
from rlaif.policy.loading import LoadedModel, load
from rlaif.policy.model import Policy
from rlaif.policy.tokens import TokenBatch, micro_batches, pad_sequences
from tests import tiny
from tests.policies import (
    ENDS,
    LORA,
    Folder,
    gradients,
    moved,
    plain_logits,
    policy_of,
    prompts_of_mixed_lengths,
    sampled,
    tokens_of,
)

ALL = pytest.mark.parametrize("architecture", tiny.POLICIES)
ONE_OF_EACH = pytest.mark.parametrize("architecture", ["llama", "t5"])


# --- what is sampled --------------------------------------------------------------------------------------------


def with_own_logits(policy: Policy, generate: Callable[[], TokenBatch]) -> tuple[TokenBatch, Tensor]:
    """Generate, and return with the tokens the raw logits [B, R, V] from which transformers sampled them."""
    kept = []
    original = policy.model.generate

    def spied(**keys: Any) -> Tensor:
        out = original(**keys, output_logits=True, return_dict_in_generate=True)
        kept.append(torch.stack(out.logits, 1))
        return out.sequences

    policy.model.generate = spied
    try:
        return generate(), kept[0].float()
    finally:
        del policy.model.generate


@pytest.mark.parametrize(
    ("architecture", "pad"), [(name, True) for name in tiny.POLICIES] + [(name, False) for name in tiny.CAUSAL]
)
def test_logprobs_of_sampled_ids_are_those_of_the_generation_itself(policy_folder, architecture, pad):
    policy = policy_of(policy_folder(architecture, pad=pad, hub_defaults=True), temperature=0.7)
    tokens, logits_BRV = with_own_logits(policy, lambda: sampled(policy, 8, most=16))

    lengths = tokens.mask_BR.sum(1)
    assert len(set(lengths.tolist())) > 3, "the completions are of one length: nothing was tested"
    own_BRV = torch.log_softmax(logits_BRV / 0.7, -1)
    own_BR = own_BRV.gather(-1, tokens.response_BR.unsqueeze(-1)).squeeze(-1)
    with torch.no_grad():
        scored = policy(tokens, entropies=True)
    assert scored.logprobs.dtype == torch.float32
    assert (scored.logprobs - own_BR)[tokens.mask_BR].abs().max() < 1e-4
    assert (scored.entropies - -(own_BRV.exp() * own_BRV).sum(-1))[tokens.mask_BR].abs().max() < 1e-4
    assert not scored.logprobs[~tokens.mask_BR].any()


@ALL
def test_a_batch_scores_as_each_sample_alone_by_a_plain_forward(policy_folder, architecture):
    policy = policy_of(policy_folder(architecture), temperature=0.7, lively=True)
    tokens = sampled(policy)
    with torch.no_grad():
        scored = policy(tokens, entropies=True)
        for row in range(len(tokens)):
            ids_R, logits_RV, out = plain_logits(policy, tokens, row, output_hidden_states=True)
            log_p_RV = torch.log_softmax(logits_RV.double() / 0.7, -1)
            expected = log_p_RV.gather(-1, ids_R[:, None])[:, 0]
            assert (scored.logprobs[row, : len(ids_R)] - expected).abs().max() < 1e-4
            entropy_R = -(log_p_RV.exp() * log_p_RV).sum(-1)
            assert (scored.entropies[row, : len(ids_R)] - entropy_R).abs().max() < 1e-4
            # The value of the state *before* a token: what the output layer is given to predict it, at length 1.
            if policy.is_seq2seq:
                states_Rd = out.decoder_hidden_states[-1][0]
            else:
                states_Rd = out.hidden_states[-1][0, -len(ids_R) - 1 : -1]
            states_Rd = states_Rd / states_Rd.pow(2).mean(-1, keepdim=True).sqrt()
            values_R = states_Rd @ policy.value_head.weight[0] + policy.value_head.bias
            assert (scored.values[row, : len(ids_R)] - values_R).abs().max() < 1e-4
        encoded = policy.encode(prompts_of_mixed_lengths())
        again = policy(tokens, encoded and encoded[0])
    assert (again.logprobs - scored.logprobs).abs().max() < 1e-5


@ALL
def test_values_are_zero_at_the_start(policy_folder, architecture):
    policy = policy_of(policy_folder(architecture))
    assert not policy(tokens_of(policy, [(3, 4), (1, 2)])).values.any()


@ALL
@pytest.mark.parametrize("lora", [None, LORA], ids=["full", "lora"])
def test_generation_settings_of_the_hub_rest_while_sampling_and_are_back_after_it(policy_folder, architecture, lora):
    policy = policy_of(policy_folder(architecture, hub_defaults=True), ends=None, lora=lora)
    inner = policy.model.get_base_model() if lora else policy.model
    before = inner.generation_config.to_dict()
    seen: list[Any] = []
    original = type(inner)._prepare_generation_config

    def spied(model: Any, *args: Any, **keys: Any) -> Any:
        config, more = original(model, *args, **keys)
        seen.append(config)
        return config, more

    type(inner)._prepare_generation_config = spied
    try:
        sampled(policy, 2, most=3)
    finally:
        type(inner)._prepare_generation_config = original
    used = {k: v for k, v in seen[0].to_dict().items() if v is not None}
    # The drawing is ours: a logits processor that leaves the greedy choice one token.
    assert {k: used[k] for k in ("do_sample", "num_beams")} == {"do_sample": False, "num_beams": 1}
    harmless = {"do_sample", "num_beams", "top_k", "top_p", "temperature", "max_length", "early_stopping"}
    for key in tiny.HUB_DEFAULTS[architecture].keys() - harmless:
        assert used.get(key) in (None, 1.0, 0, False), f"{key} = {used[key]}"
    assert inner.generation_config.to_dict() == before
    with pytest.raises(ZeroDivisionError):
        policy.generate([[5]], Sampling(4), watch=lambda ids: 1 / 0)
    assert inner.generation_config.to_dict() == before


@pytest.mark.parametrize("architecture", ["qwen2", "gpt2", "gpt_neox", "bart", "flan_t5"])
def test_sampling_is_over_the_full_vocabulary(policy_folder, architecture):
    policy = policy_of(policy_folder(architecture, hub_defaults=True), ends=[2])
    prompt = [[80, 81, 82]] * 2000  # the same state 2000 times: how often comes what is not in the top 50?
    torch.manual_seed(0)
    one = Sampling(1, temperature=2.0)
    policy.temperature = 2.0
    tokens, logits_BRV = with_own_logits(policy, lambda: policy.generate(prompt, one))
    p_V = torch.softmax(logits_BRV[0, 0] / 2.0, -1)
    counts_V = torch.bincount(tokens.response_BR[:, 0], minlength=len(p_V)).double()
    beyond = p_V.argsort(descending=True)[50:]
    expected, seen = float(p_V[beyond].sum()), float(counts_V[beyond].sum() / 2000)
    assert expected > 0.05, "the model is too sure: nothing was tested"
    assert abs(seen - expected) < 4 * (expected * (1 - expected) / 2000) ** 0.5
    assert (counts_V / 2000 - p_V).abs().sum() / 2 < 0.16  # total variation of 2000 honest draws from 260 ids


def test_the_nucleus_is_cut_where_top_p_says(policy_folder):
    policy = policy_of(policy_folder("llama"))
    torch.manual_seed(0)
    tokens, logits_BRV = with_own_logits(policy, lambda: policy.generate([[80]] * 3000, Sampling(1, top_p=0.3)))
    p_V, order_V = torch.softmax(logits_BRV[0, 0], -1).sort(descending=True)
    allowed = set(order_V[: int((p_V.cumsum(0) < 0.3).sum()) + 1].tolist())
    assert set(tokens.response_BR[:, 0].tolist()) == allowed


@ONE_OF_EACH
def test_sampling_follows_the_seed(policy_folder, architecture):
    policy = policy_of(policy_folder(architecture))
    first, again, other = (sampled(policy, seed=seed).response_BR for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert first.shape != other.shape or not torch.equal(first, other)


@ALL
def test_completions_are_as_long_as_asked_at_least(policy_folder, architecture):
    policy = policy_of(policy_folder(architecture, hub_defaults=True))
    tokens = sampled(policy, 8, most=12, min_new_tokens=5)
    lengths = tokens.mask_BR.sum(1)
    assert lengths.min() >= 5
    assert lengths.min() < lengths.max()
    assert not policy.is_end(tokens.response_BR[:, :4]).any()


@ALL
def test_the_first_eos_is_kept_and_all_after_it_is_masked(policy_folder, architecture):
    policy = policy_of(policy_folder(architecture))
    tokens = sampled(policy, 8, most=12)
    for ids, mask in zip(tokens.response_BR.tolist(), tokens.mask_BR.tolist(), strict=True):
        ends = [i for i, token in enumerate(ids) if token in ENDS]
        length = ends[0] + 1 if ends else len(ids)
        assert mask == [i < length for i in range(len(ids))]
    assert tokens.mask_BR.any(0).all(), "columns that nobody needs"


def test_ids_that_end_a_completion_are_the_settings_and_the_tokenizers(policy_folder):
    assert policy_of(policy_folder("llama"), ends=[7, 9]).eos == (7, 9, 2)
    policy = policy_of(policy_folder("llama"), ends=[7, 9])
    mask = policy.special.mask_until_end(torch.tensor([[5, 9, 7, 2], [7, 5, 5, 5], [2, 2, 2, 2], [5, 5, 5, 5]]))
    assert mask.tolist() == [[True, True, False, False], [True, *3 * [False]], [True, *3 * [False]], 4 * [True]]


def test_a_prompt_that_holds_pad_and_eos_ids_is_read_whole(policy_folder):
    policy = policy_of(policy_folder("llama", pad=False), ends=[2])
    assert policy.pad == 2
    prompts = [[2, 2, 90, 2], [2] * 9, [90]]
    torch.manual_seed(0)
    tokens, logits_BRV = with_own_logits(policy, lambda: policy.generate(prompts, Sampling(4)))
    assert tokens.prompt_mask_BP.sum(1).tolist() == [4, 9, 1]
    for row, prompt in enumerate(prompts):
        assert (policy.model(torch.tensor([prompt])).logits[0, -1] - logits_BRV[row, 0]).abs().max() < 1e-4
        ids_R, logits_RV, _ = plain_logits(policy, tokens, row)
        expected = torch.log_softmax(logits_RV, -1).gather(-1, ids_R[:, None])[:, 0]
        assert (policy(tokens).logprobs[row, : len(ids_R)] - expected).abs().max() < 1e-4


def test_a_watcher_sees_each_token_and_may_stop_the_generation(policy_folder):
    for architecture in ("gpt2", "bart"):
        policy = policy_of(policy_folder(architecture))
        shapes = []

        def watch(response_BR: Tensor, shapes: list[Any] = shapes) -> bool:
            shapes.append(tuple(response_BR.shape))
            return len(shapes) == 3

        tokens = policy.generate([[80], [81, 82]], Sampling(50, 50), watch=watch)
        assert shapes == [(2, 1), (2, 2), (2, 3)]
        assert tokens.response_BR.shape == (2, 3)


def test_nothing_is_said_while_generating_and_scoring(policy_folder, caplog, capfd):
    for architecture in tiny.POLICIES:
        policy = policy_of(policy_folder(architecture, hub_defaults=True, pad=architecture in tiny.SEQ2SEQ))
        capfd.readouterr()
        caplog.clear()
        policy(sampled(policy))
        assert capfd.readouterr().err == ""
        assert not caplog.records


# --- the reference ----------------------------------------------------------------------------------------------


def logprobs(policy: Policy, tokens: TokenBatch) -> Tensor:
    with torch.no_grad():
        return policy(tokens).logprobs


def started(kind: str, architecture: str, policy_folder: Folder, sft_adapter: Callable[[str], Path]) -> Policy:
    if kind == "adapter":
        return policy_of(sft_adapter(architecture))
    return policy_of(policy_folder(architecture), lora=LORA if kind == "lora" else None)


STARTS = pytest.mark.parametrize("kind", ["full", "lora", "adapter"])


@STARTS
@ONE_OF_EACH
def test_the_reference_is_what_training_started_from_and_stays_it(policy_folder, sft_adapter, kind, architecture):
    policy = started(kind, architecture, policy_folder, sft_adapter)
    tokens = sampled(policy)
    start = logprobs(policy, tokens)
    with policy.use_reference():
        assert torch.equal(logprobs(policy, tokens), start)  # KL is 0, not nearly 0
    moved(policy)
    now = logprobs(policy, tokens)
    assert (now - start).abs().max() > 0.1
    for _ in range(2):
        with policy.use_reference():
            assert torch.equal(logprobs(policy, tokens), start)
        assert torch.equal(logprobs(policy, tokens), now)


@STARTS
def test_weights_are_the_trained_ones_again_after_an_exception_in_the_reference(policy_folder, sft_adapter, kind):
    policy = started(kind, "llama", policy_folder, sft_adapter)
    moved(policy)
    tokens = sampled(policy)
    before, weights = logprobs(policy, tokens), {k: v.clone() for k, v in policy.weights().items()}
    with pytest.raises(KeyboardInterrupt), policy.use_reference():
        raise KeyboardInterrupt
    assert torch.equal(logprobs(policy, tokens), before)
    assert all(torch.equal(weights[name], weight) for name, weight in policy.weights().items())
    assert all(p.requires_grad == ("lora_" in name or kind == "full") for name, p in policy.model.named_parameters())


@ONE_OF_EACH
def test_a_policy_started_from_an_adapter_is_measured_against_the_adapter_not_its_base(
    policy_folder, sft_adapter, architecture
):
    # trl#1340: with "adapter off" the reference is the base, and the KL at the start is huge.
    policy = policy_of(sft_adapter(architecture))
    tokens = sampled(policy)
    base = logprobs(policy_of(policy_folder(architecture)), tokens)
    with policy.use_reference():
        reference = logprobs(policy, tokens)
    assert (reference - base).abs().max() > 0.1
    assert torch.equal(reference, logprobs(policy, tokens))


def test_weights_go_out_and_come_back(policy_folder):
    policy = policy_of(policy_folder("t5"), critic="separate", lively=True)
    kept = {name: weight.clone() for name, weight in policy.weights().items()}
    assert {name.split(".")[0] for name in kept} == {"model", "critic", "value_head"}
    moved(policy)
    policy.load_weights(kept)
    assert all(torch.equal(kept[name], weight) for name, weight in policy.weights().items())


# --- the critic -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lora", [None, LORA], ids=["full", "lora"])
@ONE_OF_EACH
def test_a_separate_critic_keeps_the_values_gradient_from_the_policy_and_a_shared_one_does_not(
    policy_folder, architecture, lora
):
    shared = policy_of(policy_folder(architecture), lora=lora, lively=True)
    separate = policy_of(policy_folder(architecture), lora=lora, lively=True, critic="separate")
    tokens = tokens_of(shared, [(5, 6), (2, 3)])
    for policy in (shared, separate):
        policy(tokens).values.sum().backward()
    assert any(name.startswith("model.") and g.any() for name, g in gradients(shared).items())
    found = gradients(separate)
    assert not any(name.startswith("model.") for name in found)
    assert any(name.startswith("critic.") and g.any() for name, g in found.items())
    separate(tokens).logprobs.sum().backward()
    assert {name.split(".")[0] for name in gradients(separate)} == {"model"}


def test_a_separate_critic_is_a_copy_that_moves_alone(policy_folder):
    policy = policy_of(policy_folder("gpt2"), critic="separate", lively=True)
    tokens = tokens_of(policy, [(5, 6), (2, 3)])
    before = policy(tokens)
    moved(policy, lambda name: name.startswith("critic."))
    after = policy(tokens)
    assert torch.equal(before.logprobs, after.logprobs)
    assert not torch.equal(before.values, after.values)


# --- dropout, and activations made again ------------------------------------------------------------------------


@ALL
def test_dropout_never_acts_not_even_while_learning(policy_folder, architecture):
    policy = policy_of(policy_folder(architecture))
    tokens = tokens_of(policy, [(5, 6), (2, 3)])
    once = policy(tokens).logprobs
    with policy.learning_mode():
        assert torch.equal(policy(tokens).logprobs, once)


@pytest.mark.parametrize("lora", [None, LORA], ids=["full", "lora"])
@ALL
def test_recomputed_activations_give_the_same_gradients(policy_folder, architecture, lora):
    found = []
    for again in (False, True):
        policy = policy_of(policy_folder(architecture), lora=lora, lively=True, gradient_checkpointing=again)
        tokens = tokens_of(policy, [(5, 6), (2, 3), (9, 1)])
        layers = [m for m in policy.modules() if getattr(m, "gradient_checkpointing", False) and not m.training]
        assert bool(layers) == again
        with policy.learning_mode():
            scored = policy(tokens, entropies=True)
            (scored.logprobs.sum() + scored.values.pow(2).sum() + scored.entropies.sum()).backward()
        found.append(gradients(policy))
        assert not any(module.training for module in policy.model.modules())
    plain, recomputed = found
    assert plain.keys() == recomputed.keys()
    for name, gradient in plain.items():
        assert (gradient - recomputed[name]).abs().max() <= 1e-4 * (1 + gradient.abs().max()), name


def test_recomputing_saves_activations(policy_folder):
    held = []
    for again in (False, True):
        policy = policy_of(policy_folder("llama"), gradient_checkpointing=again)
        count = 0

        def pack(x: Tensor) -> Tensor:
            nonlocal count
            count += x.numel()
            return x

        with policy.learning_mode(), torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
            policy(tokens_of(policy, [(60, 60)] * 4))
        held.append(count)
    assert held[1] < 0.7 * held[0]


def test_dropout_of_lora_acts_only_while_learning(policy_folder):
    policy = policy_of(policy_folder("llama"), lora=LoraSection(r=4, alpha=8, dropout=0.5), lively=True)
    tokens = tokens_of(policy, [(5, 6), (2, 3)])
    once = policy(tokens).logprobs
    assert torch.equal(policy(tokens).logprobs, once)
    with policy.learning_mode():
        assert not torch.allclose(policy(tokens).logprobs, once, atol=1e-3)
    assert torch.equal(policy(tokens).logprobs, once)


# --- bfloat16 ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lora", [None, LORA], ids=["full", "lora"])
@ALL
def test_a_bfloat16_checkpoint_is_trained_in_float32_and_computed_in_bfloat16(policy_folder, architecture, lora):
    half = policy_folder(architecture, dtype=torch.bfloat16)
    policy = policy_of(half, dtype="bfloat16", lora=lora, lively=True, temperature=0.7)
    assert {weight.dtype for weight in policy.weights().values()} == {torch.float32}
    frozen = {p.dtype for p in policy.parameters() if not p.requires_grad}
    assert torch.bfloat16 in frozen if lora else not frozen
    tokens = sampled(policy, 3, most=6)
    scored = policy(tokens, entropies=True)
    assert {x.dtype for x in scored} == {torch.float32}
    exact = policy_of(half, dtype="float32", lora=lora, lively=True, temperature=0.7)
    off = (scored.logprobs - exact(tokens).logprobs).abs()
    assert off.max() > 0
    assert off[tokens.mask_BR].mean() < 0.2
    (scored.logprobs.sum() + scored.values.sum() + scored.entropies.sum()).backward()
    assert {g.dtype for g in gradients(policy).values()} == {torch.float32}
    with policy.use_reference():
        reference = logprobs(policy, tokens)
    assert torch.equal(reference, logprobs(policy, tokens)) == (lora is None)


def test_weights_in_float32_move_by_steps_that_bfloat16_would_lose(policy_folder):
    policy = policy_of(policy_folder("llama", dtype=torch.bfloat16), dtype="bfloat16")
    before = deepcopy(policy.weights())
    optimizer = torch.optim.AdamW(policy.parameters(), lr=1e-5, weight_decay=0.0)
    policy(tokens_of(policy, [(5, 6), (2, 3)])).logprobs.sum().neg().backward()
    optimizer.step()
    moved_by = {name: (weight - before[name]).abs() for name, weight in policy.weights().items()}
    layer = moved_by["model.model.layers.0.mlp.up_proj.weight"]
    assert (layer > 5e-6).double().mean() > 0.95


# --- pieces of a batch ------------------------------------------------------------------------------------------


def test_rows_of_tokens_come_without_columns_that_are_padding_in_all_of_them(policy_folder):
    policy = policy_of(policy_folder("llama"))
    tokens = tokens_of(policy, [(9, 2), (3, 7), (4, 1)])
    rows = tokens.rows([2, 0])
    assert rows.prompt_BP.shape == (2, 9)
    assert rows.response_BR.shape == (2, 2)
    assert rows.lengths == [5, 11]
    assert (logprobs(policy, rows) - logprobs(policy, tokens)[[2, 0], :2]).abs().max() < 1e-5


def test_prompt_and_response_are_joined_without_a_gap():
    given = TokenBatch(
        *pad_sequences([[5, 1, 1], [6]], 1, torch.device("cpu")), *pad_sequences([[7], [8, 1]], 1, torch.device("cpu"))
    )
    ids, starts = given.pack()
    assert ids.tolist() == [[5, 1, 1, 7], [6, 8, 1, 1]]
    assert starts.tolist() == [3, 1]


@pytest.mark.parametrize("most", [1, 10, 24, 1000])
def test_micro_batches_hold_each_sample_once_and_no_more_tokens_than_allowed(most):
    lengths = [3, 12, 5, 5, 8, 1, 7]
    pieces = micro_batches(lengths, most)
    assert sorted(row for piece in pieces for row in piece) == list(range(7))
    for piece in pieces:
        assert len(piece) == 1 or len(piece) * max(lengths[row] for row in piece) <= most
    assert len(pieces) == {1: 7, 10: 5, 24: 3, 1000: 1}[most]


def test_a_policy_of_a_model_in_memory_is_made_alike(policy_folder):
    loaded = load(str(policy_folder("llama")))
    assert isinstance(loaded, LoadedModel)
    assert policy_of(loaded, ends=None).eos == (2,)
