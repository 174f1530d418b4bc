"""What each command does, one file a command; `rlaif/cli.py` names their options."""
