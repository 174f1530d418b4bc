"""
Limits of remote endpoints, in one place: how many calls at once, how often, how long, how dear.

A limit belongs to an endpoint and a model, whichever card asks: three cards on one model share one `Gate`, and all
processes that share `RLAIF_HOME` share its rate. This is the only retry layer; the SDKs' own are off.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from rlaif.core.types import Status
from rlaif.judges.remote.rates import slots
from rlaif.judges.remote.tokens import Tokens

if TYPE_CHECKING:
    from collections.abc import Iterator

    import tenacity


log = logging.getLogger("rlaif")

T = TypeVar("T")

Turn = Callable[[], AbstractContextManager[None]]
"""Makes the context in which a call is sent: it begins when the limits allow it."""


class Transient(Exception):
    """
    A call failed in a way that may mend itself.

    Args:
        reason: what the endpoint said.
        status: what the sample gets if it never mends.
        throttled: whether the endpoint asks for fewer calls.
        retry_after: seconds that it asks to wait.
        billed: whether the call may have been charged: it ran, and its answer was lost.
        used: what the lost answer said that it used.

    """

    def __init__(
        self,
        reason: str,
        *,
        status: Status = "unavailable",
        throttled: bool = False,
        retry_after: float | None = None,
        billed: bool = False,
        used: Tokens | None = None,
    ) -> None:
        super().__init__(reason)
        self.status = status
        self.throttled = throttled
        self.retry_after = retry_after
        self.used = used or (Tokens() if billed else None)


class OverBudget(Exception):
    """The budget holds no further call."""

    status: Status = "over_budget"


@dataclass(frozen=True)
class Rates:
    """
    What a card allows an endpoint and model.

    Args:
        concurrency: calls at once.
        rpm: requests a minute; at most ceil(rpm / 60) in any second.
        tpm: tokens a minute, in and out.
        total_timeout: seconds for a call with all its retries.

    """

    concurrency: int = 16
    rpm: int | None = None
    tpm: int | None = None
    total_timeout: float = 300.0


# --- money ----------------------------------------------------------------------------------------------------


class Budget:
    """
    What a command may spend. Thread-safe.

    The worst cost of a call is reserved before it is sent, and settled to what it did cost, so that the cap holds
    at any concurrency.
    """

    def __init__(self, usd: float | None = None, calls: int | None = None) -> None:
        self.usd, self.calls = usd, calls
        self.spent, self.made = 0.0, 0
        self._reserved, self._flying = 0.0, 0
        self._changed = threading.Condition()

    def reserve(self, worst: float) -> None:
        """Set the worst cost of a call aside, once calls in flight have settled if need be, or raise `OverBudget`."""
        with self._changed:
            while self.usd is not None and self.spent + self._reserved + worst > self.usd:
                if not self._flying:
                    raise OverBudget(f"the budget of {self.usd:g} USD is spent but for {self.usd - self.spent:.4g}")
                self._changed.wait()
            if self.calls is not None and self.made >= self.calls:
                raise OverBudget(f"the budget of {self.calls} calls is spent")
            self.made += 1
            self._flying += 1
            self._reserved += worst

    def settle(self, worst: float, cost: float, *, sent: bool = True) -> None:
        """Replace a reservation by what the call did cost; one that was never sent does not count."""
        with self._changed:
            self._flying -= 1
            self.made -= not sent
            self._reserved -= worst
            self.spent += cost
            self._changed.notify_all()


# --- the gate -------------------------------------------------------------------------------------------------


class Gate:
    """What stands between the judges of a process and one model of one endpoint."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.rates = Rates(concurrency=10**6, total_timeout=math.inf)
        self._allowed = math.inf  # calls at once, as the endpoint has shown that it bears
        self._inside = 0
        self._not_before = 0.0
        self._last_cut = 0.0
        self._changed = threading.Condition()
        self._pacing = threading.Lock()
        self.excess = 1.0
        """How many times what a call can cost at most, by its question and max_tokens, the dearest one did cost."""
        self._has_counted = False
        self._first = threading.Lock()
        self._said: set[str] = set()

    def narrow(self, rates: Rates) -> None:
        """Take a card's rates into account: where cards disagree, the lowest holds."""
        with self._changed:
            mine = self.rates
            self.rates = Rates(
                min(mine.concurrency, rates.concurrency),
                min((r for r in (mine.rpm, rates.rpm) if r is not None), default=None),
                min((t for t in (mine.tpm, rates.tpm) if t is not None), default=None),
                min(mine.total_timeout, rates.total_timeout),
            )
            self._allowed = min(self._allowed, self.rates.concurrency)

    def call(self, attempt: Callable[[Turn], T], *, tokens: int = 0) -> T:
        """
        Make a call, and again with jittered backoff while it fails for a passing reason.

        Args:
            attempt: sends the call once, within the turn that it is given; raises `Transient` for what may mend
                itself.
            tokens: of the question and the longest answer, for the limit of tokens a minute.

        Raises:
            Transient: the last one, when the total time is over. It runs from the first sending: to wait for one's
                turn is no failure.

        """
        import tenacity

        began = math.inf

        @contextmanager
        def turn() -> Iterator[None]:
            nonlocal began
            with self._turn(tokens):
                began = min(began, time.monotonic())
                yield

        def is_over(state: tenacity.RetryCallState) -> bool:
            now = time.monotonic()
            return now - min(began, now) + state.upcoming_sleep > self.rates.total_timeout

        backoff = tenacity.wait_random_exponential(multiplier=0.5, max=30)
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(Transient),
            wait=lambda state: max(backoff(state), _retry_delay(state)),
            stop=is_over,
            reraise=True,
        )
        answer: T = retrying(attempt, turn)
        return answer

    @contextmanager
    def first_alone(self) -> Iterator[None]:
        """Let calls go one by one until an answer says what it used, so that the next ones are reserved by that."""
        self._first.acquire()
        if self._has_counted:
            self._first.release()
            yield
            return
        try:
            yield
        finally:
            self._first.release()

    def learn_cost(self, cost: float, worst: float) -> None:
        """Learn from an answer what to reserve for the next ones."""
        self._has_counted = True
        if cost > worst * self.excess * (1 + 1e-9):
            self.excess = cost / worst
            self.warn_once(
                "excess",
                f"{self.name} counts more tokens than question and max_tokens allow: a call of {worst:.3g} USD at "
                f"most did cost {cost:.3g}; {self.excess:.3g} times the most is set aside for each from now on",
            )

    def warn_once(self, key: str, warning: str) -> None:
        """Say what is odd about an endpoint, once."""
        with self._changed:
            if key in self._said:
                return
            self._said.add(key)
        log.warning(warning)

    @contextmanager
    def _turn(self, tokens: int) -> Iterator[None]:
        with self._changed:
            while self._inside >= max(1, int(self._allowed)):
                self._changed.wait()
            self._inside += 1
        try:
            self._wait(tokens)
            yield
        except Transient as error:
            if error.throttled:
                self._slower(error.retry_after or 0.0)
            raise
        else:
            self._faster()
        finally:
            with self._changed:
                self._inside -= 1
                self._changed.notify()

    def _wait(self, tokens: int) -> None:
        """Wait while the endpoint wants no calls, and for the rate, one by one: a killed process leaves one slot."""
        if not (self.rates.rpm or self.rates.tpm):
            return self._hold()
        with self._pacing:
            while True:
                self._hold()
                at = slots().take(self.name, self.rates.rpm or math.inf, self.rates.tpm or math.inf, tokens)
                time.sleep(max(0.0, at - time.time()))
                if time.monotonic() >= self._not_before:
                    return None

    def _hold(self) -> None:
        while (wait := self._not_before - time.monotonic()) > 0:
            if wait > self.rates.total_timeout:
                raise Transient(f"the endpoint takes no calls for another {wait:.0f} s", retry_after=wait)
            time.sleep(wait)

    def _slower(self, retry_after: float) -> None:
        """Halve the calls at once, for one wave of refusals once, and hold all back where the endpoint says so."""
        with self._changed:
            now = time.monotonic()
            self._not_before = max(self._not_before, now + retry_after)
            if now - self._last_cut > 1.0:
                self._last_cut = now
                self._allowed = max(1.0, self._allowed / 2)

    def _faster(self) -> None:
        """Let one more in after every `allowed` answers, up to the cards' concurrency."""
        with self._changed:
            if self._allowed < self.rates.concurrency:
                self._allowed = min(self.rates.concurrency, self._allowed + 1 / self._allowed)
                self._changed.notify()


_gates: dict[str, Gate] = {}
_making = threading.Lock()


def gate(endpoint: str, model: str) -> Gate:
    """Return the gate of a model of an endpoint, one in a process."""
    with _making:
        name = f"{endpoint} {model}"
        return _gates.setdefault(name, Gate(name))


def _retry_delay(state: object) -> float:
    outcome = getattr(state, "outcome", None)
    error = outcome.exception() if outcome else None
    return getattr(error, "retry_after", None) or 0.0
