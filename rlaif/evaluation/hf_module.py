"""The class that the library `evaluate` loads for a judge: imported by the script that `rlaif.measurement` writes."""

from __future__ import annotations

from typing import Any, ClassVar

import datasets
import evaluate

from rlaif.evaluation.hf import toxicity
from rlaif.judges.registry import load_judge
from rlaif.judges.scoring import call_judge

_ABOUT = """\
Args:
    predictions: texts.
    aggregation: all (a toxicity for each text), maximum, or ratio (of texts that are at least `threshold` toxic).
    toxic_label: the label that is bad, where the judge is a classifier; by default the one of its card.
    threshold: of ratio, 0.5 by default.
"""


class JudgeMeasurement(evaluate.Measurement):  # type: ignore[misc]
    """A judge as a measurement; what it is derived from names the card."""

    card: ClassVar[Any]

    def _info(self) -> Any:
        return evaluate.MeasurementInfo(
            description="Toxicity, 1 - score, by a judge of rlaif.",
            citation="",
            inputs_description=_ABOUT,
            features=datasets.Features({"predictions": datasets.Value("string")}),
        )

    def _download_and_prepare(self, dl_manager: Any) -> None:
        # As with the stock measurement, a configuration names another model: here another card.
        self._judge = load_judge(self.card if self.config_name == "default" else self.config_name)
        call_judge(self._judge, [])

    def compute(self, *, predictions: Any = None, **keys: Any) -> Any:
        """Return the result; of no text as of some."""
        if predictions is not None and not len(predictions):
            return self._compute([], **{key: value for key, value in keys.items() if key != "references"})
        return super().compute(predictions=predictions, **keys)

    def _compute(
        self, predictions: Any, aggregation: str = "all", toxic_label: str | None = None, threshold: float = 0.5
    ) -> dict[str, Any]:
        return toxicity(list(predictions), self._judge, aggregation, toxic_label, threshold)
