"""Folders in, one HTML page out."""
