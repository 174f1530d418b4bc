"""What a run imports and makes once, done once for all the processes that are forked from here."""

import accelerate.tracking
import matplotlib.backends.backend_svg
import matplotlib.figure
import openai
import peft
import scipy.stats
import torch._dynamo
import torch.distributed
import trl
from transformers.conversion_mapping import get_checkpoint_conversion_mapping

import rlaif.__main__
import rlaif.cli
import rlaif.cli.bench
import rlaif.report.bench
import rlaif.training.run.run
from rlaif.core.config.run import RunConfig
from rlaif.core.schema import check
from tests import events

__all__ = ["accelerate", "events", "matplotlib", "openai", "peft", "rlaif", "scipy", "torch", "trl"]

get_checkpoint_conversion_mapping("llama")
check(RunConfig, {"policy": {"model": "owner/name"}, "data": {"dataset": "x"}, "judge": "x"}, "nothing")
trl.GRPOTrainer, trl.RLOOTrainer  # noqa: B018, which trl imports when they are asked for
