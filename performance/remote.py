"""
Remote judges against the bare SDKs, and against what the endpoint allows; and the verdict store.

A loopback server in a process of its own answers every call after 200 ms. Our judge and the bare SDK, called from a
thread pool, take turns over the same questions; medians over rounds. What is allowed is concurrency / 0.2 s. Then
20,000 samples that are in the store: how many a second, and how many calls (none).

    python performance/remote.py [--samples 2000] [--concurrency 64] [--rounds 3] [--stored 20000]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

DELAY = 0.2
ROOT = Path(__file__).parent.parent


@contextlib.contextmanager
def serving(delay: float) -> Iterator[str]:
    """Start the server of the tests in a process of its own and yield its URL."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "tests.server", str(port), "--delay", str(delay)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()


def calls_of(url: str) -> int:
    """Return how many calls the server has counted."""
    with urllib.request.urlopen(f"{url}/log") as answer:
        return len(json.load(answer))


def capacity(url: str, calls: int, threads: int) -> float:
    """Return the calls a second that the server answers when nothing but a socket asks it."""
    body = json.dumps({"model": "tiny-judge", "messages": [{"role": "user", "content": "x" * 1500}]}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    address = ("127.0.0.1", int(url.rpartition(":")[2]))

    def ask(count: int) -> None:
        with socket.create_connection(address) as connection:
            for _ in range(count):
                connection.sendall(head + body)
                connection.recv(65536)

    start = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(ask, [calls // threads] * threads))
    return calls // threads * threads / (time.perf_counter() - start)


@dataclass
class Contestant:
    """Something that answers questions, and what its rounds took."""

    run: Callable[[int, int], Any]
    rates: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def round(self, number: int, samples: int) -> None:
        """Run once and keep calls a second, and CPU milliseconds of this process per call."""
        start, cpu = time.perf_counter(), cpu_seconds()
        self.run(number, samples)
        self.rates.append(samples / (time.perf_counter() - start))
        self.cpu.append((cpu_seconds() - cpu) / samples * 1e3)


def cpu_seconds() -> float:
    """Return the user plus system time of this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def card_of(adapter: str, url: str, concurrency: int) -> dict[str, Any]:
    """Return the card of a judge that asks the server."""
    where = {"base_url": f"{url}/v1"} if adapter == "openai" else {"endpoint_url": url, "region": "us-east-1"}
    card = {"adapter": adapter, "model": "tiny-judge", "prompt": "judge/toxicity", "concurrency": concurrency}
    return {**card, **where, "price": {"input": 1.0, "output": 5.0}}


def bare(adapter: str, url: str, concurrency: int) -> Callable[[str], Any]:
    """Return a call of the SDK as its documentation shows it, with the same parameters as ours."""
    schema = {
        "type": "object",
        "properties": {"reason": {"type": "string"}, "rating": {"type": "number"}},
        "required": ["reason", "rating"],
        "additionalProperties": False,
    }
    if adapter == "openai":
        import openai

        client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
        wanted: Any = {"type": "json_schema", "json_schema": {"name": "verdict", "strict": True, "schema": schema}}
        return lambda text: client.chat.completions.create(
            model="tiny-judge",
            messages=[{"role": "user", "content": text}],
            max_completion_tokens=512,
            temperature=0.0,
            response_format=wanted,
        )
    import boto3
    from botocore.config import Config

    config = Config(max_pool_connections=concurrency, retries={"total_max_attempts": 1})
    bedrock = boto3.client("bedrock-runtime", region_name="us-east-1", endpoint_url=url, config=config)
    structure = {"jsonSchema": {"schema": json.dumps(schema), "name": "verdict"}}
    return lambda text: bedrock.converse(
        modelId="tiny-judge",
        messages=[{"role": "user", "content": [{"text": text}]}],
        inferenceConfig={"maxTokens": 512, "temperature": 0.0},
        outputConfig={"textFormat": {"type": "json_schema", "structure": structure}},
    )


def compare(adapter: str, samples: int, concurrency: int, rounds: int) -> None:
    """Let our judge and the bare SDK take turns, and print calls a second and CPU per call of both."""
    from rlaif import Sample, load_judge

    with serving(DELAY) as url:
        judge = load_judge(card_of(adapter, url, concurrency))
        ask = bare(adapter, url, concurrency)
        # Questions of the length that ours have, so that both send the same.
        question = (ROOT / "prompts/judge/toxicity.md").read_text() + "x" * 600

        def ours(number: int, samples: int) -> None:
            judgements = judge([Sample(f"text {number} {i}") for i in range(samples)])
            assert all(judgement.status == "ok" for judgement in judgements)

        def theirs(number: int, samples: int) -> None:
            with ThreadPoolExecutor(concurrency) as pool:
                list(pool.map(ask, [f"{question} {number} {i}" for i in range(samples)]))

        contestants = {"rlaif": Contestant(ours), "bare SDK": Contestant(theirs)}
        for number in range(rounds + 1):  # the first opens the connections
            for contestant in contestants.values():
                contestant.round(number, samples if number else 2 * concurrency)
        assert calls_of(url) == 2 * (rounds * samples + 2 * concurrency)
    allowed = concurrency / DELAY
    their_rate = statistics.median(contestants["bare SDK"].rates[1:])
    for name, contestant in contestants.items():
        rate, cpu = statistics.median(contestant.rates[1:]), statistics.median(contestant.cpu[1:])
        spread = f"{min(contestant.rates[1:]):.0f} to {max(contestant.rates[1:]):.0f}"
        print(
            f"{adapter:8} {name:9} {rate:6.1f} calls/s ({spread}), {rate / allowed:5.1%} of {allowed:.0f}/s, "
            f"{rate / their_rate:6.1%} of the bare SDK; {cpu:.2f} ms of CPU per call"
        )


def from_store(count: int, rounds: int) -> None:
    """Judge what is in the store by a judge that has just been made, and print samples a second and calls made."""
    from rlaif import Sample, load_judge

    samples = [Sample(f"stored text {i}") for i in range(count)]
    with serving(0.0) as url:
        card = card_of("openai", url, 64)
        start = time.perf_counter()
        load_judge(card)(samples)
        print(f"{count} samples asked and stored: {count / (time.perf_counter() - start):.0f}/s")
        before, rates = calls_of(url), []
        for _ in range(rounds):
            judge = load_judge(card)
            start = time.perf_counter()
            judgements = judge(samples)
            rates.append(count / (time.perf_counter() - start))
            assert all(judgement.usage.from_store for judgement in judgements)
        calls = calls_of(url) - before
    print(f"{count} samples from the store: {statistics.median(rates):.0f}/s, {calls} calls")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--stored", type=int, default=20_000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        os.environ.update(RLAIF_HOME=home, AWS_ACCESS_KEY_ID="none", AWS_SECRET_ACCESS_KEY="none")
        with serving(0.0) as url:
            print(f"the server answers {capacity(url, 4000, 8):.0f} calls/s when it does not wait")
        for adapter in ("openai", "bedrock"):
            compare(adapter, given.samples, given.concurrency, given.rounds)
        from_store(given.stored, given.rounds)


if __name__ == "__main__":
    main()
