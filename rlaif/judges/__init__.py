"""Text in, judgements out."""
