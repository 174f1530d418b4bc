"""What the logits of a classifier mean: softmax, sigmoids or one logit, told from the config, never assumed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from rlaif.core.errors import InputError
from rlaif.core.schema import did_you_mean
from rlaif.judges.classifier.card import ClassifierCard

if TYPE_CHECKING:
    from torch import Tensor


Kind = Literal["softmax", "sigmoid", "one_logit"]


@dataclass(frozen=True)
class Head:
    """
    How logits become a verdict, read from the model's config and the card.

    `kind` is `softmax` (one label of several holds), `sigmoid` (each label for itself) or `one_logit` (a reward
    model: more is better). `bad` and `good` index the labels that the card names.
    """

    kind: Kind
    labels: tuple[str, ...]
    bad: tuple[int, ...]
    good: int | None

    @property
    def identity(self) -> tuple[Any, ...]:
        """The question it answers: `bad: hate` and `good: nothate` are the same one where there is no third label."""
        if self.kind == "one_logit":
            return ("bad" if self.bad else "good",)
        if self.kind == "softmax" and self.good is not None and not self.bad:
            return ("bad", *(i for i in range(len(self.labels)) if i != self.good))
        return ("bad", *sorted(self.bad)) if self.bad else ("good", self.good)

    def verdict(self, logits_BL: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """
        Return score in [0, 1], logit and raw, each of shape [B], from float32 logits of shape [B, labels].

        Probabilities are taken in float64, so that a score near 0 or 1 keeps its digits.
        """
        z = logits_BL.double()
        if self.kind == "one_logit":
            logit = -z[:, 0] if self.bad else z[:, 0]
            return logit.sigmoid(), logit, z[:, 0].sigmoid() if self.bad or self.good is not None else logit
        bad, good = list(self.bad), self.good
        p = z.softmax(-1) if self.kind == "softmax" else z.sigmoid()
        if bad:
            others = [i for i in range(len(self.labels)) if i not in bad]
            p_bad = p[:, bad].sum(-1) if self.kind == "softmax" else p[:, bad].amax(-1)
            # The probability of the others is 1 - p(bad) without the cancellation.
            score = p[:, others].sum(-1) if self.kind == "softmax" else (-z[:, bad]).sigmoid().amin(-1)
        if good is not None:
            return (score if bad else p[:, good]).clamp(0, 1), z[:, good], p[:, good]
        if self.kind == "softmax" and len(self.labels) == 2 and len(bad) == 1:
            logit = z[:, 1 - bad[0]]
        else:
            logit = -z[:, bad].amax(-1)
        return score.clamp(0, 1), logit, p_bad.clamp(0, 1)


def resolve_head(config: Any, card: ClassifierCard, where: str) -> Head:
    """
    Tell the kind of head from the config, as transformers' own pipeline does, and find the card's labels by name.

    `problem_type` decides; where the config has none, several labels mean softmax
    (transformers, pipelines/text_classification.py, `postprocess`). `head:` in the card says otherwise.
    """
    labels = tuple(str(config.id2label.get(i)) for i in range(config.num_labels))
    if sorted(config.id2label) != list(range(config.num_labels)) or len(set(labels)) < len(labels):
        raise InputError(f"{where}: the labels of {card.model} are broken (id2label in config.json): {config.id2label}")
    kind: Kind
    if card.head != "auto":
        kind = card.head
    elif len(labels) == 1:
        kind = "one_logit"
    elif config.problem_type == "multi_label_classification":
        kind = "sigmoid"
    elif config.problem_type == "regression":
        raise InputError(
            f"{where}: {card.model} is a regression with {len(labels)} outputs, which no single score can be read from"
        )
    else:
        kind = "softmax"
    if len(labels) == 1 and kind != "one_logit":
        raise InputError(f"{where}: head: {kind} does not fit {card.model}, which has one logit; leave `head` out")
    named = [card.bad] if isinstance(card.bad, str) else card.bad or []
    bad = tuple(dict.fromkeys(_label(labels, name, "bad", card, where) for name in named))
    good = None if card.good is None else _label(labels, card.good, "good", card, where)
    if not bad and good is None and kind != "one_logit":
        raise InputError(
            f"{where}: name the bad label (`bad:`) or the good one (`good:`) of {card.model}: {', '.join(labels)}"
        )
    if good in bad:
        raise InputError(f"{where}: the label {labels[good or 0]!r} is named both good and bad")
    if kind == "softmax" and len(bad) == len(labels):
        raise InputError(f"{where}: all labels of {card.model} are named bad: every score would be 0")
    return Head(kind, labels, bad, good)


def _label(labels: tuple[str, ...], name: str, key: str, card: ClassifierCard, where: str) -> int:
    """Find a label by its name, exactly or but for case; never by position."""
    exact = [i for i, label in enumerate(labels) if label == name]
    found = exact or [i for i, label in enumerate(labels) if label.lower() == name.lower()]
    if len(found) != 1:
        hint = did_you_mean(name, labels)
        raise InputError(f"{where}: {key}: {card.model} has no label {name!r}{hint}; it has: {', '.join(labels)}")
    return found[0]
