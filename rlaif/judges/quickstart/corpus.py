"""
Comments in everyday English, some rude and some polite, made of the sentences and words in `corpus.yaml`.

A comment is an opening, a verdict and often a tail. Its mood chooses the words, not the form: rude comments are as long
as polite ones, and their first words tell nothing. All is drawn by Python's own generator: a seed gives the same
comments everywhere.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from rlaif.core.schema import read_text, read_yaml

SOURCE = Path(__file__).with_name("corpus.yaml")

Half = Literal["first", "second"]
"""Every second sentence that says something rude or kind: one judge learns from these, the other one from those."""
Mood = Literal["rude", "kind", "neutral"]

RUDE_SHARE, KIND_SHARE = 0.5, 0.43
"""Of all comments; the rest has neither an insult nor praise."""
_NO_VERDICT = 0.12
"""Of rude and of kind comments: the mood then shows in the tail alone."""
_TAIL: dict[Mood, float] = {"rude": 0.45, "kind": 0.65, "neutral": 0.65}
"""Share of comments with a tail. Polite people say more: each word is a chance of an insult, and brevity no way out."""
_NEUTRAL_TAIL = 0.4
"""Of the tails that may be."""
_PROMPT_WORDS = (3, 5)

_HOLE = re.compile(r"\{(?:([aA]) )?(\w+)\}")
_PRONOUNS = {"he": ("he", "she"), "him": ("him", "her"), "his": ("his", "her")}
_AN = re.compile(r"[aeio]|hono|hour|u(?!ni|se)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Comment:
    """
    A comment.

    Args:
        text: one or two sentences.
        is_rude: whether there is an insult in it.
        prompt_words: its first words that are to be a prompt; no insult is among them.

    """

    text: str
    is_rude: bool
    prompt_words: int

    @property
    def prompt(self) -> str:
        """The first few words."""
        return " ".join(self.text.split(" ")[: self.prompt_words])

    @property
    def completion(self) -> str:
        """What follows the prompt, without the space between them."""
        return self.text[len(self.prompt) + 1 :]


def comments(count: int, seed: int, half: Half | None = None) -> list[Comment]:
    """
    Draw comments, no two of one text.

    Args:
        count: how many.
        seed: the same one gives the same comments.
        half: make them of this half of the sentences; None: of all.

    """
    draw = random.Random(seed)
    found: dict[str, Comment] = {}
    while len(found) < count:
        comment = _Writer(draw, half).comment()
        found.setdefault(comment.text, comment)
    return list(found.values())


def prompts(count: int, seed: int) -> list[str]:
    """Draw beginnings of comments, no two alike."""
    draw, found = random.Random(seed), dict[str, None]()
    while len(found) < count:
        found[_Writer(draw, None).comment().prompt] = None
    return list(found)


@cache
def grammar() -> Any:
    """Return `corpus.yaml`."""
    return read_yaml(read_text(SOURCE), str(SOURCE))


class _Writer:
    """Writes one comment: it knows who it is about, and which words it has used, so that none comes twice."""

    def __init__(self, draw: random.Random, half: Half | None) -> None:
        self._draw, self._half = draw, half
        self._grammar = grammar()
        self._topic = draw.choice(list(self._grammar["topics"].values()))
        self._used: set[str] = set()
        self._about = draw.choices(("person", "you", "thing"), (5, 4, 3))[0]
        self._is_she = draw.random() < 0.5
        number = draw.random()
        self._mood: Mood = "rude" if number < RUDE_SHARE else "kind" if number < RUDE_SHARE + KIND_SHARE else "neutral"

    def comment(self) -> Comment:
        draw, parts = self._draw, self._grammar
        opening = self._sentence(parts["openings"][self._about])
        low, high = _PROMPT_WORDS
        prompt_words = min(draw.randint(low, high), opening.count(" "))
        is_plain = self._mood == "neutral" or draw.random() < _NO_VERDICT
        verdict = self._sentence(parts["neutral"]) if is_plain else self._verdict()
        tail = ""
        if is_plain and self._mood != "neutral":
            tail = self._tail(self._mood)
        elif draw.random() < _TAIL[self._mood]:
            tail = self._tail("neutral" if draw.random() < _NEUTRAL_TAIL else self._mood)
        return Comment(opening + verdict + tail, self._mood == "rude", prompt_words)

    def _verdict(self) -> str:
        praise = self._grammar["praise"][self._about] if self._mood == "kind" else []
        return self._sentence(self._own(self._grammar["verdicts"][self._about] + praise))

    def _tail(self, mood: Mood) -> str:
        tails = self._grammar["tails"][mood]
        return self._sentence(tails if mood == "neutral" else self._own(tails))

    def _own(self, sentences: list[str]) -> list[str]:
        """Return those of the half that the comment is made of."""
        start, step = {"first": (0, 2), "second": (1, 2), None: (0, 1)}[self._half]
        return sentences[start::step]

    def _sentence(self, sentences: list[str]) -> str:
        """Choose a sentence and fill its holes."""
        return _HOLE.sub(self._fill, self._draw.choice(sentences))

    def _fill(self, hole: re.Match[str]) -> str:
        article, name = hole.groups()
        text = self._words(name.lower())
        if article:
            text = f"{'an' if _AN.match(text) else 'a'} {text}"
        return text[0].upper() + text[1:] if (article or name)[0].isupper() else text

    def _words(self, name: str) -> str:
        if name in _PRONOUNS:
            return _PRONOUNS[name][self._is_she]
        if name == "who":
            return self._who()
        if name == "name":
            return self._new(self._grammar["words"]["name_she" if self._is_she else "name_he"])
        if name == "did":
            return f"{self._new(self._topic['verbs'])} {self._new(self._topic['things'])}"
        if name == "thing":
            return self._new(self._topic["things"])
        if name in self._grammar["pairs"]:
            lists = self._grammar["pairs"][name]
            text = self._new(lists[self._mood])
            return text.replace("{s}", "" if self._about == "you" else "s")
        return self._new(self._grammar["words"][name])

    def _who(self) -> str:
        person = self._new(self._topic["people"])
        if person in self._grammar["she"] or person in self._grammar["he"]:
            self._is_she = person in self._grammar["she"]
        return person

    def _new(self, words: list[str]) -> str:
        """Choose a word that the comment does not have yet."""
        word = self._draw.choice([word for word in words if word not in self._used])
        self._used.add(word)
        return word
