"""Drawing tokens: by their probability, never one that is impossible, the same for the same seed."""

from __future__ import annotations

import pytest
import torch

from rlaif.policy.generation import transformers as generation
from rlaif.policy.generation.protocol import Sampling
from rlaif.policy.generation.transformers import draw_ids, make_draw_processor
from rlaif.policy.loading import load
from rlaif.policy.model import Policy
from rlaif.policy.tokens import TokenBatch, pad_sequences


def test_ids_are_drawn_by_their_probability():
    torch.manual_seed(0)
    p = torch.tensor([0.5, 0.0, 0.3, 0.15, 0.05])
    ids = draw_ids(p.log().expand(20_000, -1)).flatten()
    share = torch.bincount(ids, minlength=5) / len(ids)
    assert share[1] == 0
    assert (share - p).abs().max() < 0.012  # four standard errors of a share of one half


@pytest.mark.parametrize("number", [0.0, 0.25, 1 - 2**-53])
def test_no_random_number_draws_an_impossible_id(monkeypatch, number):
    monkeypatch.setattr(generation.torch, "rand", lambda *size, **_: torch.full(size, number, dtype=torch.float64))
    never = -torch.inf
    logits = torch.tensor([[never, 1.0, never, 2.0, never], [never, never, 0.0, never, never]])
    ids = draw_ids(logits).flatten().tolist()
    assert ids[0] in (1, 3)
    assert ids[1] == 2


def test_a_rare_id_of_a_large_vocabulary_is_drawn_as_often_as_it_should():
    torch.manual_seed(0)
    logits = torch.zeros(1, 150_000)
    logits[0, -1] = torch.log(torch.tensor(150_000.0))  # half of all probability at the very end
    ids = draw_ids(logits.expand(400, -1)).flatten()
    assert abs(float((ids == 149_999).double().mean()) - 0.5) < 0.1


def test_the_temperature_divides_the_logits_and_the_nucleus_comes_after_it():
    torch.manual_seed(0)
    logits = torch.tensor([[2.0, 1.0, 0.0]]).expand(4_000, -1)
    (process,) = make_draw_processor(Sampling(1, temperature=0.5))
    share = torch.bincount(process(None, logits).argmax(-1), minlength=3) / 4_000
    assert (share - torch.softmax(logits[0] / 0.5, -1)).abs().max() < 0.03
    (process,) = make_draw_processor(Sampling(1, temperature=0.5, top_p=0.8))  # 0.867 of the first is more than that
    assert set(process(None, logits).argmax(-1).tolist()) == {0}


def test_the_greedy_choice_is_left_one_token_a_row():
    (process,) = make_draw_processor(Sampling(1))
    scores = process(None, torch.randn(7, 50))
    assert (scores > -torch.inf).sum(-1).tolist() == [1] * 7


@pytest.mark.parametrize("architecture", ["llama", "t5"])
def test_another_engine_stands_in_for_transformers(architecture, policy_folder):
    """It is given the prompts, how to sample, and what a seq2seq model's encoder made of the prompts."""
    policy = Policy(load(str(policy_folder(architecture)), dtype="float32"))
    calls = []

    class Echo:
        def generate(self, prompts, sampling, *, encoded=None, watch=None):
            calls.append((sampling, encoded))
            ids_BP, mask_BP = pad_sequences(prompts, policy.pad, policy.device)
            return TokenBatch(ids_BP, mask_BP, ids_BP, policy.special.mask_until_end(ids_BP))

    policy.generator = Echo()
    prompts = [[5, 6], [7]]
    tokens = policy.generate(prompts, Sampling(4))
    assert tokens.response_BR[0].tolist() == [5, 6]
    ((sampling, encoded),) = calls
    assert sampling.max_new_tokens == 4
    assert (encoded is not None) == policy.is_seq2seq
    if encoded is not None:
        assert encoded.mask_BP.tolist() == [[True, True], [True, False]]
        assert torch.equal(encoded.states_BPd, policy.encode(prompts).states_BPd)
