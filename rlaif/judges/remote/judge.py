"""
Judges whose verdicts are calls to somebody's server: stored, paid, limited, and abstaining, once for all of them.

What such a judge adds is how it asks about one sample, and what the answer means.
"""

from __future__ import annotations

import math
import re
import socket
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from typing import Annotated, Any, Protocol, TypeVar
from urllib.parse import urlsplit

from annotated_types import Ge, Gt

from rlaif.core.errors import InputError
from rlaif.core.schema import Checked
from rlaif.core.system.threads import map_in_threads
from rlaif.core.types import Estimate, Judgement, Sample, Status, Usage, empty
from rlaif.judges.cards.card import Card
from rlaif.judges.remote.limits import Budget, OverBudget, Rates, Transient, Turn, gate
from rlaif.judges.remote.store import Verdict as Verdict  # adapters take it from here
from rlaif.judges.remote.store import key_of
from rlaif.judges.session import Session

Count = Annotated[int, Ge(1)]
Seconds = Annotated[float, Gt(0)]
Texts = tuple[tuple[str, str], ...]
"""What a judge reads of a sample: equal ones are asked once."""


@dataclass(frozen=True, kw_only=True)
class Price(Checked):
    """USD per million tokens."""

    input: Annotated[float, Ge(0)]
    output: Annotated[float, Ge(0)]

    def cost_of(self, input_tokens: int, output_tokens: int) -> float:
        """Return the USD of so many tokens."""
        return (input_tokens * self.input + output_tokens * self.output) / 1e6


@dataclass(frozen=True, kw_only=True)
class RemoteCard(Card):
    """
    The keys of every remote judge's card.

    `concurrency` calls at once, `rpm` requests and `tpm` tokens a minute, `timeout` seconds for an attempt and
    `total_timeout` for a call with its retries. They belong to endpoint and model: of several cards the lowest holds.
    """

    model: str
    concurrency: Count = 16
    rpm: Count | None = None
    tpm: Count | None = None
    timeout: Seconds = 60.0
    total_timeout: Seconds = 300.0


class Unanswered(Exception):
    """There is no verdict on this one sample: too long, filtered, unreadable. It belongs to the sample, not the run."""

    def __init__(self, status: Status, reason: str) -> None:
        super().__init__(reason)
        self.status: Status = status


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Read the seconds or the date of Retry-After; milliseconds where the endpoint gives them."""
    try:
        if milliseconds := headers.get("retry-after-ms"):
            seconds = float(milliseconds) / 1000
        elif re.fullmatch(r"[\d.]+", value := headers.get("retry-after") or ""):
            seconds = float(value)
        else:
            seconds = parsedate_to_datetime(value).timestamp() - time.time()
    except (ValueError, TypeError):
        return None
    return max(0.0, seconds) if math.isfinite(seconds) else None


def refuse_silence(url: str, where: str, hint: str) -> None:
    """Raise `InputError` where nothing listens at a URL."""
    parts = urlsplit(url)
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
        socket.create_connection((parts.hostname or "", port), timeout=10).close()
    except (OSError, ValueError) as error:
        raise InputError(f"{where}: nothing answers at {url} ({error}); {hint}") from None


@dataclass(frozen=True)
class Scores:
    """The score of each category, in [0, 1], 1 the worst; such endpoints count no tokens."""

    of: dict[str, float]
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0


def worst_of(scores: Verdict, categories: list[str] | None, judge: str, usage: Usage) -> Judgement:
    """Judge by the largest score of the chosen categories, 1 the worst; where one is missing there is no verdict."""
    numbers = {name: score for name, score in scores.items() if isinstance(score, int | float)}
    chosen = {name: numbers.get(name, math.nan) for name in categories or scores}
    missing = [name for name, score in chosen.items() if not 0 <= score <= 1]
    if missing or not chosen:
        reason = f"no score in [0, 1] of {', '.join(missing) or 'anything'}; there are: {', '.join(scores) or 'none'}"
        raise Unanswered("unparsable", reason)
    name, worst = max(chosen.items(), key=lambda item: item[1])
    return Judgement(judge, 1 - worst, raw=worst, reason=name, usage=usage)


class ReportsTokens(Protocol):
    """The tokens that an answer says it used; none where it does not say."""

    @property
    def input_tokens(self) -> int: ...  # noqa: D102
    @property
    def output_tokens(self) -> int: ...  # noqa: D102
    @property
    def cached_tokens(self) -> int: ...  # noqa: D102


A = TypeVar("A", bound=ReportsTokens)


class Bill:
    """What one verdict costs, all attempts counted; each is reserved in the budget before it is sent."""

    def __init__(self, price: Price | None, budget: Budget) -> None:
        self._price, self._budget = price, budget
        self._seconds = 0.0
        self._tokens = [0, 0, 0]
        self._attempts = 0
        self._usd = 0.0

    def pay(self, ask: Callable[[], A], text: str, max_tokens: int, turn: Turn) -> A:
        """
        Ask when it is our turn, with the worst cost set aside until the true one is known.

        Args:
            ask: sends the question.
            text: of the question. No token is shorter than a byte; a schema and markup are within 1,024 more.
            max_tokens: of the answer.
            turn: comes when the endpoint's limits allow.

        """
        worst = self._price.cost_of(len(text.encode()) + 1024, max_tokens) if self._price else 0.0
        self._budget.reserve(worst)
        cost, sent, start = 0.0, False, 0.0
        try:
            with turn():
                sent, start = True, time.perf_counter()
                self._attempts += 1
                answer = ask()
            used = (answer.input_tokens, answer.output_tokens, answer.cached_tokens)
            self._tokens = [a + b for a, b in zip(self._tokens, used, strict=True)]
            if self._price:  # an endpoint that does not say what it used is taken to have used the most
                cost = self._price.cost_of(used[0], used[1]) if used[0] else worst
            return answer
        except Transient as error:
            cost = worst if error.billed else 0.0
            raise
        finally:
            self._usd += cost
            self._seconds += time.perf_counter() - start if sent else 0.0
            self._budget.settle(worst, cost, sent=sent)

    @property
    def usage(self) -> Usage:
        """The same as it is told in a judgement; the seconds are those of the calls, not of the waiting."""
        usd = self._usd if self._price else None
        tokens_in, tokens_out, cached = self._tokens
        return Usage(tokens_in, tokens_out, cached, usd, self._seconds, self._attempts)


FROM_STORE = Usage(attempts=0, from_store=True)


class RemoteJudge:
    """
    A `Judge` whose verdicts are calls. Thread-safe.

    A subclass says how it asks (`_verdict`), what a stored verdict means (`_judgement`), what a call is made of
    (`_size`), and how to find out for nothing whether anybody is there (`_reach`).
    """

    has_logit = False
    remote = True
    measures: str
    reads: frozenset[str] = frozenset()

    def __init__(
        self, card: RemoteCard, endpoint: str, model: str, price: Price | None, session: Session, *question: Any
    ) -> None:
        self.name, self.card = card.name, card
        self.identity: Hashable = (card.adapter, endpoint, model, *question[:1])
        self._price, self._session = price, session
        self._where = f"judge {card.name}"
        if session.budget.usd is not None and price is None:
            raise InputError(
                f"{self._where}: a budget in USD needs a price, and none is known for {model}: "
                "give `price: {input: ..., output: ...}` in the card, in USD per million tokens"
            )
        self._gate = gate(endpoint, model)
        self._gate.narrow(Rates(card.concurrency, card.rpm, card.tpm, card.total_timeout))
        self._key = key_of(card.adapter, endpoint, model, *question).hex()

    def __call__(self, samples: Sequence[Sample]) -> list[Judgement]:
        """Judge a batch: from the store what is there, the rest side by side, each stored as it arrives."""
        if not samples:
            self._reach()
            return []
        texts = [self._texts(sample) for sample in samples]
        unique = {of: sample for of, sample in zip(texts, samples, strict=True) if not sample.blank}
        judged = dict(zip(unique, self._judge_all(unique), strict=True))
        judgements = []
        for of, sample in zip(texts, samples, strict=True):
            judgements.append(empty(self.name) if sample.blank else judged[of])
            if not sample.blank:  # the first of equal samples has paid for all
                judged[of] = replace(judged[of], usage=Usage(attempts=0, from_store=judged[of].usage.from_store))
        return judgements

    def estimate(self, samples: Sequence[Sample]) -> Estimate:
        """Say what judging would take at most: what is stored is free, and an answer may be of full length."""
        unique = {self._texts(sample): sample for sample in samples if not sample.blank}
        keys = {key: sample for of, sample in unique.items() for key in self._keys(of)}
        stored = self._session.read_stored(keys)
        sizes = [self._size(sample) for key, sample in keys.items() if key not in stored]
        tokens_in, tokens_out = (sum(size[i] for size in sizes) for i in (0, 1))
        usd = self._price.cost_of(tokens_in, tokens_out) if self._price else None
        return Estimate(len(sizes), tokens_in, tokens_out, usd)

    def _judge_all(self, unique: Mapping[Texts, Sample]) -> list[Judgement]:
        tasks = {key: sample for of, sample in unique.items() for key in self._keys(of)}
        stored = self._session.read_stored(tasks)
        done = {key: self._judgement(verdict, FROM_STORE) for key, verdict in stored.items()}
        missing = [(key, sample) for key, sample in tasks.items() if key not in stored]
        asked = map_in_threads(lambda task: self._ask(*task), missing, self.card.concurrency)
        done |= {key: judgement for (key, _), judgement in zip(missing, asked, strict=True)}
        return [self._combine([done[key] for key in self._keys(of)]) for of in unique]

    def _ask(self, key: bytes, sample: Sample) -> Judgement:
        """Ask until there is an answer, and store its verdict before anything else happens to it."""
        bill = Bill(self._price, self._session.budget)
        try:
            verdict = self._verdict(sample, bill)
            judgement = self._judgement(verdict, bill.usage)
        except (Transient, Unanswered, OverBudget) as error:
            return self._abstain(error.status, str(error), bill.usage)
        self._session.store.put(key, verdict)
        return judgement

    def _abstain(self, status: Status, reason: str, usage: Usage) -> Judgement:
        return Judgement(self.name, None, status=status, reason=reason, usage=usage)

    def _combine(self, answers: list[Judgement]) -> Judgement:
        return answers[0]

    def _keys(self, texts: Texts) -> list[bytes]:
        return [key_of(self._key, texts, 0)]

    def _texts(self, sample: Sample) -> Texts:
        values = {"prompt": sample.prompt, "completion": sample.completion}
        fields = sorted(self.reads | {"completion"})
        return tuple((name, str(values.get(name, sample.columns.get(name, "")))) for name in fields)

    def _verdict(self, sample: Sample, bill: Bill) -> Verdict:
        raise NotImplementedError

    def _judgement(self, verdict: Verdict, usage: Usage) -> Judgement:
        raise NotImplementedError

    def _size(self, sample: Sample) -> tuple[int, int]:
        """Return the tokens of a question, as far as can be told, and of the longest answer."""
        raise NotImplementedError

    def _reach(self) -> None:
        raise NotImplementedError
