"""What all judges behind a network share: limits, retries, prices, and the store of verdicts."""
