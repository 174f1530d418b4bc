"""Keys: refused where they cannot be sent, and blotted out of every text that is repeated, in any escaping."""

from __future__ import annotations

import re

from rlaif.core.errors import InputError


def refuse_odd_secret(secret: str, where: str) -> None:
    """Raise `InputError` where a key holds what no header can: it would be repeated in the SDK's complaint."""
    if odd := re.search(r"[^\x21-\x7e]", secret):
        kind = "blank" if odd[0].isspace() else "character"
        raise InputError(f"{where} holds a {kind} that no key has, at place {odd.start() + 1}; set it again")


def mask(text: str, *secrets: str) -> str:
    """Replace secrets in a text, also where their characters are escaped as in JSON or in a URL."""
    for secret in secrets:
        if len(secret) >= 4:
            text = re.sub("".join(_any_escape(char) for char in secret), "[key]", text)
    return text


def _any_escape(char: str) -> str:
    plain, code = re.escape(char), _either(f"{ord(char):02x}")
    return rf"(?:\\*{plain}|\\+u00{code}|\\+x{code}|%{code}|&#{ord(char)};)"


def _either(code: str) -> str:
    return "".join(f"[{c}{c.upper()}]" if c.isalpha() else c for c in code)
