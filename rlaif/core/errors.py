"""
Exceptions of rlaif, by who has to act on them.

Each message is one line that says what is wrong, where, and what to do. The classes also inherit from the standard
exceptions that users of the library would catch.
"""


class RlaifError(Exception):
    """Base class of all errors of rlaif. The command prints the message and exits with `exit_status`."""

    exit_status = 1


class ReportedByOtherRank(RlaifError):
    """The run ends because another of its processes failed and reports why."""


class InputError(RlaifError, ValueError):
    """The user's input is invalid (card, config, data, key, model, network). Raised before work starts."""

    exit_status = 2


class JudgeBug(RlaifError, RuntimeError):
    """
    A judge broke its contract: it raised an exception, or returned a wrong length, NaN, or a number off its scale.

    A bug is not an abstention. It stops the command, because all further numbers would be wrong too.
    """
