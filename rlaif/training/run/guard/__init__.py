"""The guard: held-out judges check the policy while it trains."""
