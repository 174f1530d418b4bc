"""The sections of a run file as types: each knob with its unit, its default and what it may be."""

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
    dropout: Annotated[float, Ge(0), Lt(1)] = knob(0.0, "share of adapter inputs dropped while learning")
    target_modules: list[str] | str | None = knob(None, "names of the layers; null: peft's choice for the architecture")


@dataclass(frozen=True, kw_only=True)
class PolicySection(Checked):
    """The model that is trained."""

    model: ModelSource = knob_without_default(
        "google/flan-t5-base", "hub id or folder: causal or seq2seq, or a LoRA adapter of one"
    )
    revision: str | None = knob(None, "of the hub's repository")
    dtype: Literal["auto", "float32", "bfloat16"] = knob(
        "auto", "of the frozen base and of autocast; trained weights and Adam stay float32"
    )
    lora: LoraSection | None = knob(None, "{r: 16, alpha: 32}, or null for full fine-tuning")
    critic: Literal["shared", "separate"] = knob("shared", "value head on the policy's trunk, or a network of its own")
    gradient_checkpointing: bool = knob(False, "recompute activations: less memory, slower")
    load_in_4bit: bool = knob(False, "the frozen base in 4 bit (needs bitsandbytes and lora)")
    merge: bool = knob(False, "merge the LoRA adapter into the model that is kept")

    def __post_init__(self) -> None:
        if self.load_in_4bit and self.lora is None:
            raise ValueError("load_in_4bit needs lora: a 4-bit base cannot be trained")
        if self.load_in_4bit and self.merge:
            raise ValueError("merge does not go with load_in_4bit: load the adapter onto the base in 16 bit instead")


@dataclass(frozen=True, kw_only=True)
class DataSection(Checked):
    """The prompts."""

    dataset: str = knob_without_default("Anthropic/hh-rlhf", "hub id, folder or file: jsonl, csv, parquet, txt")
    name: str | None = knob(None, "configuration of a hub data set")
    data_dir: str | None = knob(None, "folder inside the data set")
    revision: str | None = knob(None, "of the hub's repository")
    split: str = knob("train", "split to train on")
    test_split: str | None = knob(
        None, "split of the reported numbers, or a file such as test.jsonl; null: a share of `split`"
    )
    column: str | None = knob(
        None, "column of the prompt, as prompt.text; null: prompt, else what chosen and rejected share"
    )
    template: str | None = knob(None, "prompts/NAME.md that the text is put into")
    where: str | None = knob(None, "rows to keep, as in: toxicity > 0.5 and lang == 'en'")
    limit: Count | None = knob(None, "rows to read at most, of each split")
    max_prompt_tokens: Count = knob(256, "tokens of the text, before the template")
    overlong: Literal["drop", "truncate"] = knob("truncate", "what happens to longer ones; truncate cuts the beginning")


@dataclass(frozen=True, kw_only=True)
class GenerationSection(Checked):
    """How the policy answers."""

    max_new_tokens: Count = knob(64, "tokens of a completion at most")
    min_new_tokens: Natural = knob(5, "tokens before it may end")
    temperature: Positive = knob(1.0, "divides the logits, in sampling and in log-probabilities")
    top_p: Annotated[float, Gt(0), Le(1)] = knob(1.0, "share of probability that is sampled from; 1: all")

    def __post_init__(self) -> None:
        if self.min_new_tokens > self.max_new_tokens:
            raise ValueError(
                f"min_new_tokens ({self.min_new_tokens}) should not exceed max_new_tokens ({self.max_new_tokens})"
            )


@dataclass(frozen=True, kw_only=True)
class TrainingSection(Checked):
    """What every algorithm has. All batch sizes are global over processes."""

    steps: Count = knob(200, "batches")
    batch_size: Count = knob(64, "completions a step")
    mini_batch_size: Count = knob(16, "completions an optimizer step")
    micro_batch_tokens: Count = knob(4096, "tokens a forward pass holds; changes memory and speed, not the result")
    learning_rate: Positive = knob(1.0e-5, "of Adam")
    lr_scheduler_type: Literal["constant", "linear", "cosine"] = knob("constant", "linear and cosine end at 0")
    warmup_steps: Natural = knob(0, "steps in which the learning rate rises from 0")
    max_grad_norm: Positive = knob(1.0, "longer gradients are shortened to this")
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
        None, "of the value head; null: 10 times learning_rate, it begins at nothing"
    )
    kl_coef: NotNegative = knob(0.05, "reward lost per nat of KL from the reference")
    kl_in: Literal["reward", "loss"] = knob(
        "reward", "whether the KL is subtracted from the reward or added to the loss"
    )
    kl_estimator: Literal["k1", "k2", "k3"] = knob(
        "k1", "of the KL at a token (Schulman 2020); in the loss k1 means k2"
    )
    adap_kl_ctrl: bool = knob(False, "steer kl_coef so that the KL comes to `target`")
    target: Positive = knob(6.0, "nats per completion, for adap_kl_ctrl")
    horizon: Positive = knob(10_000.0, "completions in which adap_kl_ctrl may double kl_coef")
    gamma: Share = knob(1.0, "discount of rewards by token")
    lam: Share = knob(0.95, "lambda of GAE")
    whiten_advantages: bool = knob(True, "mean 0 and variance 1 over the batch")
    use_score_scaling: bool = knob(False, "divide rewards by the running standard deviation of all so far")
    use_score_norm: bool = knob(False, "with it, subtract their running mean first")
    score_clip: Positive | None = knob(None, "rewards are cut to +- this, after scaling")
    missing_eos_penalty: NotNegative | None = knob(None, "reward lost by a completion that was cut")
    cliprange: Positive = knob(0.2, "clips the ratio of probabilities to 1 +- this")
    cliprange_value: Positive | None = knob(0.2, "values may move so far in a step; null: any")
    dual_clip: Annotated[float, Gt(1)] | None = knob(None, "bounds the loss of bad tokens (Ye et al. 2020), as 3.0")
    vf_coef: NotNegative = knob(0.1, "weight of the value loss")
    entropy_coef: NotNegative = knob(0.0, "weight of the entropy, which is to grow")
    critic_warmup_steps: Natural = knob(0, "first steps, in which only values are learned")
    target_kl: Positive | None = knob(None, "nats a token; a step's learning ends where it moved 1.5 times this")

    def __post_init__(self) -> None:
        if self.use_score_norm and not self.use_score_scaling:
            raise ValueError("use_score_norm needs use_score_scaling: true")


@dataclass(frozen=True, kw_only=True)
class GroupSection(Checked):
    """GRPO (Shao et al. 2024) and RLOO (Ahmadian et al. 2024), beside what `ppo` says; PPO makes nothing of it."""

    num_generations: Annotated[int, Ge(2)] = knob(8, "completions of each prompt in a batch, compared with each other")


@dataclass(frozen=True, kw_only=True)
class StopSection(Checked):
    """When to stop before the last step."""

    score: Share | None = knob(None, "mean score over the window that is good enough")
    window: Count = knob(10, "steps")
    kl: Positive | None = knob(None, "nats per completion that are too far")


@dataclass(frozen=True, kw_only=True)
class GuardSection(Checked):
    """
    Held-out judges that watch the training and choose the model that is kept.

    The bands compare with the model before training, on the guard prompts; one that is left while the training score
    is higher than before is an alarm, and a model outside them is not kept.
    """

    judges: list[JudgeRef] = knob([], "cards of held-out judges")
    every: Count = knob(10, "steps")
    num_prompts: Count = knob(64, "prompts of the guard part, at most 10 % of all")
    score_drop: NotNegative = knob(0.05, "a held-out score may lie so far below its best so far")
    follow: Share = knob(0.2, "share of the training score's gain that a held-out score has to show")
    distinct_2: NotNegative = knob(0.85, "at equal tokens, times that of before, at least")
    length: list[float] = knob([0.75, 1.35], "mean tokens of a completion, times that of before")
    perplexity: list[float] = knob([0.65, 1.5], "under the reference, times that of before")
    on_alarm: Literal["warn", "stop"] = knob("warn", "what an alarm does")
    patience: Count | None = knob(None, "looks without a better model after which the run stops")

    def __post_init__(self) -> None:
        for name in ("length", "perplexity"):
            band = getattr(self, name)
            if len(band) != 2 or not 0 <= band[0] < band[1]:
                raise ValueError(f"{name} should be a band, as in [0.8, 1.25], not {band}")


@dataclass(frozen=True, kw_only=True)
class EvaluationSection(Checked):
    """The measurement before and after."""

    judges: list[JudgeRef] = knob([], "cards of held-out judges; without one there is no evidence")
    num_prompts: Count = knob(500, "prompts of the test part, at most 20 % of all")
    completions_per_prompt: Count = knob(1, "25 for the figures of RealToxicityPrompts")


@dataclass(frozen=True, kw_only=True)
class CheckpointSection(Checked):
    """What a killed run goes on from."""

    every: Count = knob(20, "steps")
    keep: Count = knob(2, "newest ones")


@dataclass(frozen=True, kw_only=True)
class BudgetSection(Checked):
    """What remote judges may cost; local judges cost nothing."""

    usd: Positive | None = knob(None, "USD a run")
    calls: Count | None = knob(None, "calls a run, retries counted")


def refuse_split_groups(batch_size: int, num_generations: int) -> None:
    """Raise `ValueError` where a batch does not hold whole groups."""
    if batch_size % num_generations:
        raise ValueError(f"batch_size ({batch_size}) should be a multiple of num_generations ({num_generations})")
