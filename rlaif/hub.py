"""What the model hub says when it says no, in one line with what to do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from rlaif.errors import InputError
from rlaif.schema import reason_of


def explained(error: Exception, source: str, where: str, kind: str = "model") -> InputError:
    """
    Make an `InputError` of what `from_pretrained` or `load_dataset` raised for a hub id or a folder.

    Args:
        error: as caught; transformers wraps the hub's own error as its cause.
        source: hub id or folder.
        where: card or file and key, the first words of the message.
        kind: `model` or `dataset`.

    """
    from huggingface_hub import errors as hub

    if Path(source).exists():
        return InputError(f"{where}: the {kind} in {source} cannot be loaded: {reason_of(error)}")
    url = f"huggingface.co/{'datasets/' if kind == 'dataset' else ''}{source}"
    for cause in _causes(error):
        if isinstance(cause, hub.GatedRepoError):
            return InputError(
                f"{where}: {source} is gated: accept its terms at {url}, then log in (`hf auth login` or HF_TOKEN)"
            )
        if isinstance(cause, hub.RepositoryNotFoundError):
            return InputError(
                f"{where}: the hub has no {kind} {source}, or it is private: "
                "mend the name, or log in (`hf auth login` or HF_TOKEN)"
            )
        if isinstance(cause, hub.RevisionNotFoundError):
            return InputError(f"{where}: {source} has no such revision on the hub")
        if isinstance(cause, hub.HFValidationError):
            return InputError(f"{where}: {source!r} is neither a folder that exists nor a hub id (owner/name)")
    if any(_is_offline(cause) for cause in _causes(error)):
        return InputError(
            f"{where}: {source} is not in the local cache and the hub cannot be reached: "
            f"connect (and unset HF_HUB_OFFLINE) once, or name a local folder"
        )
    return InputError(f"{where}: {source} cannot be loaded: {reason_of(error)}")


def in_cache(model: str, revision: str | None, filename: str = "config.json") -> bool:
    """Whether a hub model was downloaded before, without asking the hub."""
    from huggingface_hub import try_to_load_from_cache

    return isinstance(try_to_load_from_cache(model, filename, revision=revision), str)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _is_offline(error: BaseException) -> bool:
    from huggingface_hub import errors as hub

    kinds = (hub.OfflineModeIsEnabled, hub.LocalEntryNotFoundError, ConnectionError)
    return isinstance(error, kinds) or type(error).__name__ in (
        "ConnectError",
        "ConnectTimeout",
        "ConnectionError",
    )
