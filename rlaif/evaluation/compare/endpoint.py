"""Completions from an OpenAI-compatible endpoint, with the limits, retries and budget of remote judges."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from rlaif.core.errors import InputError, RlaifError
from rlaif.core.system.threads import map_in_threads
from rlaif.core.types import Estimate, Status
from rlaif.evaluation.compare.sides import EndpointSide
from rlaif.judges.llm.backend import Answer, Ask
from rlaif.judges.llm.dialect import dialect_of, negotiate
from rlaif.judges.llm.pricing import list_price
from rlaif.judges.openai.judge import OpenAIBackend, OpenAICard
from rlaif.judges.remote.judge import Bill, Unanswered
from rlaif.judges.remote.limits import OverBudget, Rates, Transient, gate
from rlaif.judges.session import Session
from rlaif.policy.generation.protocol import Sampling

CONCURRENCY = 16


@dataclass(frozen=True, kw_only=True)
class AskedCard(OpenAICard):
    """The card of an endpoint. Messages name the side that it answers for, not a judge."""

    @property
    def who(self) -> str:
        """Name with which messages begin."""
        return self.name


@dataclass(frozen=True)
class EndpointAnswer:
    """
    The answer of an endpoint to a prompt.

    Args:
        completion: the completion; empty if there is none.
        ended: whether the completion ended by itself; None if there is none.
        missing: why there is no completion, as the status for its judgements; None if there is one.
        reason: why there is no completion, in the endpoint's words.

    """

    completion: str
    ended: bool | None
    missing: Status | None = None
    reason: str = ""


class EndpointModel:
    """
    A model behind an endpoint. Each prompt is sent as a message of the user.

    Not all servers support a seed, so sampling is not reproducible.

    Args:
        endpoint: the side of the comparison, with URL and model.
        sampling: how to decode.
        session: budget of the calls.

    Raises:
        InputError: the URL or the key is wrong, or there is a budget in USD and the price of the model is not known.

    """

    def __init__(self, endpoint: EndpointSide, sampling: Sampling, session: Session) -> None:
        nucleus = {} if sampling.top_p == 1 else {"top_p": sampling.top_p}
        card = AskedCard(
            adapter="openai", name=endpoint.where, model=endpoint.model, base_url=endpoint.url, prompt="",
            api_key_env=endpoint.key, extra_body=nucleus,
        )  # fmt: skip
        self._where, self._sampling, self._session = endpoint.where, sampling, session
        self._backend = OpenAIBackend(card)
        self._dialect = dialect_of(self._backend)
        self._gate = gate(self._backend.endpoint, self._backend.model)
        self._gate.narrow(Rates(CONCURRENCY, None, None, card.total_timeout))
        self._price = list_price(self._backend.model, "openai") if card.is_openais_own else None
        if session.budget.usd is not None and self._price is None:
            raise InputError(f"{endpoint.where}: a budget in USD needs a price, and none is known for {endpoint.model}")

    def reach(self) -> None:
        """Raise `InputError` if the endpoint cannot be reached."""
        self._backend.reach()

    def estimate(self, prompts: Sequence[str]) -> Estimate:
        """Return an upper bound of the cost of answering the prompts."""
        tokens_in = sum(len(prompt) // 4 + 1 for prompt in prompts)
        tokens_out = len(prompts) * self._sampling.max_new_tokens
        usd = self._price.cost_of(tokens_in, tokens_out) if self._price else None
        return Estimate(len(prompts), tokens_in, tokens_out, usd)

    def answers(self, prompts: Sequence[str], batch_size: int) -> Iterator[tuple[list[int], list[EndpointAnswer]]]:
        """
        Yield batches of answers with the indices of their prompts.

        Raises:
            RlaifError: the budget is spent, or the endpoint cannot be reached for most of a batch.

        """
        for start in range(0, len(prompts), batch_size):
            rows = list(range(start, min(start + batch_size, len(prompts))))
            answers = map_in_threads(self._ask, [prompts[row] for row in rows], CONCURRENCY)
            if any(answer.missing == "over_budget" for answer in answers):
                raise RlaifError("the budget is spent")
            down = [answer for answer in answers if answer.missing in ("unavailable", "timeout")]
            if 2 * len(down) > len(answers):
                raise RlaifError(f"{self._where}: the endpoint stayed down: {down[0].reason}")
            yield rows, answers

    def _ask(self, prompt: str) -> EndpointAnswer:
        bill = Bill(self._price, self._session.budget, self._gate)
        tokens = self._sampling.max_new_tokens

        def ask(question: Ask) -> Answer:
            pay = partial(bill.pay, partial(self._backend.ask, question), prompt, tokens)
            return self._gate.call(pay, tokens=len(prompt) // 4 + 1 + tokens)

        def question(_: object) -> Ask:
            return Ask(prompt, "text", {}, tokens, self._sampling.temperature)

        try:
            answer = negotiate(("text",), self._dialect, "text", question, ask)
        except (Transient, Unanswered, OverBudget) as error:
            return EndpointAnswer("", None, error.status, str(error))
        if answer.status not in ("ok", "truncated"):
            return EndpointAnswer("", None, answer.status, answer.reason)
        return EndpointAnswer(answer.text, answer.status == "ok")
