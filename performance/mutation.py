"""
Mutation testing: make small faults in the code, one at a time, and see whether a test fails.

The faults are those of cosmic-ray (`pip install cosmic-ray`), of each kind the customary ones, and a few that it does
not have: statements deleted, results that become None, arguments swapped, conditions of comprehensions negated.
String literals, annotations and imports for type checkers stay as they are. Every mutant runs in a fork of a process
that has loaded torch and scipy, with the tests that reach its line, up to the first that fails.

    python -m performance.mutation             # the mutants without a line in performance/results/mutation.jsonl, or
                                               # with one from before their function changed
    python -m performance.mutation --again     # and those that survived
    python -m performance.mutation rlaif/stats # of these files only

performance/results/mutation.md explains the mutants that survive.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import dataclasses
import hashlib
import importlib
import importlib.machinery
import importlib.util
import json
import math
import os
import resource
import select
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from types import CodeType, FrameType, FunctionType, ModuleType
from typing import Any

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "performance" / "results" / "mutation.jsonl"

SIMULATIONS = "planted or two_equal_judges or hold_the_truth or holds_the_truth or copies or memory"
STATISTICS = ["tests/stats", "tests/benchmark/test_metrics.py", "-k", f"not ({SIMULATIONS})"]
"""Without what takes seconds: a fault that only a simulation notices counts as one that nothing notices."""

TARGETS = {
    "rlaif/training/ppo/formulas.py": ["tests/training/test_formulas.py"],
    "rlaif/training/ppo/credit.py": ["tests/training/test_credit.py"],
    "rlaif/judges/panel.py": ["tests/judges/test_panel.py"],
    **{str(path.relative_to(ROOT)): STATISTICS for path in sorted((ROOT / "rlaif" / "stats").glob("[!_]*.py"))},
    "rlaif/judges/llm/verdict.py": ["tests/judges/test_llm.py"],
    "rlaif/judges/llm/thoughts.py": ["tests/judges/test_llm.py"],
}
"""The files that are mutated, and the tests of each."""

OPERATORS = [
    *(f"ReplaceBinaryOperator_{pair}" for pair in (
        "Add_Sub", "Sub_Add", "Mul_Div", "Div_Mul", "FloorDiv_Mul", "Mod_Mul", "Pow_Mul", "RShift_LShift",
        "BitAnd_BitOr", "BitOr_BitAnd",
    )),
    *(f"ReplaceComparisonOperator_{pair}" for pair in (
        "Lt_LtE", "Lt_GtE", "LtE_Lt", "LtE_Gt", "Gt_GtE", "Gt_LtE", "GtE_Gt", "GtE_Lt", "Eq_NotEq", "NotEq_Eq",
        "Is_IsNot", "IsNot_Is",
    )),
    *(f"ReplaceUnaryOperator_Delete_{name}" for name in ("USub", "Invert", "Not")),
    "AddNot", "ReplaceTrueWithFalse", "ReplaceFalseWithTrue", "ReplaceAndWithOr", "ReplaceOrWithAnd",
    "ReplaceBreakWithContinue", "ReplaceContinueWithBreak", "ExceptionReplacer", "NumberReplacer", "RemoveDecorator",
    "ZeroIterationForLoop",
]  # fmt: skip
"""Those of cosmic-ray: of its 11 replacements of `+` and 7 of `<` the ones that a programmer could have meant."""

MEMORY = 12 * 2**30
"""Bytes of address space that a mutant may take."""


@dataclasses.dataclass(frozen=True)
class Mutant:
    """
    A file with one fault in it.

    Args:
        file: which.
        code: a hash of the function around the fault, so that a result is dropped when the function changes.
        line: of the fault.
        operator: that made it.
        before: the lines without the fault.
        after: and with it.
        source: the whole file with it.

    """

    file: str
    code: str
    line: int
    operator: str
    before: str
    after: str
    source: str = dataclasses.field(repr=False)

    @property
    def key(self) -> tuple[str, ...]:
        """What stays the same while other functions of the file change."""
        return self.file, self.code, self.operator, self.before, self.after


# --- operators that cosmic-ray does not have --------------------------------------------------------------------


def _leaf(node: Any, text: str) -> Any:
    """Stand in for a node of parso by its text."""
    from parso.python.tree import Name

    return Name(text, node.start_pos, node.get_first_leaf().prefix)


class DeleteStatement:
    """Put `pass` for a statement of a function; a `return` at its end is left to `ReturnNone`."""

    def mutation_positions(self, node: Any) -> Iterator[tuple[Any, Any]]:
        """Yield where it acts."""
        if node.type != "simple_stmt" or node.search_ancestor("funcdef") is None:
            return
        kind = node.children[0].type
        is_docstring = kind in ("string", "strings", "fstring")
        is_last_return = (
            kind == "return_stmt" and node.parent.parent.type == "funcdef" and node is node.parent.children[-1]
        )
        if not is_docstring and not is_last_return and "import" not in kind and kind != "keyword":
            yield node.start_pos, node.end_pos

    def mutate(self, node: Any, _: int) -> Any:
        """Return what stands there instead."""
        return _leaf(node, "pass\n")


class ReturnNone:
    """Return None."""

    def mutation_positions(self, node: Any) -> Iterator[tuple[Any, Any]]:
        """Yield where it acts."""
        if node.type == "return_stmt" and len(node.children) > 1 and node.children[1].get_code().strip() != "None":
            yield node.start_pos, node.end_pos

    def mutate(self, node: Any, _: int) -> Any:
        """Return what stands there instead."""
        return _leaf(node, "return None")


class SwapArguments:
    """Swap two neighbours among the positional arguments of a call, unless their order means nothing."""

    SYMMETRIC = ("min", "max", "maximum", "isclose", "array_equal")

    def mutation_positions(self, node: Any) -> Iterator[tuple[Any, Any]]:
        """Yield where it acts."""
        for first, _ in self._neighbours(node):
            yield first.start_pos, first.end_pos

    def mutate(self, node: Any, index: int) -> Any:
        """Return what stands there instead."""
        first, second = self._neighbours(node)[index]
        one, other = (_leaf(a, b.get_code(include_prefix=False)) for a, b in ((first, second), (second, first)))
        node.children = [one if child is first else other if child is second else child for child in node.children]
        return node

    @staticmethod
    def _neighbours(node: Any) -> list[tuple[Any, Any]]:
        if node.type != "arglist" or node.parent.type != "trailer":
            return []
        if node.parent.get_previous_leaf().value in SwapArguments.SYMMETRIC:
            return []
        pairs = zip(node.children[::2], node.children[2::2], strict=False)
        return [(a, b) for a, b in pairs if "argument" not in (a.type, b.type) and a.get_code() != b.get_code()]


class NegateCondition:
    """Negate the condition of a comprehension."""

    def mutation_positions(self, node: Any) -> Iterator[tuple[Any, Any]]:
        """Yield where it acts."""
        if node.type == "comp_if":
            yield node.children[1].start_pos, node.children[1].end_pos

    def mutate(self, node: Any, _: int) -> Any:
        """Return what stands there instead."""
        condition = node.children[1]
        node.children[1] = _leaf(condition, f"not ({condition.get_code(include_prefix=False)})")
        return node


class ReplaceInWithNotIn:
    """Ask whether something is not in there."""

    def mutation_positions(self, node: Any) -> Iterator[tuple[Any, Any]]:
        """Yield where it acts."""
        if node.type == "keyword" and node.value == "in" and node.parent.type == "comparison":
            yield node.start_pos, node.end_pos

    def mutate(self, node: Any, _: int) -> Any:
        """Return what stands there instead."""
        return _leaf(node, "not in")


def operators() -> dict[str, Any]:
    """Return all operators by name."""
    from cosmic_ray.plugins import get_operator

    own = (DeleteStatement, ReturnNone, SwapArguments, NegateCondition, ReplaceInWithNotIn)
    return {name: get_operator(f"core/{name}")() for name in OPERATORS} | {each.__name__: each() for each in own}


# --- the mutants of a file --------------------------------------------------------------------------------------

Span = tuple[tuple[int, int], tuple[int, int]]


def _span(node: Any) -> Span:
    return (node.lineno, node.col_offset), (node.end_lineno, node.end_col_offset)


def left_out(tree: ast.Module) -> list[Span]:
    """Return where no fault is made: in f-strings, annotations, type aliases, and what only type checkers read."""
    spans = []
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            spans.append(_span(node))
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            spans.append(_span(node))
        for field in ("annotation", "returns"):
            if getattr(node, field, None) is not None:
                spans.append(_span(getattr(node, field)))
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Subscript):
            spans.append(_span(node))
    return spans


def mutants_of(file: str) -> Iterator[Mutant]:
    """Yield the mutants of a file that compile, each once."""
    from cosmic_ray.ast import get_ast

    source = (ROOT / file).read_text()
    parsed = ast.parse(source)
    spans = left_out(parsed)
    tree = get_ast(source)
    nodes = list(_walk(tree))
    seen = {source}
    for name, operator in operators().items():
        for node in nodes:
            for index, (start, _) in enumerate(list(operator.mutation_positions(node))):
                in_signature = tree.get_leaf_for_position(start).parent.type in ("parameters", "param")
                if any(first <= start < last for first, last in spans) or (in_signature and "Binary" in name):
                    continue  # a bare * is no product
                mutated = _mutate(tree, node, operator, index)
                if mutated in seen:
                    continue
                seen.add(mutated)
                with contextlib.suppress(SyntaxError):
                    compile(mutated, file, "exec")
                    line, before, after = _changed_lines(source, mutated)
                    yield Mutant(file, hash_function(parsed, line), line, name, before, after, mutated)


def _mutate(tree: Any, node: Any, operator: Any, index: int) -> str:
    """Return the source with a fault in one node, and leave the tree as it was: to parse it anew takes long."""
    kept = [(each, list(getattr(each, "children", ())), getattr(each, "value", None)) for each in _walk(node)]
    siblings = node.parent.children if node.parent else []
    place = [i for i, each in enumerate(siblings) if each is node]
    new = operator.mutate(node, index)
    if new is not node:
        siblings[place[0] : place[0] + 1] = [new] if new is not None else []
    code: str = tree.get_code()
    if new is not node:
        siblings[place[0] : place[0] + (new is not None)] = [node]
    for each, children, value in kept:
        if children:
            each.children = children
        else:
            each.value = value
    return code


def _walk(node: Any) -> Iterator[Any]:
    """Yield nodes in the order in which cosmic-ray visits them."""
    yield node
    for child in getattr(node, "children", ()):
        yield from _walk(child)


def _changed_lines(source: str, mutated: str) -> tuple[int, str, str]:
    """Return the number of the first line that differs, and the lines before and after."""
    old, new = source.splitlines(), mutated.splitlines()
    start = next(i for i, (a, b) in enumerate(zip(old, new, strict=False)) if a != b)
    while not old[start].strip():  # which a decorator that is removed takes with it
        start += 1
    tail = 0
    while tail < min(len(old), len(new)) - start and old[-1 - tail] == new[-1 - tail]:
        tail += 1
    before, after = (" ".join(line.strip() for line in lines[start : len(lines) - tail]) for lines in (old, new))
    return start + 1, before, after


# --- which tests reach which line ---------------------------------------------------------------------------------


def hash_function(tree: ast.Module, line: int) -> str:
    """Return a hash of the outermost function around a line, or of the module's statement, without docstrings."""
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]  # outer ones first
    found = next(node for node in (*functions, *tree.body) if _first_line(node) <= line <= (node.end_lineno or 0))
    (copied,) = ast.parse(ast.unparse(found)).body
    for node in ast.walk(copied):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node) is not None:
            node.body[0] = ast.Pass()
    return hashlib.blake2b(ast.unparse(copied).encode(), digest_size=6).hexdigest()


def _first_line(node: ast.stmt) -> int:
    decorators: list[ast.expr] = getattr(node, "decorator_list", [])
    return min([node.lineno, *(each.lineno for each in decorators)])


def enclosing_lines(source: str, line: int) -> set[int] | None:
    """Return the lines of the statement around a line; None where it is no statement of a function's body."""
    inside: ast.stmt | None = None
    function: ast.FunctionDef | None = None
    for node in ast.walk(ast.parse(source)):  # outer ones first
        if isinstance(node, ast.stmt) and _first_line(node) <= line <= (node.end_lineno or 0):
            inside = node
            function = node if isinstance(node, ast.FunctionDef) else function
    if inside is None or function is None or inside is function:
        return None
    body = getattr(inside, "body", None)
    last = body[0].lineno - 1 if body else (inside.end_lineno or inside.lineno)
    return set(range(inside.lineno, max(last, inside.lineno) + 1))


class Recorder:
    """A plugin of pytest: how long each test takes, which lines of some files it runs, and the first one that fails."""

    def __init__(self, traced: Sequence[str] = ()) -> None:
        self.traced = {str(ROOT / file): file for file in traced}
        self.seconds: dict[str, float] = {}
        self.lines: dict[str, list[tuple[str, int]]] = {}
        self.failed: str | None = None
        self._hit: set[tuple[str, int]] = set()

    def pytest_runtest_setup(self, item: Any) -> None:
        """Start to trace."""
        self._hit = set()
        if self.traced:
            threading.settrace(self._trace)
            sys.settrace(self._trace)

    def _trace(self, frame: FrameType, event: str, _: Any) -> Callable[..., Any] | None:
        return self._record if frame.f_code.co_filename in self.traced else None

    def _record(self, frame: FrameType, event: str, _: Any) -> Callable[..., Any]:
        self._hit.add((self.traced[frame.f_code.co_filename], frame.f_lineno))
        return self._record

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Take down what happened."""
        self.seconds[report.nodeid] = self.seconds.get(report.nodeid, 0.0) + report.duration
        if report.failed and self.failed is None:
            self.failed = report.nodeid
        if report.when == "call":
            sys.settrace(None)
            threading.settrace(None)
            self.lines[report.nodeid] = sorted(self._hit)

    def pytest_collectreport(self, report: Any) -> None:
        """Take down that a file of tests could not be imported."""
        if report.failed and self.failed is None:
            self.failed = "import"


# --- processes ----------------------------------------------------------------------------------------------------


def in_fork(call: Callable[[], Any], timeout: float) -> Any:
    """Return what a function returns in a fork of this process, "timeout", or None where the process dies."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.setpgid(0, 0)
        silent = os.open(os.devnull, os.O_RDWR)
        for number in (0, 1, 2):
            os.dup2(silent, number)
        try:
            with os.fdopen(writing, "wb") as pipe:
                pipe.write(json.dumps(call()).encode())
        finally:
            os._exit(0)
    os.close(writing)
    parts, until = [b""], time.monotonic() + timeout
    with os.fdopen(reading, "rb") as pipe:
        while ready := select.select([pipe], [], [], min(1e6, max(0.0, until - time.monotonic())))[0]:
            parts.append(os.read(pipe.fileno(), 2**16))
            if not parts[-1]:
                break
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    if not ready:
        return "timeout"
    return json.loads(text) if (text := b"".join(parts)) else None


def run_pytest(tests: Sequence[str], *plugins: object) -> str | None:
    """Run tests in this process, and say what is wrong if they cannot run or one fails."""
    import pytest
    from hypothesis import Phase, settings

    phases = (Phase.explicit, Phase.generate)
    settings.register_profile("mutation", derandomize=True, database=None, deadline=None, phases=phases)
    settings.load_profile("mutation")
    options = ["-p", "no:cacheprovider", "-p", "no:xdist", "--tb=no", "--maxfail=1"]
    try:
        status: int | str = int(pytest.main([*options, *tests], plugins=list(plugins)))
    except BaseException as error:  # noqa: BLE001 - whatever a mutant raises, it is noticed
        status = type(error).__name__
    return None if status == 0 else f"pytest: {status}"


class Mutated(importlib.machinery.SourceFileLoader):
    """Loads one module from another source than its file."""

    def __init__(self, file: str, source: str) -> None:
        super().__init__(module_name(file), str(ROOT / file))
        self.source = source

    def find_spec(self, name: str, path: Any = None, target: ModuleType | None = None) -> Any:
        """Answer for that module only."""
        return importlib.util.spec_from_file_location(name, self.path, loader=self) if name == self.name else None

    def get_code(self, fullname: str) -> CodeType:
        """Compile the other source, and leave no cache of it."""
        return compile(self.source, self.path, "exec", dont_inherit=True)


def module_name(file: str) -> str:
    """Return the name under which a file is imported."""
    return file.removesuffix(".py").replace("/", ".")


def run_imported(mutant: Mutant, tests: Sequence[str]) -> str | None:
    """Run tests on a mutant that is imported anew, in this process, which has not imported the package yet."""
    sys.meta_path.insert(0, Mutated(mutant.file, mutant.source))
    recorder = Recorder()
    failed = run_pytest(tests, recorder)
    return recorder.failed or failed


def swap_code(mutant: Mutant) -> None:
    """Put the code of a mutant's functions into those of the module, which others may have imported by name."""

    def codes(code: CodeType) -> Iterator[CodeType]:
        for constant in code.co_consts:
            if isinstance(constant, CodeType):
                yield constant
                yield from codes(constant)

    new = {each.co_qualname: each for each in codes(compile(mutant.source, str(ROOT / mutant.file), "exec"))}
    module = sys.modules[module_name(mutant.file)]
    own = [each for each in vars(module).values() if getattr(each, "__module__", None) == module.__name__]
    members = [member for each in own if isinstance(each, type) for member in vars(each).values()]
    for member in [*own, *members]:
        function = getattr(member, "fget", None) or getattr(member, "__wrapped__", None) or member
        if isinstance(function, FunctionType) and function.__code__.co_qualname in new:
            function.__code__ = new[function.__code__.co_qualname]


# --- the tests of a file ------------------------------------------------------------------------------------------


class Tests:
    """A plugin of pytest that runs tests on mutants: which of them reach a line, and which find faults first."""

    def __init__(self, mutants: Sequence[Mutant]) -> None:
        self.mutants = mutants
        self.sources = {mutant.file: (ROOT / mutant.file).read_text() for mutant in mutants}
        self.seconds: dict[str, float] = {}
        self.lines: dict[str, set[tuple[str, int]]] = {}
        self.kills: Counter[tuple[bool, str | None]] = Counter()
        """How many faults a test found first: of those at import, and of those in functions."""

    def pytest_runtestloop(self, session: Any) -> bool:
        """Run all tests once to see which lines they run, then those of each mutant whose fault is in a function."""
        self.items = {item.nodeid: item for item in session.items}
        found = in_fork(lambda: self._run(list(self.items), traced=list(self.sources)), 900)
        if not isinstance(found, dict) or found["failed"]:
            raise SystemExit(f"the tests fail without a fault: {found}")
        self.seconds = found["seconds"]
        self.lines = {test: {(file, line) for file, line in hit} for test, hit in found["lines"].items()}
        for mutant in self.mutants:
            if enclosing_lines(self.sources[mutant.file], mutant.line) is not None:
                self.try_out(mutant, partial(self._run_swapped, mutant))
        return True

    def _run(self, tests: Sequence[str], traced: Sequence[str] = ()) -> dict[str, Any]:
        """Run tests in this process up to the first that fails."""
        items = [self.items[test] for test in tests]
        recorder = Recorder(traced)
        items[0].config.pluginmanager.register(recorder)
        for item, following in zip(items, [*items[1:], None], strict=True):
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            if recorder.failed:
                break
        return {"failed": recorder.failed, "seconds": recorder.seconds, "lines": recorder.lines}

    def _run_swapped(self, mutant: Mutant, tests: Sequence[str]) -> str | None:
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        swap_code(mutant)
        failed: str | None = self._run(tests)["failed"]
        return failed

    def try_out(self, mutant: Mutant, run: Callable[[Sequence[str]], str | None]) -> None:
        """
        Run tests in a fork, and write the line of results of a mutant.

        The tests are those that reach its line. A line of the module runs before any test: all tests may notice it.
        """
        lines = enclosing_lines(self.sources[mutant.file], mutant.line)
        wanted = {(mutant.file, line) for line in lines or ()}
        tests = [test for test, hit in self.lines.items() if lines is None or hit & wanted]
        tests.sort(key=lambda test: self.seconds[test] / (1 + self.kills[lines is None, test]))
        record = {name: getattr(mutant, name) for name in ("file", "code", "line", "operator", "before", "after")}
        failed = in_fork(lambda: [run(tests)], 20 + 5 * sum(self.seconds[test] for test in tests)) if tests else [None]
        by = failed[0] if isinstance(failed, list) else failed or "the process died"
        outcome = "survived" if by is None else "timeout" if by == "timeout" else "killed"
        self.kills[lines is None, by] += 1
        with RESULTS.open("a") as out:
            out.write(json.dumps({**record, "outcome": outcome, "by": by}) + "\n")


# --- the run ------------------------------------------------------------------------------------------------------


def read_results() -> list[dict[str, Any]]:
    """Return the lines of results that there are."""
    return [json.loads(line) for line in RESULTS.read_text().splitlines()] if RESULTS.exists() else []


def write_results(records: Sequence[dict[str, Any]]) -> None:
    """Write all lines of results."""
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text("".join(json.dumps(record) + "\n" for record in records))


def without_result(file: str, again: bool) -> list[Mutant]:
    """Return the mutants of a file that have no result yet, and forget results of what is no mutant any more."""
    mutants = list(mutants_of(file))
    wanted = Counter(mutant.key for mutant in mutants)
    kept = []
    for record in read_results():
        key = tuple(record[name] for name in ("file", "code", "operator", "before", "after"))
        if record["file"] != file:
            kept.append(record)
        elif wanted[key] and not (again and record["outcome"] == "survived"):
            wanted[key] -= 1
            kept.append(record)
    write_results(kept)
    found = []
    for mutant in reversed(mutants):
        if wanted[mutant.key]:
            wanted[mutant.key] -= 1
            found.append(mutant)
    return found[::-1]


def try_out_all(mutants: Sequence[Mutant], arguments: Sequence[str]) -> None:
    """Try out mutants that share their tests: in a process that has imported these, then the others."""
    tests = Tests(mutants)

    def run() -> list[Any]:
        failed = run_pytest(arguments, tests)
        return [failed, tests.seconds, {test: [*hit] for test, hit in tests.lines.items()}]

    answer = in_fork(run, math.inf)
    if answer is None or answer[0]:
        raise SystemExit(f"the tests cannot run: {answer and answer[0]}")
    tests.seconds = answer[1]
    tests.lines = {test: {(file, line) for file, line in hit} for test, hit in answer[2].items()}
    for mutant in mutants:
        if enclosing_lines(tests.sources[mutant.file], mutant.line) is None:
            tests.try_out(mutant, partial(run_imported, mutant))


def main() -> None:
    """Run, and print how many survive."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="*", default=["rlaif"], help="files or folders; all by default")
    parser.add_argument("--again", action="store_true", help="also try those that survived")
    options = parser.parse_args()
    os.chdir(ROOT)
    os.environ.update(HF_HUB_OFFLINE="1", OMP_NUM_THREADS="1")
    for name in ("hypothesis", "scipy.stats", "sklearn.metrics"):  # are loaded once, for all forks
        importlib.import_module(name)

    groups: dict[tuple[str, ...], list[Mutant]] = {}
    for file, tests in TARGETS.items():
        if any(file == path or file.startswith(f"{path.rstrip('/')}/") for path in options.paths):
            groups.setdefault(tuple(tests), []).extend(without_result(file, options.again))
    for arguments, mutants in groups.items():
        if mutants:
            try_out_all(mutants, arguments)
    records = read_results()
    survived = [record for record in records if record["outcome"] == "survived"]
    for record in survived:
        print(f"{record['file']}:{record['line']} {record['operator']}: {record['before']}  ->  {record['after']}")
    print(f"{len(survived)} of {len(records)} survive")


if __name__ == "__main__":
    main()
