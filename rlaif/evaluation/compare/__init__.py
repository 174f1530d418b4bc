"""Compares two models, endpoints or files of completions, and measures finished runs with other judges."""
