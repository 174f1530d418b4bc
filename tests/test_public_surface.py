"""
What people rely on stays as it is: public names, their parameters and fields, the keys of a run file, the commands.

Kept in tests/snapshots/. `RENEW=1 pytest tests/test_public_surface.py` renews them on purpose.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_type_hints

import click
import pytest

import rlaif
from rlaif.cli.main import rlaif as command
from rlaif.core.config.run import RunConfig
from tests.kept import check_text

SNAPSHOTS = Path(__file__).parent / "snapshots"

KINDS = {
    inspect.Parameter.POSITIONAL_ONLY: "positional ",
    inspect.Parameter.POSITIONAL_OR_KEYWORD: "",
    inspect.Parameter.VAR_POSITIONAL: "*",
    inspect.Parameter.KEYWORD_ONLY: "keyword ",
    inspect.Parameter.VAR_KEYWORD: "**",
}


METHODS = ("__call__", "train", "save_model", "save_checkpoint", "stop")
"""Of public classes, those that users call; what else trainers have is between them and their parts."""


def test_public_names_keep_their_parameters_and_fields():
    check_text(SNAPSHOTS / "api.txt", "\n".join(line for name in rlaif.__all__ for line in lines_of(name)) + "\n")


def test_a_run_file_keeps_its_keys_and_defaults():
    check_text(SNAPSHOTS / "run_file.txt", "\n".join(keys_of(RunConfig, "")) + "\n")


def test_commands_keep_their_arguments_and_options():
    lines = [line for name, made in sorted(command.commands.items()) for line in options_of(name, made)]
    check_text(SNAPSHOTS / "commands.txt", "\n".join(lines) + "\n")


def lines_of(name: str) -> Iterator[str]:
    """Describe a public name: a line for it, and one for each parameter, field or method."""
    thing = getattr(rlaif, name)
    if isinstance(thing, str):
        yield f"{name}: text"  # the version, which changes
    elif values := get_args(thing):
        yield f"{name}: {', '.join(map(repr, values))}"
    elif inspect.isclass(thing):
        above = [base.__name__ for base in thing.__mro__[1:] if base.__name__ in rlaif.__all__]
        yield f"class {name}" + (f", a {', a '.join(above)}" if above else "")
        yield from (f"  {line}" for line in of_class(thing))
    else:
        yield f"function {name}"
        yield from (f"  {line}" for line in parameters_of(thing))


def of_class(cls: type) -> Iterator[str]:
    if getattr(cls, "_is_protocol", False):
        yield from (f"attribute {name}" for name in get_type_hints(cls))
    elif dataclasses.is_dataclass(cls):
        for field in dataclasses.fields(cls):
            yield f"{'keyword ' if field.kw_only else ''}{field.name} = {default_of(field)}"
    elif not issubclass(cls, BaseException):
        yield from parameters_of(cls)
    for name in METHODS:
        if inspect.isfunction(member := getattr(cls, name, None)):
            yield f"method {name}"
            yield from (f"  {line}" for line in list(parameters_of(member))[1:])
    for name, member in inspect.getmembers(cls):
        if isinstance(member, property) and dataclasses.is_dataclass(cls):
            yield f"property {name}"


def parameters_of(function: Any) -> Iterator[str]:
    for parameter in inspect.signature(function).parameters.values():
        default = "" if parameter.default is inspect.Parameter.empty else f" = {parameter.default!r}"
        yield f"{KINDS[parameter.kind]}{parameter.name}{default}"


def default_of(field: dataclasses.Field[Any]) -> str:
    if field.default is not dataclasses.MISSING:
        return repr(field.default)
    return "(needed)" if field.default_factory is dataclasses.MISSING else repr(field.default_factory())


def keys_of(cls: type, before: str) -> Iterator[str]:
    hints = get_type_hints(cls)
    for field in dataclasses.fields(cls):
        kinds = [kind for kind in (hints[field.name], *get_args(hints[field.name])) if dataclasses.is_dataclass(kind)]
        if not kinds or kinds[0] is not hints[field.name]:  # a section that may be left out has a default of its own
            yield f"{before}{field.name} = {default_of(field)}"
        for kind in kinds:
            yield from keys_of(kind, f"{before}{field.name}.")


def options_of(name: str, made: click.Command) -> Iterator[str]:
    yield f"rlaif {name}"
    for option in made.params:
        facts = [option.type.name]
        facts += [word for word in ("required", "multiple") if getattr(option, word)]
        facts += [f"nargs {option.nargs}"] if option.nargs != 1 else []
        facts += ["a flag"] if getattr(option, "is_flag", False) else []
        default = option.to_info_dict()["default"]
        facts += [f"default {default!r}"] if default is not None and default is not False and default != () else []
        names = option.name.upper() if isinstance(option, click.Argument) else " ".join(option.opts)
        yield f"  {names} ({', '.join(facts)})"


@pytest.mark.parametrize(
    ("changed", "same"),
    [("def f(a, *, b=1): ...", True), ("def f(a, b=1): ...", False), ("def f(a, *, b=2): ...", False),
     ("def f(*, b=1, a): ...", False), ("def f(a, *, c=1): ...", False)],
)  # fmt: skip
def test_a_kind_a_default_and_a_name_are_part_of_a_signature(changed, same):
    made: dict[str, Any] = {}
    exec("def g(a, *, b=1): ...\n" + changed, made)
    assert (list(parameters_of(made["g"])) == list(parameters_of(made["f"]))) == same
