"""How a policy generates."""
