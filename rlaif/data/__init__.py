"""Reads prompts and texts from files, folders and the hub, and turns prompts into tokens."""
