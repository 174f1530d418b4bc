"""Judges text by its vowels."""
