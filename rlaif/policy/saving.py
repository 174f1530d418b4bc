"""Writes a policy as a folder that transformers, or peft for an adapter, loads alone, and loads it again to see."""

from __future__ import annotations

import logging
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from itertools import count
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rlaif.core.errors import RlaifError
from rlaif.core.schema import reason_of
from rlaif.core.system.devices import is_out_of_memory
from rlaif.core.system.hub import is_cached
from rlaif.policy.adapter import add_adapter, hide_leftover_adapter
from rlaif.policy.loading import hide_progress_bars
from rlaif.policy.parts import autocast, inner

TOLERANCE = {torch.float32: 2e-3, torch.bfloat16: 5e-2}
"""By how much logits of the same weights may differ on another device, as a share of the largest logit."""


def save(
    model: Any, tokenizer: Any, value_head: nn.Module | None, folder: Path, *, merge: bool, dtype: torch.dtype
) -> None:
    """
    Write a model with its tokenizer and generation settings, and apart from it the value head.

    What was written is loaded again, and has to make the logits of the model in memory.

    Args:
        model: of transformers, or of peft: only its adapter is written then.
        tokenizer: the policy's.
        value_head: goes to `value_head.safetensors`; None where there is no critic.
        folder: made if need be.
        merge: write a peft model as the whole model that it amounts to, in float32.
        dtype: that the model computes in.

    Raises:
        RlaifError: the folder cannot be loaded, or holds another model; it is renamed to `FOLDER.differs`.

    """
    from safetensors.torch import save_file
    from transformers import GenerationConfig

    if merge and inner(model) is not model:
        model, dtype = deepcopy(model).float(), torch.float32
        expected = probe_logits(model, dtype)
        model = _merge(model)
    else:
        if {p.dtype for p in model.parameters()} == {torch.float32}:
            dtype = torch.float32  # the exact comparison, also of what is trained by autocast
        expected = probe_logits(model, dtype)
    # transformers refuses to write settings that it has read: published ones set a temperature without sampling.
    settings, inner(model).generation_config = inner(model).generation_config, GenerationConfig()
    try:
        with hide_progress_bars():
            model.save_pretrained(folder)
    finally:
        inner(model).generation_config = settings
    settings.to_json_file(folder / "generation_config.json", use_diff=True, keys_to_pop=["compile_config"])
    tokenizer.save_pretrained(folder)
    if value_head is not None:
        head = {name: tensor.contiguous().cpu() for name, tensor in value_head.state_dict().items()}
        save_file(head, folder / "value_head.safetensors")
    _refuse_another_model(model, folder, expected, dtype)


def _merge(model: Any) -> Any:
    """
    Return a peft model, which is changed, as the model of transformers that it amounts to.

    Layers that share weights with one that has an adapter get weights of their own first: where the output layer is
    tied to the embeddings, what is merged into one of them would go into the other too.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer

    layers = [module.get_base_layer() for module in model.modules() if isinstance(module, BaseTunerLayer)]
    adapted = {id(layer.weight) for layer in layers if hasattr(layer, "weight")}
    owners = Counter(id(weight) for _, weight in _weights_of_modules(model))
    untied = [(module, w) for module, w in _weights_of_modules(model) if id(w) in adapted and owners[id(w)] > 1]
    for module, weight in untied:
        module.weight = nn.Parameter(weight.data.clone(), requires_grad=False)
    with _hide_warnings():  # of what would have become of ties
        merged = model.merge_and_unload()
    parameters = dict(merged.named_parameters(remove_duplicate=False))
    pairs = merged.all_tied_weights_keys.items()
    merged.all_tied_weights_keys = {one: other for one, other in pairs if parameters.get(one) is parameters.get(other)}
    is_tied = merged.get_output_embeddings().weight is merged.get_input_embeddings().weight
    # T5 tells from this key, too, whether to scale its hidden states; its weights are untied by their being there.
    if not is_tied and not hasattr(merged.config, "scale_decoder_outputs"):
        merged.config.tie_word_embeddings = merged.config.get_text_config(decoder=True).tie_word_embeddings = False
    return merged


def _weights_of_modules(model: Any) -> list[tuple[Any, nn.Parameter]]:
    """Return each module with a weight, also where several share one."""
    found = ((module, vars(module)["_parameters"].get("weight")) for module in model.modules())
    return [(module, weight) for module, weight in found if weight is not None]


# --- loaded again ---------------------------------------------------------------------------------------------------


@torch.no_grad()
def probe_logits(model: Any, dtype: torch.dtype) -> Tensor:
    """Return the logits of a few tokens, [1, 8, V], in float32 on the CPU."""
    own = inner(model)
    rows = own.get_input_embeddings().weight.shape[0]
    ids = (torch.arange(8, device=own.device) * 7919 % rows)[None]
    given = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if model.config.is_encoder_decoder:
        given["decoder_input_ids"] = ids
    with autocast(own.device, dtype):
        logits: Tensor = model(**given, use_cache=False).logits
    return logits.float().cpu()


def _refuse_another_model(model: Any, folder: Path, expected: Tensor, dtype: torch.dtype) -> None:
    """Raise `RlaifError` where what a folder holds does not make the expected logits."""
    try:
        with hide_progress_bars(), _hide_warnings():
            found = probe_logits(_load_again(model, folder), dtype)
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise _put_apart(folder, f"cannot be loaded again: {reason_of(error)}") from error
    known = expected.isfinite()  # a policy that diverged is written as it is
    scale = max(1.0, float(expected[known].abs().max())) if known.any() else 1.0
    same_kind = found.shape == expected.shape and torch.equal(found.isfinite(), known)
    off = float((found - expected)[known].abs().max()) if same_kind and known.any() else float(not same_kind)
    if not off <= TOLERANCE[dtype] * scale:
        raise _put_apart(
            folder, f"is not the model that was trained: its logits are off by {off:.2g}, the largest is {scale:.2g}"
        )


def _put_apart(folder: Path, why: str) -> RlaifError:
    """Rename a folder that nobody should take for the trained model."""
    names = (folder.with_name(f"{folder.name}.differs{number or ''}") for number in count())
    apart = next(name for name in names if not name.exists())
    folder.rename(apart)
    return RlaifError(f"{folder}: what was written {why}; it lies apart in {apart}")


def _load_again(model: Any, folder: Path) -> Any:
    """Load a folder as whoever gets it does; an adapter onto its base, in the dtype that it was trained on."""
    own = inner(model)
    if own is model:
        return type(model).from_pretrained(folder, dtype=torch.float32).eval()
    source, revision = own.config.name_or_path, next(iter(model.peft_config.values())).revision
    if source and (Path(source).is_dir() or is_cached(source, revision)):
        more = {"quantization_config": q} if (q := getattr(own.config, "quantization_config", None)) else {}
        with hide_leftover_adapter(source) as base_folder:
            base = type(own).from_pretrained(base_folder, revision=revision, dtype=own.dtype, **more)
    else:  # made in memory, and never on disk
        base = deepcopy(model).unload()
    return add_adapter(base, str(folder), None, None, str(folder))[0].eval()


@contextmanager
def _hide_warnings() -> Iterator[None]:
    log = logging.getLogger("transformers")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        log.setLevel(level)
