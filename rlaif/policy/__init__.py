"""The model that is trained: loading, generation, log-probabilities, saving."""
