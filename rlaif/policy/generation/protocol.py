"""What generates completions: the seam at which another engine, such as vLLM, would stand in for transformers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from torch import Tensor

from rlaif.policy.tokens import TokenBatch

Watch = Callable[[Tensor], bool]
"""Called after each token with all responses so far, [B, tokens]; true stops the generation."""


class Sampling(NamedTuple):
    """How completions are sampled: by default from the full vocabulary."""

    max_new_tokens: int
    min_new_tokens: int = 0
    temperature: float = 1.0
    top_p: float = 1.0


class Encoded(NamedTuple):
    """
    Prompts as the encoder of a seq2seq model has read them.

    Args:
        states_BPd: encoder states; P is the longest prompt in tokens.
        mask_BP: true on real tokens.

    """

    states_BPd: Tensor
    mask_BP: Tensor


class Generator(Protocol):
    """
    Samples completions by the weights that the policy has at the time of the call.

    What every engine has to keep:

    - The distribution: softmax of the policy's logits / temperature, cut to the nucleus `top_p`; nothing of the
      model's own generation settings (beams, top-k, penalties, forced tokens). PPO takes the policy's log-probability
      of a token, at this temperature, for that of the distribution that it was sampled from. An engine whose numerics
      differ from those of `Policy.forward` biases the ratio; `ratio_max_dev` of a step shows rounding only.
    - The seed: all that is random is drawn from torch's global generator of the policy's device, which trainers seed
      for each step and process. An engine with a generator of its own has to be seeded from it, so that the same seed
      gives the same completions and a resumed run continues as if it had not stopped.
    - EOS: a completion ends with its first EOS, which counts as a token of it; before `min_new_tokens` tokens no EOS
      is sampled. A completion without one has `max_new_tokens` tokens, or was stopped by `watch`.
    - The weights: they change with each optimizer step, and `Policy.use_reference` swaps them for a while. An engine
      that holds a copy has to take them over before it samples.
    """

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        sampling: Sampling,
        *,
        encoded: Encoded | None = None,
        watch: Watch | None = None,
    ) -> TokenBatch:
        """
        Sample one completion of each prompt.

        Args:
            prompts: B lists of token ids, with special tokens and chat markup, none without a token.
            sampling: the temperature, the nucleus, and how long completions may be.
            encoded: the prompts of a seq2seq model, read by its present weights; an engine may read them itself.
            watch: an engine that cannot call it after each token calls it when all completions are there.

        Returns:
            Prompts [B, P] and responses [B, R], both right-padded, in the order of `prompts`. R is at most
            `max_new_tokens`; the mask of a response is true up to its first EOS.

        """
        ...
