"""Two models, endpoints or files of completions compared; a finished run read by another judge."""
