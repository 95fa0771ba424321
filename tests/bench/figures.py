"""What a figure means and how figures are compared: metrics, medians, ratios and bars (pure)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Literal

Verdict = Literal["aim met", "met", "missed", ""]


@dataclass(frozen=True)
class Metric:
    """One figure that a measurement gives."""

    name: str
    title: str
    unit: str
    more_is_better: bool


@dataclass(frozen=True)
class Bar:
    """What a figure, or the ratio of two, must reach: at least `limit` where more is better, else at most."""

    limit: float
    aim: float | None = None
    absolute: bool = False
    """The bar is for the figure itself, also where there is a reference to see it beside."""

    def verdict(self, value: float, more_is_better: bool) -> Verdict:
        def reached(mark: float) -> bool:
            return value >= mark if more_is_better else value <= mark

        if self.aim is not None and reached(self.aim):
            return "aim met"
        return "met" if reached(self.limit) else "missed"


@dataclass
class Row:
    """The samples of one metric by environment: the first is under test, the second its reference."""

    metric: Metric
    samples: dict[str, list[float]]
    bar: Bar | None = None

    def medians(self) -> dict[str, float]:
        return {name: median(values) for name, values in self.samples.items() if values}

    def ratio(self) -> float | None:
        """The subject's median over the reference's; None where one is missing or there is no reference."""
        medians = self.medians()
        subject, reference = [medians.get(name) for name in [*self.samples, "", ""][:2]]
        return subject / reference if subject is not None and reference else None

    def spread(self) -> float | None:
        """From the least to the most as a part of the median, in the environment where that is widest."""
        known = [
            (max(values) - min(values), median(values)) for values in self.samples.values() if values[1:]
        ]
        return max((width / middle for width, middle in known if middle), default=None)

    def judged(self) -> float | None:
        """What the bar is for: the ratio, or the first median itself where the bar or the environments ask for that."""
        if len(self.samples) > 1 and not (self.bar and self.bar.absolute):
            return self.ratio()
        return self.medians().get(next(iter(self.samples), ""))

    def verdict(self) -> Verdict:
        value = self.judged()
        if self.bar is None:
            return ""
        return "missed" if value is None else self.bar.verdict(value, self.metric.more_is_better)

    def to_json(self) -> dict[str, Any]:
        return {
            "title": self.metric.title,
            "unit": self.metric.unit,
            "more_is_better": self.metric.more_is_better,
            "samples": self.samples,
            "medians": self.medians(),
            "ratio": self.ratio(),
            "bar": self.bar.limit if self.bar else None,
            "aim": self.bar.aim if self.bar else None,
            "verdict": self.verdict(),
        }


@dataclass
class Results:
    """What a suite has measured so far."""

    title: str
    environments: Sequence[str]
    rows: dict[str, Row] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def expect(self, metrics: Sequence[Metric], bars: Mapping[str, Bar]) -> None:
        """Makes the rows of these metrics, so that one which never got a figure is seen too."""
        for metric in metrics:
            samples: dict[str, list[float]] = {name: [] for name in self.environments}
            self.rows[metric.name] = Row(metric, samples, bars.get(metric.name))

    def add(self, environment: str, figures: Mapping[str, float]) -> None:
        for name, value in figures.items():
            self.rows[name].samples[environment].append(value)

    def missed(self) -> list[str]:
        return [row.metric.title for row in self.rows.values() if row.verdict() == "missed"]

    def to_json(self) -> dict[str, Any]:
        return {
            "title": self.title,
            "environments": list(self.environments),
            "rows": {name: row.to_json() for name, row in self.rows.items()},
            "failures": self.failures,
        }


def number(value: float | None) -> str:
    """Three digits that mean something: 123, 12.3, 1.23, 0.012."""
    if value is None:
        return "-"
    size = abs(value)
    digits = 0 if size >= 100 else 1 if size >= 10 else 2 if size >= 1 else 3
    return f"{value:.{digits}f}"
