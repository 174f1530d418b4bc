"""Cards and questions: what a judge is made of, as data."""
