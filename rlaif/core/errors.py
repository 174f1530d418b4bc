"""
What can go wrong, by whose turn it is to mend it.

Each message is one line that says what is wrong, where, and what to do. The classes also inherit the standard
exception that a library user would catch.
"""


class RlaifError(Exception):
    """Anything that rlaif says itself. The command prints the message and exits with `exit_status`."""

    exit_status = 1


class ReportedByOtherRank(RlaifError):
    """The run ends because another of its processes has to stop, and that one says why."""


class InputError(RlaifError, ValueError):
    """The user's input is wrong (card, config, data, key, model, network), found before work starts."""

    exit_status = 2


class JudgeBug(RlaifError, RuntimeError):
    """
    A judge broke its contract: it raised, returned the wrong length, NaN, or a number off its scale.

    A bug is not an abstention: it stops the command, because every number after it would be wrong too.
    """
