"""JSON schemas of run files, of judge cards, and of the records that rlaif writes to disk."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

from rlaif.core.config.old_keys import MOVED
from rlaif.core.config.run import RunConfig
from rlaif.core.records.kinds import RECORDS
from rlaif.core.records.schema import DIALECT, make_schema, schema_of
from rlaif.core.schema import Checked
from rlaif.judges.panel import PanelMember
from rlaif.judges.registry import BUILT_IN, find_adapter, keys_of

KINDS = ("run", "card", *RECORDS)
"""Kinds of files that `rlaif schema` accepts."""

Schema = dict[str, Any]

INLINE: Schema = {"$ref": "#/$defs/Card"}
"""Schema of a card that is written inline instead of being named."""


def json_schema(kind: str) -> Schema:
    """Return the JSON schema of one of `KINDS`."""
    if kind == "run":
        return run_schema()
    return card_schema() if kind == "card" else schema_of(RECORDS[kind])


def run_schema() -> Schema:
    """Return the schema of a run file: its keys with descriptions, and inline cards."""
    schema = _add_section_schemas(RunConfig)
    definitions = {**schema.pop("$defs"), **_cards()}
    definitions["PPOSection"]["properties"] |= _old_keys(definitions["TrainingSection"]["properties"])
    for name, section in ((RunConfig.__name__, schema), *definitions.items()):
        if name in ("RunConfig", "GuardSection", "EvaluationSection"):
            section["properties"] = _allow_inline_cards(section["properties"])
    return {"$schema": DIALECT, **schema, "title": "A run file of rlaif", "$defs": definitions}


def _old_keys(properties: Mapping[str, Schema]) -> dict[str, Schema]:
    """Return the keys of `training` under their old names in `ppo`, marked as deprecated."""
    return {
        name: {
            **{rule: value for rule, value in properties[name].items() if rule != "default"},
            "description": f"Old name of training.{name}.",
            "deprecated": True,
        }
        for name in MOVED
    }


def card_schema() -> Schema:
    """
    Return the schema of a judge card.

    The keys depend on `adapter`. A card whose adapter is not built in may have any keys.
    """
    definitions = _cards()
    card = definitions["Card"]
    named_by_file = {"properties": {**card["properties"], "name": False}}  # the file name is the card's name
    return {"$schema": DIALECT, **card, **named_by_file, "title": "A judge card of rlaif", "$defs": definitions}


def _cards() -> dict[str, Schema]:
    """Return the definitions of all built-in cards; the definition `Card` selects one by `adapter`."""
    found: dict[str, Schema] = {}
    rules = []
    for name, where in BUILT_IN.items():
        keys = keys_of(find_adapter(name, Path(), where), where)
        schema = _add_section_schemas(keys)
        found |= schema.pop("$defs", {})
        schema["properties"]["adapter"] = {"const": name}
        found[keys.__name__] = schema
        rules.append({
            "if": {"properties": {"adapter": {"const": name}}, "required": ["adapter"]},
            "then": {"$ref": f"#/$defs/{keys.__name__}"},
        })  # fmt: skip
    seat = _add_section_schemas(PanelMember)
    seat["properties"]["judge"] = _allow_inline_cards(seat["properties"])["judge"]
    members = {"type": "array", "items": {"anyOf": [{"type": "string"}, {"$ref": "#/$defs/Seat"}, INLINE]}}
    found |= {"Seat": seat}
    found["PanelCard"]["properties"]["judges"] = members
    found["Card"] = {
        "description": "A judge: which adapter, which model, which question. The keys depend on the adapter.",
        "type": "object",
        "properties": {
            "adapter": {
                "description": "A built-in adapter, the name of an installed one, MODULE:NAME or ./FILE.py:NAME.",
                "anyOf": [{"enum": list(BUILT_IN)}, {"type": "string"}],
            },
            "name": {"description": "Name of an inline card.", "type": "string"},
            "measures": {
                "description": "Any word. For toxicity, harmlessness and hate, 1 - score is shown beside the score.",
                "type": "string",
            },
        },
        "required": ["adapter"],
        "allOf": rules,
    }
    return found


def _allow_inline_cards(properties: Mapping[str, Schema]) -> dict[str, Schema]:
    """Let the keys that name judges also hold an inline card."""
    made = dict(properties)
    for key in made.keys() & {"judge", "judges"}:
        annotations: Schema = {name: made[key][name] for name in ("description", "default") if name in made[key]}
        one: Schema = {"anyOf": [{"type": "string"}, INLINE]}
        made[key] = {**(one if key == "judge" else {"type": "array", "items": one}), **annotations}
    return made


def _add_section_schemas(cls: type) -> Schema:
    """Return the schema of a `Checked` dataclass, with the meaning of each key as its description."""
    schema = make_schema(cls)
    definitions = schema.get("$defs", {})
    for section in _sections_in(cls):
        properties = (schema if section is cls else definitions[section.__name__])["properties"]
        for field in fields(section):
            if meaning := field.metadata.get("meaning"):
                properties[field.name]["description"] = meaning
    return schema


def _sections_in(cls: Any) -> Iterator[type]:
    """Yield a `Checked` dataclass and those nested in it."""
    if isinstance(cls, type) and issubclass(cls, Checked) and is_dataclass(cls):
        yield cls
        for hint in get_type_hints(cls).values():
            yield from _sections_in(hint)
    else:
        for part in get_args(cls):
            yield from _sections_in(part)
