"""Weights of a classifier, or of an adapter with the base that it is of."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from rlaif.core.errors import InputError
from rlaif.core.system.hub import explain_hub_error
from rlaif.judges.classifier.card import ClassifierCard
from rlaif.policy.adapter import base_of, hide_leftover_adapter, resize_embeddings, where_of_base

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel


def load_config(card: ClassifierCard, where: str) -> Any:
    """
    Read the config of a classifier; of an adapter, its base's with as many labels as the adapter has trained.

    Raises:
        InputError: the base of an adapter cannot be found, or neither of them is a classifier.

    """
    from transformers import AutoConfig

    base, is_adapter = base_of(card.model, card.revision, where)
    where = where_of_base(card.model, where) if is_adapter else where
    options: dict[str, Any] = {"trust_remote_code": card.trust_remote_code}
    if is_adapter and (labels := _count_labels(card, where)):
        options["num_labels"] = labels
    try:
        return AutoConfig.from_pretrained(base, revision=None if is_adapter else card.revision, **options)
    except Exception as error:
        raise explain_hub_error(error, base, where) from error


def _count_labels(card: ClassifierCard, where: str) -> int | None:
    """Return how many labels the output layer has that an adapter brings along; None where it brings none."""
    from peft.utils import load_peft_weights

    try:
        weights = load_peft_weights(card.model, device="cpu", revision=card.revision)
    except Exception as error:
        raise explain_hub_error(error, card.model, where) from error
    ends = tuple(f".{name}.weight" for name in ("score", "classifier", "out_proj", "logits_proj"))
    return min(
        (len(weight) for key, weight in weights.items() if key.endswith(ends) and "lora_" not in key), default=None
    )


def load_weights(card: ClassifierCard, config: Any, where: str) -> PreTrainedModel:
    """
    Load the weights; in half precision the head stays in float32.

    A classifier with a bfloat16 head has some 60 distinct logits in 160 texts, too few to learn from: the trunk
    carries the cost, the head the digits.
    """
    import torch
    from transformers.utils import logging as transformers_log

    if not card.missing() and transformers_log.get_verbosity() >= transformers_log.ERROR:
        transformers_log.disable_progress_bar()  # a bar for a download only
    dtype = getattr(torch, card.dtype)
    base, is_adapter = base_of(card.model, card.revision, where)
    if is_adapter:
        model = _load_adapter(card, base, config, where)
    else:
        model = _load_trained(card, base, config, "auto" if card.dtype != "float32" else dtype, where)
    if card.dtype != "float32":
        _lower_precision(model, dtype)
    return model


def _load_trained(card: ClassifierCard, source: str, config: Any, dtype: Any, where: str) -> PreTrainedModel:
    """Load a model, or raise `InputError` where weights do not fit, or where any is missing."""
    model, report = _load(card, source, config, dtype, card.revision)
    if report["mismatched_keys"]:
        name, stored, made = next(iter(report["mismatched_keys"]))
        raise InputError(f"{where}: {source} does not fit its config.json: {name} is {stored}, expected {made}")
    _refuse_untrained(card, report["missing_keys"], where)
    return model


def _load_adapter(card: ClassifierCard, base: str, config: Any, where: str) -> PreTrainedModel:
    """Load the base of an adapter, and merge the adapter into it, which has to bring the head along."""
    import peft
    import torch

    where_base = where_of_base(card.model, where)
    try:
        model, report = _load(card, base, config, torch.float32, None)
    except Exception as error:
        raise explain_hub_error(error, base, where_base) from error
    if _count_labels(card, where) is None:
        _refuse_untrained(card, report["missing_keys"], where)
    resize_embeddings(model, card.model, card.revision)
    model = peft.PeftModel.from_pretrained(model, card.model, revision=card.revision)
    if any(adapter.is_prompt_learning for adapter in model.peft_config.values()):
        raise InputError(f"{where}: {card.model} is an adapter that adds tokens to the text, which is not read here")
    trained = [name for name, module in model.base_model.model.named_modules() if hasattr(module, "modules_to_save")]
    fresh = {*report["missing_keys"], *(name for name, *_ in report["mismatched_keys"])}
    _refuse_untrained(card, {key for key in fresh if not key.startswith(tuple(f"{name}." for name in trained))}, where)
    whole: PreTrainedModel = model.merge_and_unload()
    return whole


def _load(card: ClassifierCard, source: str, config: Any, dtype: Any, revision: str | None) -> tuple[Any, Any]:
    from transformers import AutoModelForSequenceClassification

    with hide_leftover_adapter(source) as folder:
        return AutoModelForSequenceClassification.from_pretrained(  # type: ignore[no-any-return]
            folder, config=config, revision=revision, trust_remote_code=card.trust_remote_code, dtype=dtype,
            output_loading_info=True, ignore_mismatched_sizes=True,
        )  # fmt: skip


def _refuse_untrained(card: ClassifierCard, missing: Iterable[str], where: str) -> None:
    if names := ", ".join(sorted(missing)[:3]):
        raise InputError(
            f"{where}: {card.model} is no trained classifier: it lacks {names}, and would answer at random"
        )


def _lower_precision(model: Any, dtype: Any) -> None:
    """Compute all but the head in half precision."""
    trunk = model.base_model
    if trunk is not model:
        model.float()
    trunk.to(dtype)
    for head in model.children():
        if head is not trunk:
            head.register_forward_pre_hook(_cast_to_float32)


def _cast_to_float32(_module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(x.float() if hasattr(x, "is_floating_point") and x.is_floating_point() else x for x in inputs)
