"""JSON schemas of records, for editors and for programs that read the files."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_type_hints

from rlaif.core.records.keys import Absent, fields_of
from rlaif.core.records.record import Record

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def make_schema(cls: type) -> dict[str, Any]:
    """Return pydantic's schema of a dataclass, without titles that repeat the names of keys."""
    from pydantic import TypeAdapter
    from pydantic.json_schema import GenerateJsonSchema

    class WithoutTitles(GenerateJsonSchema):
        def field_title_should_be_set(self, schema: Any) -> bool:
            return False

    return TypeAdapter(cls).json_schema(schema_generator=WithoutTitles)


def schema_of(record: type[Record]) -> dict[str, Any]:
    """Return the JSON schema of a record; what its fields do not name is refused, but where users may add keys."""
    schema = make_schema(record)
    definitions = schema.get("$defs", {})
    definitions.pop(Absent.__name__, None)
    schema = _drop_absent(schema)
    for cls in _records_in(record):
        name = cls.__name__
        _rename(cls, schema if cls is record and name not in definitions else schema["$defs"][name])
    return {"$schema": DIALECT, **schema}


def _drop_absent(schema: Any) -> Any:
    """Take away the marks of keys that may be absent: they are not among the required ones, and that is all."""
    if isinstance(schema, list):
        return [_drop_absent(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: _drop_absent(value) for key, value in schema.items()}
    if made.get("default") == Absent.ABSENT.value:
        del made["default"]
    if "anyOf" in made:
        absent = {"$ref": f"#/$defs/{Absent.__name__}"}
        made["anyOf"] = [one for one in made["anyOf"] if one != absent]
        if len(made["anyOf"]) == 1:
            (only,) = made.pop("anyOf")
            made = {**only, **made}
    return made


def _rename(cls: Any, schema: dict[str, Any]) -> None:
    """Give fields their keys, and let a record with further keys have them."""
    properties, names = schema["properties"], {}
    for field in fields_of(cls):
        if field.further:
            del properties[field.name]
            schema["additionalProperties"] = True
        names[field.name] = field.key
    schema["properties"] = {names[name]: value for name, value in properties.items()}
    if "required" in schema:
        schema["required"] = [names[name] for name in schema["required"]]


def _records_in(cls: Any, seen: set[Any] | None = None) -> Iterator[type[Record]]:
    """Yield a record and those inside it, each once."""
    seen = set() if seen is None else seen
    if isinstance(cls, type) and issubclass(cls, Record):
        if cls in seen:
            return
        seen.add(cls)
        yield cls
        parts: Any = get_type_hints(cls).values()
    else:
        parts = getattr(cls, "__args__", ())
    for part in parts:
        yield from _records_in(part, seen)
