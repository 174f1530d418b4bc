"""
What the package uses of other libraries without their promise: private names, and methods of TRL's that it overrides.

A release of TRL, transformers or torch may drop or change them without a word. Then a run fails late or, worse, an
override is never called. These tests say in one line which name it is.
"""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import fields
from importlib.metadata import version
from inspect import Parameter
from typing import Any

import pytest
import torch
import transformers
import trl

from rlaif.core.config.trainers import GroupConfig
from rlaif.training.trl import bridge
from rlaif.training.trl.bridge import TRLBridge
from rlaif.training.trl.settings import settings_of
from tests.test_architecture import FILES, is_private, is_self, private_names_of

TRAINERS = {"grpo": (trl.GRPOTrainer, trl.GRPOConfig), "rloo": (trl.RLOOTrainer, trl.RLOOConfig)}
BASES = [trainer for trainer, _ in TRAINERS.values()]
HERE = f"{TRLBridge.__module__}.{TRLBridge.__name__}"


# --- methods that are overridden ------------------------------------------------------------------------------


def misfits(ours: type, base: type) -> Iterator[str]:
    """Say which methods of `ours` do not override one of `base`, or are called by it in another way."""
    library = base.__module__.split(".")[0]
    at = f"{library} {version(library)}" if library in ("trl", "transformers") else library
    for name, method in vars(ours).items():
        if not inspect.isfunction(method) or name.startswith("__"):
            continue
        theirs = getattr(base, name, None)
        if theirs is None:
            yield f"{at} has no {base.__name__}.{name}, which {HERE} overrides"
            continue
        if why := unlike(method, theirs):
            yield f"{at}: {base.__name__}.{name}{inspect.signature(theirs)} {why}; {HERE} overrides it"
        count, unpacked = parts_of(method), parts_unpacked(base, name)
        if count is not None and unpacked - {count}:
            yield f"{at}: {base.__name__} takes {unpacked} values from {name}, and {HERE} returns {count}"


def unlike(ours: Callable[..., Any], theirs: Callable[..., Any]) -> str | None:
    """Say what calls of `theirs` there are that `ours` would not understand."""
    my, its = (list(inspect.signature(method).parameters.values())[1:] for method in (ours, theirs))
    kinds = {parameter.kind for parameter in my}
    mine = [p for p in my if p.kind is Parameter.POSITIONAL_OR_KEYWORD]
    given = [p for p in its if p.kind in (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)]
    for i, parameter in enumerate(mine):
        if i >= len(given):
            if parameter.default is Parameter.empty:
                return f"has no {parameter.name}"
        elif given[i].name != parameter.name:
            return f"has {given[i].name} where {parameter.name} was"
    for parameter in given[len(mine) :]:
        is_needed = parameter.default is Parameter.empty
        if Parameter.VAR_POSITIONAL not in kinds and (is_needed or Parameter.VAR_KEYWORD not in kinds):
            return f"has {parameter.name}, which is not known here"
    return None


def parts_of(method: Callable[..., Any]) -> int | None:
    """Return how many values a method returns by its annotation; None where that does not say."""
    annotation = ast.parse(str(inspect.get_annotations(method).get("return")), mode="eval").body
    if isinstance(annotation, ast.Subscript) and ast.unparse(annotation.value) == "tuple":
        return len(annotation.slice.elts) if isinstance(annotation.slice, ast.Tuple) else None
    return None


def parts_unpacked(base: type, name: str) -> set[int]:
    """Return how many values a class takes from its own method, at each place where it takes them apart."""
    found = set()
    for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(base)))):
        if not (isinstance(node, ast.Assign) and isinstance(node.value, ast.Call)):
            continue
        called, target = node.value.func, node.targets[0]
        if isinstance(called, ast.Attribute) and is_self(called.value) and called.attr == name:
            found.add(len(target.elts) if isinstance(target, ast.Tuple) else 1)
    return found


@pytest.mark.parametrize("base", BASES)
def test_every_method_of_ours_overrides_one_that_trl_has_and_calls_in_the_same_way(base: type) -> None:
    faults = list(misfits(TRLBridge, base))
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize(("base", "count"), [(trl.GRPOTrainer, 2), (trl.RLOOTrainer, 1)])
def test_trl_takes_completions_with_their_log_probabilities_for_grpo_and_alone_for_rloo(base: type, count: int) -> None:
    assert parts_unpacked(base, "_generate_single_turn") == {count}


def test_names_of_our_own_hide_none_of_trls() -> None:
    methods = {name for name, value in vars(TRLBridge).items() if inspect.isfunction(value)}
    own = {name for name in private_names_of(inspect.getsource(TRLBridge)) | {"owner"} if name not in methods}
    assert len(own) > 1
    for base in BASES:
        taken = {name for kind in base.__mro__[:-1] for name in re.findall(r"self\.(\w+)", inspect.getsource(kind))}
        clash = own & (taken | set(dir(base)))
        assert not clash, f"trl {version('trl')}: {base.__name__} has {clash} too, which {HERE} keeps for itself"


class Base:
    def kept(self, a, b=None): ...
    def _asked(self):
        _one, _two, _three = self._parts(1)

    def _parts(self, a): ...


@pytest.mark.parametrize(
    ("method", "said"),
    [
        ("def gone(self): ...", "has no Base.gone"),
        ("def kept(self, b, a=None): ...", "has a where b was"),
        ("def kept(self, a): ...", "has b, which is not known here"),
        ("def kept(self, a, b, c): ...", "has no c"),
        ("def _parts(self, a) -> tuple[int, int]: ...", "takes {3} values from _parts"),
    ],
)
def test_a_method_that_no_longer_fits_would_be_named(method: str, said: str) -> None:
    made: dict[str, Any] = {}
    exec(f"class Ours:\n    {method}", made)
    (fault,) = misfits(made["Ours"], Base)
    assert said in fault
    assert HERE in fault


@pytest.mark.parametrize(
    "method",
    ["def kept(self, a, b=None): ...", "def kept(self, *given): ...", "def kept(self, a, **more): ...",
     "def kept(self, a, b=None, c=None): ...", "def _parts(self, a) -> tuple[int, int, int]: ..."],
)  # fmt: skip
def test_a_method_that_takes_all_that_it_may_be_given_fits(method: str) -> None:
    made: dict[str, Any] = {}
    exec(f"class Ours:\n    {method}", made)
    assert list(misfits(made["Ours"], Base)) == []


# --- attributes and keys of TRL's -----------------------------------------------------------------------------


def attributes_used() -> set[str]:
    """Return what is read of the trainer that `TRLBridge` is mixed into, and what is set on it."""
    own = {*vars(TRLBridge), *private_names_of(inspect.getsource(TRLBridge)), "owner"}
    tree = ast.parse(inspect.getsource(bridge))
    (mixed_in,) = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == TRLBridge.__name__]
    (made,) = [node for node in tree.body if getattr(node, "name", "") == "trainer_of_trl"]
    read = {node.attr for node in ast.walk(mixed_in) if isinstance(node, ast.Attribute) and is_self(node.value)}
    of_made = [node for node in ast.walk(made) if isinstance(node, ast.Attribute)]
    return (read - own) | {node.attr for node in of_made if ast.unparse(node.value) == "trainer"}


@pytest.mark.parametrize("base", BASES)
def test_what_is_read_of_trls_trainer_is_there(base: type) -> None:
    used = attributes_used()
    assert used >= {"num_iterations", "beta", "ref_model", "control"}
    source = "".join(inspect.getsource(kind) for kind in base.__mro__[:-1])
    for name in sorted(used):
        there = hasattr(base, name) or re.search(rf"\bself\.{name}\b[^=\n]* = ", source)
        assert there, f"trl {version('trl')} has no {base.__name__}.{name}, which {bridge.__name__} uses"


@pytest.mark.parametrize(
    ("base", "key"),
    [(trl.GRPOTrainer, "completion_mask"), (trl.GRPOTrainer, "tool_mask"), (trl.GRPOTrainer, "num_items_in_batch"),
     *((base, "clip_ratio/region_mean") for base in BASES)],
)  # fmt: skip
def test_keys_that_are_read_and_written_between_trls_methods_are_known_to_it(base: type, key: str) -> None:
    assert f'["{key}"]' in inspect.getsource(base), f"trl {version('trl')}: {base.__name__} knows no {key!r}"


@pytest.mark.parametrize("algorithm", TRAINERS)
def test_every_setting_that_is_handed_over_is_one_of_trls(algorithm: str) -> None:
    config = TRAINERS[algorithm][1]
    known = {field.name for field in fields(config)}
    given = settings_of(GroupConfig(algorithm=algorithm), longest=8, steps=1)
    assert given.keys() <= known, f"trl {version('trl')}: {config.__name__} has no {sorted(given.keys() - known)}"
    assert {"steps_per_generation", "num_iterations"} <= known  # read back by what is overridden


# --- private names of other libraries -------------------------------------------------------------------------


def is_module(name: str) -> bool:
    return __import__(name, fromlist=["_"]).__name__ == name


def one_gpu() -> bool:
    settings = transformers.TrainingArguments(use_cpu=True)
    before = settings.n_gpu
    settings._n_gpu = 7
    return before != settings.n_gpu == 7


def auto_models() -> bool:
    llama = transformers.LlamaConfig
    causal, seq2seq = transformers.AutoModelForCausalLM, transformers.AutoModelForSeq2SeqLM
    return llama in causal._model_mapping and llama not in seq2seq._model_mapping


def remembers_attention() -> bool:
    config = transformers.LlamaConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, vocab_size=8)
    model = transformers.LlamaForCausalLM._from_config(config, attn_implementation="sdpa")
    return bool(model.config._attn_implementation == "sdpa")


def buffers_of_modules() -> bool:
    norm = torch.nn.BatchNorm1d(2)
    return set(norm._parameters) == {"weight", "bias"} and "running_mean" in norm._buffers


def numbers_of_storages() -> bool:
    one, other = torch.ones(2), torch.ones(2)
    at = one.untyped_storage()._cdata
    return at == one[:1].untyped_storage()._cdata != other.untyped_storage()._cdata


PRIVATE: dict[str, tuple[str, Callable[[], object]]] = {
    "_n_gpu": (
        "transformers: TrainingArguments._n_gpu, which sets how many GPUs one process uses",
        one_gpu,
    ),
    "_model_mapping": ("transformers: AutoModelFor...._model_mapping, the configs that generate text", auto_models),
    "_attn_implementation": ("transformers: config._attn_implementation", remembers_attention),
    "_is_amx_tile_supported": (
        "torch: torch.cpu._is_amx_tile_supported()",
        lambda: isinstance(torch.cpu._is_amx_tile_supported(), bool),
    ),
    "_parameters": ("torch: Module._parameters", buffers_of_modules),
    "_buffers": ("torch: Module._buffers", buffers_of_modules),
    "_cdata": ("torch: UntypedStorage._cdata, one number for one storage", numbers_of_storages),
    "_subclasses": ("torch: torch._subclasses.fake_tensor", lambda: is_module("torch._subclasses.fake_tensor")),
    "_python_dispatch": ("torch: torch.utils._python_dispatch", lambda: is_module("torch.utils._python_dispatch")),
    "_pytree": ("torch: torch.utils._pytree", lambda: is_module("torch.utils._pytree")),
}
"""Private names of other libraries that the package uses: what they are, and whether they are still that."""

STANDARD = {"_exit", "_fields", "_replace", "_asdict"}
"""Of Python's own library, and documented: `os._exit`, and methods of named tuples."""


@pytest.mark.parametrize("name", PRIVATE)
def test_a_private_name_of_another_library_is_still_what_it_was(name: str) -> None:
    what, holds = PRIVATE[name]
    library = what.split(":")[0]
    try:
        kept = holds()
    except (AttributeError, ImportError):
        kept = False
    assert kept, f"{library} {version(library)} no longer has what the package uses: {what.split(': ')[1]}"


def foreign_names_of(source: str) -> Iterator[tuple[int, str]]:
    """Yield line and name of each private attribute, import or `getattr` of a source."""
    for node in ast.walk(ast.parse(source)):
        names: list[str] = []
        if isinstance(node, ast.Attribute) and not is_self(node.value) and not is_super(node.value):
            names = [node.attr]
        elif isinstance(node, ast.ImportFrom):
            names = [*str(node.module).split("."), *(alias.name for alias in node.names)]
        elif isinstance(node, ast.Import):
            names = [part for alias in node.names for part in alias.name.split(".")]
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("getattr", "hasattr", "setattr"):
            names = [str(argument.value) for argument in node.args[1:2] if isinstance(argument, ast.Constant)]
        yield from ((node.lineno, name) for name in names if is_private(name))


def is_super(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and ast.unparse(node.func) == "super"


def test_every_private_name_of_another_library_is_looked_after_here() -> None:
    ours = {name for path in FILES for name in private_names_of(path.read_text())}
    unknown = [
        f"{path}:{line}: {name} is private to another library: say in PRIVATE what it is, and how to see that it holds"
        for path in FILES
        for line, name in foreign_names_of(path.read_text())
        if name not in ours | PRIVATE.keys() | STANDARD
    ]
    assert not unknown, "\n".join(unknown)


def test_a_new_private_name_of_another_library_would_be_found() -> None:
    source = "import torch._a\nfrom torch.b import _c\ntorch.d._e()\ngetattr(torch, '_f')\nself._g = super()._h()"
    assert {name for _, name in foreign_names_of(source)} == {"_a", "_c", "_e", "_f"}
