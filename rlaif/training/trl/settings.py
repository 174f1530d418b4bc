"""What the keys of a run mean to TRL's trainers, and which of them mean nothing there."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

from rlaif.core.config.trainers import GroupConfig
from rlaif.core.errors import InputError
from rlaif.core.schema import short_repr
from rlaif.core.seeds import seed_of
from rlaif.core.system.devices import computes_on
from rlaif.core.system.distributed import refuse_several
from rlaif.policy.adapter import base_of
from rlaif.policy.loading import LoadedModel, config_of

OF_A_CRITIC = ("vf_learning_rate", "gamma", "lam", "cliprange_value", "vf_coef", "critic_warmup_steps", "critic")
"""Keys of what there is none of."""

PPO_ONLY = (*OF_A_CRITIC, "kl_in", "kl_estimator", "adap_kl_ctrl", "target", "horizon", "target_kl")
"""Keys that TRL's trainers have nothing for."""

MEANINGLESS = {"grpo": PPO_ONLY, "rloo": (*PPO_ONLY, "dual_clip", "entropy_coef")}

DONE_ANYWAY: dict[str, dict[str, float | str]] = {
    "grpo": {"lam": 1.0, "vf_coef": 0.0, "kl_in": "loss", "kl_estimator": "k3"},
    "rloo": {"lam": 1.0, "vf_coef": 0.0},
}
"""Values, beside the defaults, that say what is done: without a critic each token earns the whole advantage."""


def refuse_unfit(args: GroupConfig, model: Any, revision: str | None = None) -> None:
    """
    Raise `InputError` where these algorithms cannot do what is asked of them; no weights are loaded for it.

    Args:
        args: a key that means nothing, and is not left at its default, is refused, not passed over.
        model: hub id, folder, or a model.
        revision: of the hub's repository.

    """
    for key in fields(args):
        fitting = (key.default, DONE_ANYWAY[args.algorithm].get(key.name, key.default))
        if key.name in MEANINGLESS[args.algorithm] and (value := getattr(args, key.name)) not in fitting:
            why = "there is no critic" if key.name in OF_A_CRITIC else "TRL's trainer has no such thing"
            raise InputError(
                f"{'policy' if key.name == 'critic' else 'ppo'}.{key.name}: {short_repr(value)} means nothing to "
                f"algorithm: {args.algorithm} ({why}); leave it out"
            )
    refuse_several(f"algorithm: {args.algorithm}")
    if isinstance(model, str | Path):
        base, adapter = base_of(str(model), revision, "policy.model")
        config = config_of(base, None if adapter else revision, "policy.model")
    else:
        config = getattr(model.model if isinstance(model, LoadedModel) else model, "config", None)
    if getattr(config, "is_encoder_decoder", False):
        raise InputError(
            f"algorithm: {args.algorithm} is TRL's, which trains causal models only, and policy.model is a seq2seq "
            "model; take algorithm: ppo"
        )


def updates_of(args: GroupConfig) -> int:
    """Return how many optimizer steps a step makes."""
    return args.ppo_epochs * (args.batch_size // args.mini_batch_size)


def samples_at_once(args: GroupConfig, longest: int) -> int:
    """
    Return how many completions a forward pass takes: the most that divide a mini-batch and fit into its tokens.

    Args:
        args: of the run.
        longest: tokens of the longest prompt.

    """
    size, most = args.mini_batch_size, args.micro_batch_tokens // (longest + args.max_new_tokens)
    return max(count for count in range(1, size + 1) if size % count == 0 and count <= max(1, most))


def settings_of(args: GroupConfig, *, longest: int, steps: int) -> dict[str, object]:
    """
    Return the arguments of GRPOConfig or RLOOConfig.

    Args:
        args: of the run.
        longest: tokens of the longest prompt.
        steps: batches that are left.

    """
    micro = samples_at_once(args, longest)
    settings: dict[str, object] = {
        "output_dir": args.output_dir,
        "seed": seed_of(args.seed, "trl") % 2**31,
        "max_steps": steps * updates_of(args),
        "per_device_train_batch_size": micro,
        "gradient_accumulation_steps": args.mini_batch_size // micro,
        "steps_per_generation": args.batch_size // micro,
        "num_generations": args.num_generations,
        "num_iterations": args.ppo_epochs,
        "max_completion_length": args.max_new_tokens,
        "temperature": args.temperature,
        "learning_rate": args.learning_rate,
        "max_grad_norm": args.max_grad_norm,
        "beta": 0.0,  # until the trainer is made: it would load a reference of its own
        "epsilon": args.cliprange,
        "shuffle_dataset": False,
        "router_aux_loss_coef": 0.0,
        "use_cpu": computes_on().type == "cpu",
        "bf16": False,  # autocast is the policy's own, and so is the recomputing of activations
        "gradient_checkpointing": False,
        "gradient_checkpointing_kwargs": {"use_reentrant": False},
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
    }
    if args.algorithm == "rloo":
        return settings | {"normalize_advantages": False}  # the bridge does it: it has the unjudged ones to scale too
    return settings | {
        "scale_rewards": "group" if args.whiten_advantages else "none",
        "delta": args.dual_clip,
        "entropy_coef": args.entropy_coef,
    }
