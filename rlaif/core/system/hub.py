"""Turns errors of the Hugging Face hub into one line that says what to do."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from rlaif.core.errors import InputError
from rlaif.core.schema import reason_of


def explain_hub_error(error: Exception, source: str, where: str, kind: str = "model") -> InputError:
    """
    Return an `InputError` for an exception that `from_pretrained` or `load_dataset` raised.

    Args:
        error: the exception; transformers has the hub's own error as its cause.
        source: hub id or folder that was loaded.
        where: card or file and key, with which the message begins.
        kind: `model` or `dataset`.

    """
    from huggingface_hub import constants
    from huggingface_hub import errors as hub

    if Path(source).exists():
        return InputError(f"{where}: the {kind} in {source} cannot be loaded: {reason_of(error)}")
    url = f"{constants.ENDPOINT}/{'datasets/' if kind == 'dataset' else ''}{source}"
    for cause in _causes(error):
        # `datasets` keeps only the text of the hub's error.
        words = str(cause) if type(cause).__name__ == "DatasetNotFoundError" else ""
        if isinstance(cause, hub.GatedRepoError) or "gated" in words:
            return InputError(
                f"{where}: {source} is gated: accept its terms at {url}, then log in (`hf auth login` or HF_TOKEN)"
            )
        if isinstance(cause, hub.RepositoryNotFoundError) or "doesn't exist on the Hub" in words:
            return InputError(
                f"{where}: the hub has no {kind} {source}, or it is private: "
                "correct the name, or log in (`hf auth login` or HF_TOKEN)"
            )
        if isinstance(cause, hub.RevisionNotFoundError):
            return InputError(f"{where}: {source} has no such revision on the hub; correct `revision`")
        if isinstance(cause, hub.HFValidationError):
            return InputError(f"{where}: {source!r} is neither a folder that exists nor a hub id (owner/name)")
    if any(_is_offline(cause) for cause in _causes(error)):
        return _unreachable(f"{where}: {source}")
    return InputError(f"{where}: {source} cannot be loaded: {reason_of(error)}")


def refuse_unreachable(what: str) -> None:
    """
    Raise `InputError` if something has to be downloaded and the hub cannot be reached.

    The hub's client has no setting for this, and would retry a dead connection for 25 s.
    """
    from huggingface_hub import constants, get_session

    if constants.HF_HUB_OFFLINE:
        return  # the client reports this itself, at once
    try:
        get_session().head(constants.ENDPOINT, timeout=constants.HF_HUB_ETAG_TIMEOUT)
    except Exception as error:
        raise _unreachable(what) from error


def _unreachable(what: str) -> InputError:
    return InputError(
        f"{what} is not in the local cache and the hub cannot be reached: "
        "connect (and unset HF_HUB_OFFLINE) once, or name a local one"
    )


def is_cached(model: str, revision: str | None) -> bool:
    """Whether a hub model is in the local cache with all shards of its weights. Makes no request to the hub."""
    return _find_file(model, revision, "config.json") is not None and bool(weight_files(model, revision))


def weight_files(model: str, revision: str | None) -> list[Path]:
    """Return the weight files of a model, in its folder or in the local cache; an empty list if one is missing."""
    for name in ("model.safetensors", "pytorch_model.bin", "adapter_model.safetensors"):
        if path := _find_file(model, revision, name):
            return [path]
        if index := _find_file(model, revision, f"{name}.index.json"):
            shards = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
            found = [path for shard in shards if (path := _find_file(model, revision, shard))]
            return found if len(found) == len(shards) else []
    return []


def _find_file(model: str, revision: str | None, name: str) -> Path | None:
    """Return a file of a model, from its folder or from the local cache; None if it is not there."""
    from huggingface_hub import try_to_load_from_cache

    if Path(model).is_dir():
        return path if (path := Path(model, name)).is_file() else None
    cached = try_to_load_from_cache(model, name, revision=revision)
    return Path(cached) if isinstance(cached, str) else None


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
