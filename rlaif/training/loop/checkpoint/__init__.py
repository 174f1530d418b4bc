"""Checkpoints: tensors and facts in, a folder out, and back."""
