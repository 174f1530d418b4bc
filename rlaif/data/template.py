"""Templates for the prompts of the policy: `prompts/policy/*.md`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from rlaif.core.errors import InputError
from rlaif.core.messages import text_of
from rlaif.core.paths import locate
from rlaif.core.schema import did_you_mean, read_text, short_repr
from rlaif.data.columns import names

_FIELD = re.compile(r"\{([A-Za-z_]\w*)\}")


@dataclass(frozen=True)
class Template:
    """A text with the field `{prompt}`, and optionally other columns of the data in braces."""

    text: str
    path: Path

    def fill(self, prompt: str, columns: Mapping[str, object], where: str, change: Callable[[str], str] = str) -> str:
        """
        Fill all fields in one pass, so that braces in the values stay as they are. A null column is empty.

        Args:
            prompt: value of the field `{prompt}`.
            columns: values of the other fields.
            where: name of the row in messages.
            change: applied to each value before it is put in.

        """

        def value(field: re.Match[str]) -> str:
            name = field[1]
            if name == "prompt":
                return prompt
            if name not in columns:
                hint = did_you_mean(name, list(columns))
                raise InputError(
                    f"{where}: the template {self.path} needs the column {short_repr(name)}{hint}; "
                    f"there are: {names(columns)}"
                )
            text = text_of(columns[name])
            return text if text is not None else "" if columns[name] is None else str(columns[name])

        return _FIELD.sub(lambda field: change(value(field)), self.text)


def read_template(ref: str) -> Template:
    """Read a template by path or by name (`policy/complete`), without the newline at the end of the file."""
    path = locate("prompts", ref, Path())
    template = Template(read_text(path).removesuffix("\n"), path)
    if "prompt" not in _FIELD.findall(template.text):
        raise InputError(f"{path}: the template has no field {{prompt}} for the text; add it")
    return template
