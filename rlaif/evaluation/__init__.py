"""Measures models before and after: samples completions, has judges score them, and computes the changes."""
