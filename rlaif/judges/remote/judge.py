"""
Judges whose verdicts are calls to somebody's server: stored, paid, limited, and abstaining, once for all of them.

What such a judge adds is how it asks about one sample, and what the answer means.
"""

from __future__ import annotations

import logging
import math
import re
import time
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from typing import Annotated, Any, Protocol, TypeVar

from annotated_types import Ge, Gt

from rlaif.core.errors import InputError
from rlaif.core.schema import Checked, short_repr
from rlaif.core.system.threads import map_in_threads
from rlaif.core.types import Estimate, Judgement, Sample, Status, Usage, empty
from rlaif.judges.cards.card import Card
from rlaif.judges.remote.limits import Budget, Gate, OverBudget, Rates, Transient, Turn, gate
from rlaif.judges.remote.store import Verdict as Verdict  # adapters take it from here
from rlaif.judges.remote.store import key_of
from rlaif.judges.remote.tokens import FREE, Tokens
from rlaif.judges.session import Session

log = logging.getLogger("rlaif")

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
    """
    There is no verdict on this one sample: too long, filtered, unreadable. It belongs to the sample, not the run.

    `used` is what an answer that cannot be read was billed for; None where the endpoint refused to answer.
    """

    def __init__(self, status: Status, reason: str, used: Tokens | None = None) -> None:
        super().__init__(reason)
        self.status: Status = status
        self.used = used


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


@dataclass(frozen=True)
class Scores:
    """The score of each category, in [0, 1], 1 the worst; such endpoints count no tokens."""

    of: dict[str, float]
    used: Tokens = FREE


def read_scores(pairs: Iterable[tuple[Any, Any]]) -> Scores:
    """Read the scores of categories: numbers, each category once. Raises `ValueError` for anything else."""
    scores: dict[str, float] = {}
    for name, score in pairs:
        if isinstance(score, bool) or not isinstance(score, int | float) or not isinstance(name, str):
            raise ValueError(f"the score of {short_repr(name)} is {short_repr(score)}")
        if name in scores:
            raise ValueError(f"there are two scores of {short_repr(name)}")
        scores[name] = float(score)
    return Scores(scores)


def worst_of(scores: Verdict, categories: list[str] | None, judge: str, usage: Usage) -> Judgement:
    """Judge by the largest score of the chosen categories, 1 the worst; where one is missing there is no verdict."""
    numbers = {name: score for name, score in scores.items() if isinstance(score, int | float)}
    chosen = {name: numbers.get(name, math.nan) for name in categories or scores}
    missing = [name for name, score in chosen.items() if not _is_share(score)]
    if missing or not chosen:
        reason = f"no score in [0, 1] of {', '.join(missing) or 'anything'}; there are: {', '.join(scores) or 'none'}"
        raise Unanswered("unparsable", reason)
    name, worst = max(chosen.items(), key=lambda item: item[1])
    return Judgement(judge, 1 - worst, raw=worst, reason=name, usage=usage)


def _is_share(score: Any) -> bool:
    return isinstance(score, int | float) and not isinstance(score, bool) and 0 <= score <= 1


class ReportsTokens(Protocol):
    """The tokens that an answer says it used."""

    @property
    def used(self) -> Tokens: ...  # noqa: D102


A = TypeVar("A", bound=ReportsTokens)


class Bill:
    """What one verdict costs, all attempts counted; each is reserved in the budget before it is sent."""

    def __init__(self, price: Price | None, budget: Budget, gate: Gate) -> None:
        self._price, self._budget, self._gate = price, budget, gate
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
        most = Tokens(len(text.encode()) + 1024, max_tokens)
        worst = self._cost_of(most, most)
        if self._budget.usd is None or not worst:
            return self._pay_reserved(ask, most, worst, turn)
        with self._gate.first_alone():
            return self._pay_reserved(ask, most, worst, turn)

    def _pay_reserved(self, ask: Callable[[], A], most: Tokens, worst: float, turn: Turn) -> A:
        reserved = worst * self._gate.excess
        self._budget.reserve(reserved)
        used: Tokens | None = None
        sent, start = False, 0.0
        try:
            with turn():
                sent, start = True, time.perf_counter()
                self._attempts += 1
                answer = ask()
            used = answer.used
            return answer
        except (Transient, Unanswered) as error:
            used = error.used
            raise
        finally:
            cost = self._book(used, most, worst) if used else 0.0
            self._seconds += time.perf_counter() - start if sent else 0.0
            self._budget.settle(reserved, cost, sent=sent)

    def _book(self, used: Tokens, most: Tokens, worst: float) -> float:
        """Add what a call used, and return its USD; what the endpoint does not say is taken as the most it can be."""
        told = (used.input or 0, used.output or 0, used.cached)
        self._tokens = [a + b for a, b in zip(self._tokens, told, strict=True)]
        cost = self._cost_of(used, most)
        self._usd += cost
        if worst and None in (used.input, used.output):
            self._gate.warn_once(
                "usage", f"{self._gate.name} does not say what each answer used; the most it can be is booked there"
            )
        if worst:
            self._gate.learn_cost(cost, worst)
        return cost

    def _cost_of(self, used: Tokens, most: Tokens) -> float:
        into, out = (most.input if used.input is None else used.input), most.output
        out = out if used.output is None else used.output
        return self._price.cost_of(into or 0, out or 0) if self._price else 0.0

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
        stored = self._read_stored(keys)
        sizes = [self._size(sample) for key, sample in keys.items() if key not in stored]
        tokens_in, tokens_out = (sum(size[i] for size in sizes) for i in (0, 1))
        usd = self._price.cost_of(tokens_in, tokens_out) if self._price else None
        return Estimate(len(sizes), tokens_in, tokens_out, usd)

    def _judge_all(self, unique: Mapping[Texts, Sample]) -> list[Judgement]:
        tasks = {key: sample for of, sample in unique.items() for key in self._keys(of)}
        done = self._read_stored(tasks)
        missing = [(key, sample) for key, sample in tasks.items() if key not in done]
        asked = map_in_threads(lambda task: self._ask(*task), missing, self.card.concurrency)
        done |= {key: judgement for (key, _), judgement in zip(missing, asked, strict=True)}
        return [self._combine([done[key] for key in self._keys(of)]) for of in unique]

    def _read_stored(self, keys: Iterable[bytes]) -> dict[bytes, Judgement]:
        """Return what stored verdicts mean; one that is damaged means nothing, and is asked for again."""
        judgements, damaged = {}, 0
        for key, verdict in self._session.read_stored(keys).items():
            try:
                judgements[key] = self._judgement(verdict, FROM_STORE)
            except (Unanswered, ValueError, LookupError, TypeError, AttributeError):
                damaged += 1
        if damaged:
            log.warning("%s: %d stored verdicts are damaged and are asked for again", self._where, damaged)
        return judgements

    def _ask(self, key: bytes, sample: Sample) -> Judgement:
        """Ask until there is an answer, and store its verdict before anything else happens to it."""
        bill = Bill(self._price, self._session.budget, self._gate)
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
