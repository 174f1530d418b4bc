"""Loads a policy: a causal or seq2seq model of transformers, or a LoRA adapter of one, with its tokenizer."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch

from rlaif.core.errors import InputError
from rlaif.core.schema import short_repr
from rlaif.core.system.hub import explain_hub_error, is_cached
from rlaif.policy.adapter import add_adapter, base_of, hide_leftover_adapter, where_of_base
from rlaif.policy.parts import inner
from rlaif.policy.tokenizer import load_tokenizer, refuse_small_vocabulary

if TYPE_CHECKING:
    from rlaif.core.config.sections import LoraSection

DTypeName = Literal["auto", "float32", "bfloat16"]


@dataclass(frozen=True)
class LoadedModel:
    """
    A model ready to be trained, and what belongs to it.

    Args:
        model: trainable weights in float32, the frozen base in `dtype`.
        tokenizer: the policy's own.
        dtype: of the computation: float32, or bfloat16 by autocast.
        base_is_reference: whether the model with its adapter off is what training starts from.

    """

    model: Any
    tokenizer: Any
    dtype: torch.dtype
    base_is_reference: bool


def load(
    source: str,
    *,
    revision: str | None = None,
    dtype: DTypeName = "auto",
    lora: LoraSection | Any | None = None,
    load_in_4bit: bool = False,
    device: torch.device | None = None,
    tokenizer: Any | None = None,
    where: str = "policy.model",
) -> LoadedModel:
    """
    Load a policy from a folder or from the hub.

    Args:
        source: folder or hub id, of a model or of a LoRA adapter; an adapter is trained on.
        revision: of the hub's repository.
        dtype: of the computation. auto: bfloat16 where the checkpoint is in half precision and the hardware is
            fast at it, else float32.
        lora: train a new LoRA adapter: a section of the run file, or a peft config.
        load_in_4bit: hold the frozen base in 4 bit.
        device: what the computation runs on.
        tokenizer: where it is not the model's own.
        where: the first words of a message.

    Raises:
        InputError: there is no such model, it does not generate text, or its tokenizer lacks what is needed.

    """
    base, adapter = base_of(source, revision, where)
    if adapter and lora is not None:
        raise InputError(f"{where}: {source} is a LoRA adapter already, and is trained on; leave lora out")
    if load_in_4bit and importlib.util.find_spec("bitsandbytes") is None:
        raise InputError(f"{where}: load_in_4bit needs a package that is not there: pip install bitsandbytes")
    tokenizer = tokenizer or load_tokenizer(source, base, revision, where)
    where_base = where_of_base(source, where) if adapter else where
    config = config_of(base, None if adapter else revision, where_base)
    compute = compute_dtype(dtype, getattr(config, "dtype", None), device or torch.device("cpu"))
    frozen_base = adapter or lora is not None
    weights = compute if frozen_base else torch.float32
    quantization = _four_bit(compute) if load_in_4bit else None
    model = _model(base, config, weights, None if adapter else revision, quantization, where_base)
    model, base_is_reference = add_adapter(model, source if adapter else None, revision, lora, where)
    refuse_mismatch(model, tokenizer, where)
    return LoadedModel(model, tokenizer, compute, base_is_reference)


def load_any(
    model: Any, tokenizer: Any | None, lora: Any | None, dtype: DTypeName, device: torch.device
) -> LoadedModel:
    """Return what a trainer is given as a model: a name, a model in memory, or one that is loaded as it should be."""
    if isinstance(model, LoadedModel):
        return model
    if tokenizer is not None and not hasattr(tokenizer, "eos_token_id"):
        raise InputError(f"processing_class: should be a tokenizer, not {short_repr(tokenizer)}")
    if isinstance(model, str | Path):
        return load(str(model), dtype=dtype, lora=lora, device=device, tokenizer=tokenizer, where="model")
    if not isinstance(model, torch.nn.Module):
        raise InputError(f"model: should be a hub id, a folder or a model, not {short_repr(model)}")
    return prepare_model(model, tokenizer, dtype=dtype, lora=lora, device=device)


def prepare_model(
    model: Any, tokenizer: Any | None, *, dtype: DTypeName, lora: Any | None, device: torch.device
) -> LoadedModel:
    """Make a policy of a model that is in memory already: its own weights change their dtype, as `LoadedModel` says."""
    import peft
    from transformers import GenerationMixin

    if not isinstance(inner(model), GenerationMixin):
        raise InputError(
            f"model: {type(model).__name__} does not generate text; load it by an AutoModelFor... that does"
        )
    tokenizer = tokenizer or load_tokenizer(model.config.name_or_path, model.config.name_or_path, None, "model")
    compute = compute_dtype(dtype, model.dtype, device)
    is_adapter = isinstance(model, peft.PeftModel)
    if is_adapter and lora is not None:
        raise InputError("model: is a peft model already; leave peft_config out")
    if lora is None and not is_adapter:
        model = model.float()
        model.requires_grad_(True)
    model, base_is_reference = add_adapter(model, None, None, lora, "peft_config")
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise InputError("model: no weight of it is trainable; load the adapter with is_trainable=True")
    for parameter in model.parameters():
        if parameter.is_floating_point():  # not what is quantised
            parameter.data = parameter.data.to(torch.float32 if parameter.requires_grad else compute)
    refuse_mismatch(model, tokenizer, "model")
    return LoadedModel(model, tokenizer, compute, base_is_reference)


def compute_dtype(wanted: DTypeName, own: torch.dtype | None, device: torch.device) -> torch.dtype:
    """Return the dtype of the computation; `own` is the checkpoint's."""
    if wanted != "auto":
        return torch.float32 if wanted == "float32" else torch.bfloat16
    return torch.bfloat16 if own in (torch.bfloat16, torch.float16) and _is_fast_in_bfloat16(device) else torch.float32


def _is_fast_in_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type != "cpu" or bool(torch.cpu._is_amx_tile_supported())


def refuse_mismatch(model: Any, tokenizer: Any, where: str) -> None:
    """Raise `InputError` where tokenizer and model do not belong together, or an adapter adds to the prompt."""
    if any(adapter.is_prompt_learning for adapter in getattr(model, "peft_config", {}).values()):
        raise InputError(f"{where}: an adapter that adds tokens to the prompt cannot be trained; take LoRA")
    if getattr(model, "quantization_method", None) is None:
        refuse_small_vocabulary(tokenizer, model.get_input_embeddings().weight.shape[0], where)


def config_of(source: str, revision: str | None, where: str) -> Any:
    """Read the config of a model."""
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(source, revision=revision)
    except Exception as error:
        if Path(source).is_dir() and not (Path(source) / "config.json").exists():
            raise InputError(f"{where}: the folder {source} holds no model: it has no config.json") from None
        raise explain_hub_error(error, source, where) from error


def _model(
    source: str, config: Any, dtype: torch.dtype, revision: str | None, quantization: Any | None, where: str
) -> Any:
    from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

    auto = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    refuse_speechless(source, config, where)
    more = {} if quantization is None else {"quantization_config": quantization}
    here = Path(source).is_dir() or is_cached(source, revision)
    try:
        # A bar for a download only.
        with hide_progress_bars() if here else nullcontext(), hide_leftover_adapter(source) as folder:
            model, info = auto.from_pretrained(
                folder, revision=revision, config=config, dtype=dtype, output_loading_info=True, **more
            )
        model.config.name_or_path = model.name_or_path = source
    except Exception as error:
        raise explain_hub_error(error, source, where) from error
    if missing := sorted(info["missing_keys"]):
        # A classifier's folder loads as a generator with a fresh head, silently.
        raise InputError(
            f"{where}: {source} is no {type(model).__name__}: it has no weights for {missing[0]}"
            + (f" and {len(missing) - 1} more" if missing[1:] else "")
        )
    return model


def refuse_speechless(source: str, config: Any, where: str) -> None:
    """Raise `InputError` where a model, by its config, does not generate text."""
    from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

    auto = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    if type(config) not in auto._model_mapping:
        raise InputError(f"{where}: {source} is of the kind {config.model_type}, which does not generate text")
    if other := [name for name in config.architectures or () if "Classification" in name]:
        # Its output layer may be the input embeddings, so that no weight would be missing.
        raise InputError(f"{where}: {source} is a {other[0]}, which does not generate text")


@contextmanager
def hide_progress_bars() -> Iterator[None]:
    """Let transformers show no progress bar."""
    from transformers.utils import logging

    shown_before = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown_before:
            logging.enable_progress_bar()


def _four_bit(compute: torch.dtype) -> Any:
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=compute
    )
