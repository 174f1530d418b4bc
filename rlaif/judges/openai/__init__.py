"""Judges behind OpenAI-compatible endpoints."""
