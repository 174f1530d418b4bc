"""
How sure one can be of a change: intervals, tests and bounds over numbers that were measured in pairs.

Two sides answered the same prompts, so that everything here is paired; several completions of one prompt are not
independent, so that everything is resampled by whole prompts. An abstention (None) is left out and counted, and
`worst_case` says what it could hide. The same numbers and seed give the same answer.

What other libraries have is not here: rank correlations are `scipy.stats.spearmanr` and `kendalltau`.
"""

from rlaif.stats.abstentions import Bounds, worst_case
from rlaif.stats.changes import Change, Evidence, RatioChange, equivalent, paired_change, ratio_change
from rlaif.stats.jackknife import jackknife_ratio
from rlaif.stats.maxima import TOXIC, WorstOfK, maxima, worst_of_k
from rlaif.stats.pairs import Scores
from rlaif.stats.power import power
from rlaif.stats.repeats import Spread, holm, over_seeds
from rlaif.stats.resampling import PValue, sign_flip_test

__all__ = [
    "TOXIC",
    "Bounds",
    "Change",
    "Evidence",
    "PValue",
    "RatioChange",
    "Scores",
    "Spread",
    "WorstOfK",
    "equivalent",
    "holm",
    "jackknife_ratio",
    "maxima",
    "over_seeds",
    "paired_change",
    "power",
    "ratio_change",
    "sign_flip_test",
    "worst_case",
    "worst_of_k",
]
