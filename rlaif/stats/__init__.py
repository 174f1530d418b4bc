"""
How sure one can be of a change: intervals, tests and bounds over numbers that were measured in pairs.

Two sides answered the same prompts, so that everything here is paired; several completions of one prompt are not
independent, so that everything is resampled by whole prompts. An abstention (None) is left out and counted, and
`worst_case` says what it could hide. The same numbers and seed give the same answer.

What other libraries have is not here: rank correlations are `scipy.stats.spearmanr` and `kendalltau`.
"""
