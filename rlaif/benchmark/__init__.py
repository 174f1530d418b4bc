"""Which judge deserves to train a model."""
