"""LoRA adapters: which model one is of, and putting an old or a new one onto it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rlaif.core.errors import InputError
from rlaif.core.schema import reason_of
from rlaif.core.system.hub import explain_hub_error

WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
"""Files of which a folder that holds a whole model has one."""


def base_of(source: str, revision: str | None, where: str) -> tuple[str, bool]:
    """Return the model to load, and whether `source` is an adapter of it. A folder with weights of its own is none."""
    from transformers.utils import find_adapter_config_file

    if _is_whole_model(source):
        return source, False
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


def where_of_base(source: str, where: str) -> str:
    """Return the first words of a message about the model that an adapter names."""
    return f"{where}: base_model_name_or_path in adapter_config.json of {source}"


@contextmanager
def hide_leftover_adapter(source: str) -> Iterator[str]:
    """Yield a folder to load a whole model from: transformers puts any adapter that lies beside the weights onto it."""
    folder = Path(source)
    if not (_is_whole_model(source) and (folder / "adapter_config.json").exists()):
        yield source
        return
    with TemporaryDirectory() as view:
        for file in folder.iterdir():
            if not file.name.startswith("adapter_"):
                (Path(view) / file.name).symlink_to(file.resolve())
        yield view


def _is_whole_model(source: str) -> bool:
    folder = Path(source)
    return (folder / "config.json").exists() and any((folder / name).exists() for name in WEIGHTS)


def add_adapter(
    model: Any, adapter: str | None, revision: str | None, lora: Any | None, where: str
) -> tuple[Any, bool]:
    """Put a LoRA adapter onto the model: an old one to be trained on, or a new one, whose reference is the base."""
    if adapter is None and lora is None:
        return model, False
    import peft

    try:
        if adapter is not None:
            resize_embeddings(model, adapter, revision)
            return peft.PeftModel.from_pretrained(model, adapter, revision=revision, is_trainable=True), False
        config = lora if isinstance(lora, peft.PeftConfig) else _lora_config(lora, model)
        return peft.get_peft_model(model, config), _leaves_base(config)
    except Exception as error:
        what = f"the adapter {adapter}" if adapter else "lora"
        raise InputError(f"{where}: {what} does not fit the model: {reason_of(error)}") from error


def resize_embeddings(model: Any, adapter: str, revision: str | None) -> None:
    """Give a model as many embeddings as the adapter was trained on: tokens may have been added for it."""
    from peft.utils import load_peft_weights

    layers = [model.get_input_embeddings(), model.get_output_embeddings()]
    names = tuple(f".{name}" for name, module in model.named_modules() if any(module is layer for layer in layers))
    rows = {
        tensor.shape[1 if "lora_embedding_A" in key else 0]
        for key, tensor in load_peft_weights(adapter, device="cpu", revision=revision).items()
        if any(f"{name}." in f".{key}" for name in names) and not key.endswith(("lora_A.weight", "lora_embedding_B"))
    }
    if len(rows) == 1 and (count := rows.pop()) != layers[0].weight.shape[0]:
        model.resize_token_embeddings(count, mean_resizing=False)


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
