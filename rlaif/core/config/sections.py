"""The sections of a run file as typed dataclasses: each key with its type, range, default, unit and meaning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le, Lt

from rlaif.core.config.knobs import JudgeRef, knob, knob_without_default
from rlaif.core.paths import ModelSource
from rlaif.core.ranges import Count, Natural, NotNegative, Positive, Share
from rlaif.core.schema import Checked


@dataclass(frozen=True, kw_only=True)
class LoraSection(Checked):
    """LoRA adapters (Hu et al. 2021) through peft."""

    r: Count = knob(16, "rank")
    alpha: Positive = knob(32, "scale of the update, times 1 / r")
    dropout: Annotated[float, Ge(0), Lt(1)] = knob(0.0, "dropout of the adapter inputs during updates")
    target_modules: list[str] | str | None = knob(None, "names of the layers; null: peft's choice for the architecture")


@dataclass(frozen=True, kw_only=True)
class PolicySection(Checked):
    """The model to train."""

    model: ModelSource = knob_without_default(
        "google/flan-t5-base", "hub id or folder: causal or seq2seq, or a LoRA adapter of one"
    )
    revision: str | None = knob(None, "revision of the hub repository")
    dtype: Literal["auto", "float32", "bfloat16"] = knob(
        "auto", "type of the frozen base and of autocast; trained weights and Adam stay float32"
    )
    lora: LoraSection | None = knob(None, "{r: 16, alpha: 32}, or null for full fine-tuning")
    critic: Literal["shared", "separate"] = knob("shared", "value head on the policy's trunk, or a network of its own")
    gradient_checkpointing: bool = knob(False, "recompute activations: less memory, slower")
    load_in_4bit: bool = knob(False, "load the frozen base in 4 bit (needs bitsandbytes and lora)")
    merge: bool = knob(False, "merge the LoRA adapter into the saved model")

    def __post_init__(self) -> None:
        if self.load_in_4bit and self.lora is None:
            raise ValueError("load_in_4bit needs lora: a 4-bit base cannot be trained")
        if self.load_in_4bit and self.merge:
            raise ValueError(
                "merge cannot be combined with load_in_4bit: load the adapter onto the base in 16 bit instead"
            )


@dataclass(frozen=True, kw_only=True)
class DataSection(Checked):
    """The prompts."""

    dataset: str = knob_without_default(
        "Anthropic/hh-rlhf", "hub id, folder or file: jsonl, json, csv, tsv, parquet, txt"
    )
    name: str | None = knob(None, "configuration of a hub data set")
    data_dir: str | None = knob(None, "folder inside the data set")
    revision: str | None = knob(None, "revision of the hub repository")
    split: str = knob("train", "split to train on")
    test_split: str | None = knob(
        None, "split for the reported numbers, or a file such as test.jsonl; null: a share of `split`"
    )
    column: str | None = knob(
        None, "column of prompts, as in prompt.text; null: prompt, else the shared start of chosen and rejected"
    )
    template: str | None = knob(None, "template of the prompts, prompts/NAME.md")
    where: str | None = knob(None, "rows to keep, as in: toxicity > 0.5 and lang == 'en'")
    limit: Count | None = knob(None, "maximum number of rows to read from each split")
    max_prompt_tokens: Count = knob(256, "maximum tokens of a prompt, before the template")
    overlong: Literal["drop", "truncate"] = knob("truncate", "drop longer prompts, or truncate them on the left")


@dataclass(frozen=True, kw_only=True)
class GenerationSection(Checked):
    """How the policy samples completions."""

    max_new_tokens: Count = knob(64, "maximum tokens of a completion")
    min_new_tokens: Natural = knob(5, "minimum tokens of a completion")
    temperature: Positive = knob(1.0, "divides the logits, in sampling and in log-probabilities")
    top_p: Annotated[float, Gt(0), Le(1)] = knob(1.0, "nucleus sampling: probability mass to sample from")

    def __post_init__(self) -> None:
        if self.min_new_tokens > self.max_new_tokens:
            raise ValueError(
                f"min_new_tokens ({self.min_new_tokens}) should not exceed max_new_tokens ({self.max_new_tokens})"
            )


@dataclass(frozen=True, kw_only=True)
class TrainingSection(Checked):
    """Settings of all algorithms. Batch sizes are global over all processes."""

    steps: Count = knob(200, "number of batches")
    batch_size: Count = knob(64, "completions per step")
    mini_batch_size: Count = knob(16, "completions per optimizer step")
    micro_batch_tokens: Count = knob(4096, "tokens per forward pass; affects memory and speed, not the result")
    learning_rate: Positive = knob(1.0e-5, "learning rate of Adam")
    lr_scheduler_type: Literal["constant", "linear", "cosine"] = knob("constant", "linear and cosine end at 0")
    warmup_steps: Natural = knob(0, "steps in which the learning rate rises from 0")
    max_grad_norm: Positive = knob(1.0, "gradients are clipped to this norm")
    judge_patience: NotNegative = knob(600.0, "seconds to wait for a judge that is down, before the run stops")

    def __post_init__(self) -> None:
        if self.batch_size % self.mini_batch_size:
            raise ValueError(
                f"batch_size ({self.batch_size}) should be a multiple of mini_batch_size ({self.mini_batch_size})"
            )


@dataclass(frozen=True, kw_only=True)
class PPOSection(Checked):
    """PPO (Schulman et al. 2017; Ziegler et al. 2019)."""

    ppo_epochs: Count = knob(4, "passes over a batch")
    vf_learning_rate: Positive | None = knob(
        None, "learning rate of the value head; null: 10 times learning_rate, because the head is new"
    )
    kl_coef: NotNegative = knob(0.05, "penalty per nat of KL from the reference")
    kl_in: Literal["reward", "loss"] = knob(
        "reward", "where the KL penalty is applied: subtracted from the reward, or added to the loss"
    )
    kl_estimator: Literal["k1", "k2", "k3"] = knob(
        "k1", "estimator of the KL per token (Schulman 2020); k1 means k2 in the loss"
    )
    adap_kl_ctrl: bool = knob(False, "adapt kl_coef to bring the KL to `target`")
    target: Positive = knob(6.0, "nats per completion, for adap_kl_ctrl")
    horizon: Positive = knob(10_000.0, "completions in which adap_kl_ctrl may double kl_coef")
    gamma: Share = knob(1.0, "discount per token")
    lam: Share = knob(0.95, "lambda of GAE")
    whiten_advantages: bool = knob(True, "normalise advantages to mean 0 and variance 1 over the batch")
    use_score_scaling: bool = knob(False, "divide rewards by their running standard deviation")
    use_score_norm: bool = knob(False, "also subtract their running mean first")
    score_clip: Positive | None = knob(None, "clip rewards to +- this, after scaling")
    missing_eos_penalty: NotNegative | None = knob(None, "penalty for a completion that was cut at the maximum length")
    cliprange: Positive = knob(0.2, "clip the ratio of probabilities to 1 +- this")
    cliprange_value: Positive | None = knob(0.2, "largest change of a value per step; null: no limit")
    dual_clip: Annotated[float, Gt(1)] | None = knob(None, "bound on the loss of bad tokens (Ye et al. 2020), as 3.0")
    vf_coef: NotNegative = knob(0.1, "weight of the value loss")
    entropy_coef: NotNegative = knob(0.0, "weight of the entropy bonus")
    critic_warmup_steps: Natural = knob(0, "first steps, in which only the values are trained")
    target_kl: Positive | None = knob(None, "nats per token; a step's update ends early beyond 1.5 times this")

    def __post_init__(self) -> None:
        if self.use_score_norm and not self.use_score_scaling:
            raise ValueError("use_score_norm needs use_score_scaling: true")


@dataclass(frozen=True, kw_only=True)
class GroupSection(Checked):
    """Settings of GRPO (Shao et al. 2024) and RLOO (Ahmadian et al. 2024), besides those of `ppo`; PPO ignores them."""

    num_generations: Annotated[int, Ge(2)] = knob(8, "completions per prompt, which are compared with each other")


@dataclass(frozen=True, kw_only=True)
class StopSection(Checked):
    """When to stop before the last step."""

    score: Share | None = knob(None, "stop at this mean score over the window")
    window: Count = knob(10, "number of steps to average over")
    kl: Positive | None = knob(None, "stop at this mean KL over the window, in nats per completion")


@dataclass(frozen=True, kw_only=True)
class GuardSection(Checked):
    """
    Held-out judges that watch the training and choose the model to keep.

    The bands compare the model with the model before training, on the guard prompts. A model outside a band is not
    kept. It raises an alarm if its training score is higher than before.
    """

    judges: list[JudgeRef] = knob([], "cards of held-out judges")
    every: Count = knob(10, "steps between checks")
    num_prompts: Count = knob(64, "number of prompts for the guard, at most 10 % of all")
    score_drop: NotNegative = knob(0.05, "largest drop of a held-out score below its best so far")
    follow: Share = knob(0.2, "share of the training score's gain that held-out scores have to reach")
    distinct_2: NotNegative = knob(0.85, "smallest distinct-2 at equal tokens, relative to before training")
    length: list[float] = knob([0.75, 1.35], "band of the mean length in tokens, relative to before training")
    perplexity: list[float] = knob(
        [0.65, 1.5], "band of the perplexity under the reference, relative to before training"
    )
    on_alarm: Literal["warn", "stop"] = knob("warn", "what an alarm does")
    patience: Count | None = knob(None, "number of checks without a better model after which the run stops")

    def __post_init__(self) -> None:
        for name in ("length", "perplexity"):
            band = getattr(self, name)
            if len(band) != 2 or not 0 <= band[0] < band[1]:
                raise ValueError(f"{name} should be a band, as in [0.8, 1.25], not {band}")


@dataclass(frozen=True, kw_only=True)
class EvaluationSection(Checked):
    """The measurement before and after training."""

    judges: list[JudgeRef] = knob([], "cards of held-out judges; without one there is no evidence")
    num_prompts: Count = knob(500, "number of test prompts, at most 20 % of all")
    completions_per_prompt: Count = knob(1, "completions per prompt; 25 for the figures of RealToxicityPrompts")


@dataclass(frozen=True, kw_only=True)
class CheckpointSection(Checked):
    """Checkpoints, from which a stopped run resumes."""

    every: Count = knob(20, "steps between checkpoints")
    keep: Count = knob(2, "number of newest checkpoints to keep")


@dataclass(frozen=True, kw_only=True)
class BudgetSection(Checked):
    """Limits on the cost of remote judges; local judges cost nothing."""

    usd: Positive | None = knob(None, "maximum USD per run")
    calls: Count | None = knob(None, "maximum calls per run, including retries")


def refuse_split_groups(batch_size: int, num_generations: int) -> None:
    """Raise `ValueError` if a batch does not consist of complete groups."""
    if batch_size % num_generations:
        raise ValueError(f"batch_size ({batch_size}) should be a multiple of num_generations ({num_generations})")
