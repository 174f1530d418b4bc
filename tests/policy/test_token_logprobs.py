"""Log-probabilities of sampled ids in blocks: the same as by log_softmax, forwards and backwards."""

from __future__ import annotations

import pytest
import torch

from rlaif.policy import token_logprobs as module
from rlaif.policy.token_logprobs import TokenLogprobs, token_logprobs


def given(rows, vocabulary, dtype=torch.float32, spread=3.0):
    torch.manual_seed(0)
    logits = (torch.randn(rows, vocabulary) * spread).to(dtype).requires_grad_()
    return logits, torch.randint(0, vocabulary, (rows,)), torch.randn(rows)


@pytest.mark.parametrize("block", [1, 7 * 11, 3 * 7 * 11, 10**6])
@pytest.mark.parametrize("temperature", [1.0, 0.7, 2.5])
def test_values_and_gradients_are_those_of_log_softmax_for_every_size_of_block(monkeypatch, block, temperature):
    monkeypatch.setattr(module, "BLOCK_LOGITS", block)
    logits, ids, weights = given(11, 77)
    plain = torch.log_softmax(logits.double() / temperature, -1).gather(1, ids.unsqueeze(1)).squeeze(1)
    (expected,) = torch.autograd.grad((plain * weights).sum(), logits)
    ours = token_logprobs(logits, ids, temperature)
    (got,) = torch.autograd.grad((ours * weights).sum(), logits)
    torch.testing.assert_close(ours.double(), plain, atol=1e-5, rtol=1e-6)
    torch.testing.assert_close(got, expected, atol=1e-6, rtol=1e-5)


def test_the_gradient_is_that_of_finite_differences():
    torch.manual_seed(0)
    logits = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    # float32 inside: a coarse step and a coarse tolerance, which a wrong sign or factor would not pass
    assert torch.autograd.gradcheck(
        lambda z: TokenLogprobs.apply(z, torch.tensor([0, 4, 2]), 0.7).double(), logits, eps=1e-2, atol=1e-2, rtol=1e-2
    )


def test_bfloat16_logits_give_float32_and_a_gradient_of_their_own_dtype():
    logits, ids, weights = given(6, 50, torch.bfloat16)
    ours = token_logprobs(logits, ids, 1.0)
    assert ours.dtype == torch.float32
    (ours * weights).sum().backward()
    assert logits.grad.dtype == torch.bfloat16
    exact = logits.detach().float().requires_grad_()
    (torch.log_softmax(exact, -1).gather(1, ids.unsqueeze(1)).squeeze(1) * weights).sum().backward()
    torch.testing.assert_close(logits.grad.float(), exact.grad, atol=1e-2, rtol=1e-2)


def test_logits_that_are_minus_infinity_have_no_gradient_and_harm_no_other():
    logits = torch.tensor([[0.0, 1.0, -torch.inf]], requires_grad=True)
    ours = token_logprobs(logits, torch.tensor([1]), 1.0)
    ours.sum().backward()
    assert ours.item() == pytest.approx(-0.3132617)  # 1 - log(1 + e)
    torch.testing.assert_close(logits.grad, torch.tensor([[-0.2689414, 0.2689414, 0.0]]))


def test_no_row_is_no_value():
    logits = torch.zeros(0, 9, requires_grad=True)
    assert token_logprobs(logits, torch.zeros(0, dtype=torch.long), 1.0).shape == (0,)
