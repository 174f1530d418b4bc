"""The embedded default: a policy, judges and prompts that need no network."""
