"""Sequence classifiers and reward models of transformers as judges."""
