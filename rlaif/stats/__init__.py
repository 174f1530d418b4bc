"""
Intervals, tests and bounds for paired measurements.

Both sides answer the same prompts, so all statistics are paired. Several completions of one prompt are not
independent, so all resampling is by whole prompts. Abstentions (None) are left out and counted; `worst_case` bounds
what they could hide. The same numbers and the same seed always give the same result.

Statistics that other libraries offer are not repeated here, such as `scipy.stats.spearmanr` and `kendalltau`.
"""
