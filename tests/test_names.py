"""
Names: a function is a verb phrase or a noun of what it returns, and a class name has one meaning.

`told` or `of_rows` say neither what is done nor what comes of it; a reader has to open the function to find out.
"""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from tests.conftest import ROOT

# "cut", "split" and the like are left out: they are also the verb itself.
IRREGULAR = """
    begun bent bound bought broken brought built caught chosen dealt done drawn driven fallen felt
    forgotten fought found frozen given gone got grown heard held hidden hung kept known laid led
    left lent lit lost made meant met paid proven raised ridden risen said seen sent shown slept
    slid sold sought spent spoken spun stolen stood struck stuck sung sworn taken taught thought
    thrown told torn understood woken won worn woven written wrung
"""
PREPOSITIONS = """
    about above across after against along among around as at before behind below beside beneath
    between beyond by during for from in inside into like near of off on onto out outside over past
    per since through till toward towards under until up upon via with within without
"""
NO_PARTICIPLES = frozenset(("embed", "feed", "need", "proceed", "red", "seed", "speed", "string", "thing", "ping"))

EXCEPTIONS = {
    # names of the field, and of the libraries whose classes these are
    "Callback.on_begin": "an event, as in TrainerCallback of transformers",
    "Callback.on_end": "an event",
    "Callback.on_step": "an event",
    "Guard.on_begin": "an event",
    "Guard.on_end": "an event",
    "Guard.on_step": "an event",
    "Owner.on_update": "an event",
    "GroupTrainer.on_update": "an event",
    "Spending.on_begin": "an event",
    "Spending.on_step": "an event",
    "TRLBridge.training_step": "overrides transformers.Trainer.training_step",
    "Policy.learning_mode": "a context, as torch.inference_mode",
    "Record.from_json": "another constructor, as from_pretrained",
    "JudgementRecord.from_judgement": "another constructor",
    "UsageRecord.from_usage": "another constructor",
    "ScoredRows.from_rows": "another constructor",
    "as_reward_func": "public since 0.1.0",
    "Card.missing": "public: cards of other packages override it",
    "BedrockKeys.missing": "overrides Card.missing",
    "ClassifierCard.missing": "overrides Card.missing",
    "OpenAIKeys.missing": "overrides Card.missing",
    # nouns whose first word describes the second
    "expected_best": "an expectation",
    "explained_variance": "the statistic of that name",
    "masked_mean": "a mean, masked",
    "masked_moments": "moments, masked",
    "paired_change": "a change, of pairs",
    "ranking_table": "a table",
    "shipped_folder": "a folder",
    "unjudged_advantages": "advantages, of what nobody judged",
    "whitening_factor": "the factor of whitening",
}


def functions(node: ast.AST, owner: str = "") -> Iterator[str]:
    """Names of all functions but properties and special methods, those of a class after its name."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            decorators = {ast.unparse(decorator) for decorator in child.decorator_list}
            is_property = any("property" in name or name.endswith(".setter") for name in decorators)
            if not is_property and not re.fullmatch(r"__\w+__", child.name):
                yield owner + child.name
            yield from functions(child)
        else:
            yield from functions(child, f"{child.name}." if isinstance(child, ast.ClassDef) else owner)


def is_bare(name: str) -> bool:
    """Whether a name begins with a participle or a preposition."""
    first = name.rpartition(".")[2].strip("_").partition("_")[0]
    return first not in NO_PARTICIPLES and (
        first in IRREGULAR.split() or first in PREPOSITIONS.split() or re.fullmatch(r"\w+(ed|ing)", first) is not None
    )


def trees() -> Iterator[tuple[Path, ast.Module]]:
    for path in sorted((ROOT / "rlaif").rglob("*.py")):
        yield path.relative_to(ROOT), ast.parse(path.read_text())


def test_what_is_a_bare_participle_or_preposition() -> None:
    bare = ("told", "_kept", "Scored.of", "by_group", "of_rows", "persevering", "judged_in_chunks", "with_adapter")
    assert [is_bare(name) for name in bare] == [True] * len(bare)
    fine = ("write_numbers", "step_metrics", "call_judge", "seed_of", "needs_key", "feed", "embed", "string_of", "text")
    assert [is_bare(name) for name in fine] == [False] * len(fine)
    source = "class A:\n def told(self):\n  def of(x): ...\n @property\n def kept(self): ...\n def __call__(self): ..."
    assert list(functions(ast.parse(source))) == ["A.told", "of"]


def test_no_function_is_named_by_a_bare_participle_or_preposition() -> None:
    found = {name: path for path, tree in trees() for name in functions(tree) if is_bare(name)}
    assert {name: str(path) for name, path in found.items() if name not in EXCEPTIONS} == {}
    assert EXCEPTIONS.keys() <= found.keys(), "an exception that is needed no more"


def test_no_two_classes_have_one_name() -> None:
    places = defaultdict(list)
    for path, tree in trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(str(path))
    assert {name: paths for name, paths in places.items() if len(paths) > 1} == {}
