"""The old path of `rlaif.Card`, kept until 0.3.0."""

from rlaif.judges.cards.card import Card

__all__ = ["Card"]
