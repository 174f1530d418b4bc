"""Typed settings: the sections of the run file, and the arguments of trainers."""
