"""Prompts and texts in: from files, folders and the hub to tokens."""
