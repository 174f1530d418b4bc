"""Language models as judges: question, answer format and verdict, whoever serves the model."""
