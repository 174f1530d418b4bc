"""What a field means, in the API reference: the comment that `knob` gives it, which `rlaif init` writes too."""

from __future__ import annotations

import ast
from typing import Any

import griffe


class Fields(griffe.Extension):
    """Turns `steps: int = knob(200, "batches")` into a field with the default 200 and the docstring "batches"."""

    def on_attribute_instance(self, *, node: Any, attr: griffe.Attribute, **keys: Any) -> None:
        """Read the default and the meaning from the call of `knob`."""
        call = getattr(node, "value", None)
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "knob":
            default, meaning = call.args
            attr.value = ast.unparse(default)
            attr.docstring = griffe.Docstring(ast.literal_eval(meaning), parent=attr)
