"""Dataclasses with several bases: which base comes first decides whose default a field has."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import pkgutil

import rlaif


def dataclasses_of_the_package():
    for module in pkgutil.walk_packages(rlaif.__path__, "rlaif."):
        if not module.name.endswith("__main__"):
            for kind in vars(importlib.import_module(module.name)).values():
                if inspect.isclass(kind) and dataclasses.is_dataclass(kind) and kind.__module__ == module.name:
                    yield kind


def overwritten(kind):
    """Fields whose default is not that of the nearest class, in the order of lookup, that states the field."""
    for field in dataclasses.fields(kind):
        owner = next(base for base in kind.__mro__ if field.name in vars(base).get("__annotations__", {}))
        stated = {stated.name: stated for stated in dataclasses.fields(owner)}[field.name]
        if (field.default, field.default_factory) != (stated.default, stated.default_factory):
            yield f"{kind.__name__}.{field.name}: {field.default!r}, where {owner.__name__} says {stated.default!r}"


def test_no_field_gets_the_default_of_a_class_that_is_further_away():
    kinds = list(dataclasses_of_the_package())
    several = [kind for kind in kinds if sum(map(dataclasses.is_dataclass, kind.__bases__)) > 1]
    assert {"OpenAICard", "BedrockCard", "PPOConfig"} <= {kind.__name__ for kind in several}
    assert [line for kind in kinds for line in overwritten(kind)] == []


def test_an_order_of_bases_that_loses_a_default_is_found():
    @dataclasses.dataclass
    class Top:
        measures: str = "quality"

    @dataclasses.dataclass
    class Left(Top):
        where: str = ""

    @dataclasses.dataclass
    class Right(Top):
        measures: str = ""

    @dataclasses.dataclass
    class Lost(Left, Right):
        pass

    @dataclasses.dataclass
    class Kept(Right, Left):
        pass

    assert len(list(overwritten(Lost))) == 1
    assert list(overwritten(Kept)) == []
