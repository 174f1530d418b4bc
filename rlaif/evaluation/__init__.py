"""Before and after: what a model said, what judges say of it, and what that shows."""
