"""A run file, from its prompts to the numbers that show what became of the model."""
