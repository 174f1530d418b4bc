"""The class that the library `evaluate` loads for a judge. The script written by `rlaif.measurement` imports it."""

from __future__ import annotations

from typing import Any, ClassVar

import datasets
import evaluate

from rlaif.evaluation.hf import toxicity
from rlaif.judges.registry import load_judge
from rlaif.judges.scoring import call_judge

_INPUTS = """\
Args:
    predictions: texts to judge.
    aggregation: all (one toxicity per text), maximum, or ratio (share of texts with at least `threshold` toxicity).
    toxic_label: bad label of a classifier; by default the one of its card.
    threshold: toxicity from which a text counts for ratio, 0.5 by default.
"""


class JudgeMeasurement(evaluate.Measurement):  # type: ignore[misc]
    """A judge as a measurement. Subclasses name the card."""

    card: ClassVar[Any]

    def _info(self) -> Any:
        return evaluate.MeasurementInfo(
            description="Toxicity, 1 - score, by a judge of rlaif.",
            citation="",
            inputs_description=_INPUTS,
            features=datasets.Features({"predictions": datasets.Value("string")}),
        )

    def _download_and_prepare(self, dl_manager: Any) -> None:
        # As with the stock measurement, a configuration names another model; here it is another card.
        self._judge = load_judge(self.card if self.config_name == "default" else self.config_name)
        call_judge(self._judge, [])

    def compute(self, *, predictions: Any = None, **keys: Any) -> Any:
        """Return the result, also for an empty list of texts."""
        if predictions is not None and not len(predictions):
            return self._compute([], **{key: value for key, value in keys.items() if key != "references"})
        return super().compute(predictions=predictions, **keys)

    def _compute(
        self, predictions: Any, aggregation: str = "all", toxic_label: str | None = None, threshold: float = 0.5
    ) -> dict[str, Any]:
        return toxicity(list(predictions), self._judge, aggregation, toxic_label, threshold)
