"""LoRA adapters: which model one is of, and putting an old or a new one onto it."""

from __future__ import annotations

from typing import Any

from rlaif.core.errors import InputError
from rlaif.core.schema import reason_of
from rlaif.core.system.hub import explain_hub_error


def base_of(source: str, revision: str | None, where: str) -> tuple[str, bool]:
    """Return the model to load, and whether `source` is an adapter of it."""
    from transformers.utils import find_adapter_config_file

    try:
        if find_adapter_config_file(source, revision=revision) is None:
            return source, False
        from peft import PeftConfig

        base = PeftConfig.from_pretrained(source, revision=revision).base_model_name_or_path
    except Exception as error:
        raise explain_hub_error(error, source, where) from error
    if not base:
        raise InputError(f"{where}: the adapter in {source} does not say which model it is of")
    return base, True


def add_adapter(
    model: Any, adapter: str | None, revision: str | None, lora: Any | None, where: str
) -> tuple[Any, bool]:
    """Put a LoRA adapter onto the model: an old one to be trained on, or a new one, whose reference is the base."""
    if adapter is None and lora is None:
        return model, False
    import peft

    try:
        if adapter is not None:
            return peft.PeftModel.from_pretrained(model, adapter, revision=revision, is_trainable=True), False
        config = lora if isinstance(lora, peft.PeftConfig) else _lora_config(lora, model)
        return peft.get_peft_model(model, config), _leaves_base(config)
    except Exception as error:
        what = f"the adapter {adapter}" if adapter else "lora"
        raise InputError(f"{where}: {what} does not fit the model: {reason_of(error)}") from error


def _leaves_base(config: Any) -> bool:
    """Whether a new adapter, switched off, is the model that training starts from, and stays it."""
    # Biases are the base's own; PiSSA and the like take their first factors out of its weights.
    untouched = getattr(config, "init_lora_weights", True) in (True, "gaussian")
    return untouched and getattr(config, "bias", "none") == "none"


def _lora_config(section: Any, model: Any) -> Any:
    import peft
    from transformers.pytorch_utils import Conv1D

    return peft.LoraConfig(
        r=section.r,
        lora_alpha=section.alpha,
        lora_dropout=section.dropout,
        target_modules=section.target_modules,
        fan_in_fan_out=any(isinstance(module, Conv1D) for module in model.modules()),  # GPT-2's layers are transposed
        task_type="SEQ_2_SEQ_LM" if model.config.is_encoder_decoder else "CAUSAL_LM",
    )
