"""What a judge may answer: the schema of its verdict, what it is worth, and how it is matched with a person's label."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, ClassVar, Literal

from apps.workflows.evaluating import ScoreKind

Json = Any
Verdict = bool | float | str

MAX_CHOICES, MAX_LABEL, MAX_LEVELS = 20, 100, 100
_NUMBER = {"type": "number", "minimum": -1_000_000, "maximum": 1_000_000}
SCALE_SCHEMA: dict[str, Any] = {
    "description": "What the judge answers: yes or no, a number, or one of several labels.",
    "oneOf": [
        {
            "type": "object",
            "properties": {"type": {"const": "boolean"}},
            "required": ["type"],
            "additionalProperties": False,
        },
        {
            "type": "object",
            "properties": {
                "type": {"const": "numeric"},
                "minimum": _NUMBER,
                "maximum": _NUMBER,
                "step": {
                    "type": "number",
                    "exclusiveMinimum": 0,
                    "maximum": 1_000_000,
                    "description": "Between two numbers that may be given. Without it any number may be.",
                },
            },
            "required": ["type", "minimum", "maximum"],
            "additionalProperties": False,
        },
        {
            "type": "object",
            "properties": {
                "type": {"const": "categorical"},
                "choices": {
                    "type": "array",
                    "minItems": 2,
                    "maxItems": MAX_CHOICES,
                    "description": "From the worst to the best, if they have an order.",
                    "items": {
                        "type": "object",
                        "properties": {
                            "label": {"type": "string", "minLength": 1, "maxLength": MAX_LABEL},
                            "value": {**_NUMBER, "description": "The score; without it the place in the list, from 0."},
                        },
                        "required": ["label"],
                        "additionalProperties": False,
                    },
                },
            },
            "required": ["type", "choices"],
            "additionalProperties": False,
        },
    ],
}


class Scale(ABC):
    """`categories` are those that labels and judgements are compared in, in their order; none where any number may be.

    `aggregates` are the ways in which several votes may become one.
    """

    score_type: ClassVar[ScoreKind]
    aggregates: ClassVar[tuple[str, ...]] = ("majority",)
    categories: tuple[str, ...] = ()

    @property
    @abstractmethod
    def schema(self) -> dict[str, Json]:
        """Of the verdict in an answer."""

    @abstractmethod
    def describe(self) -> str:
        """For the judge."""

    @abstractmethod
    def value_of(self, verdict: Verdict) -> float: ...

    @abstractmethod
    def category_of(self, label: Json) -> str | None:
        """Of what a person has said, or a judge; None for what is not on the scale."""

    @property
    def range(self) -> tuple[float, float]:
        """The least and the greatest value."""
        return 0.0, 1.0

    def label_of(self, verdict: Verdict) -> str | None:
        return None


class BooleanScale(Scale):
    score_type = "boolean"
    categories = ("false", "true")

    @property
    def schema(self) -> dict[str, Json]:
        return {"type": "boolean"}

    def describe(self) -> str:
        return "The verdict is true where the output meets the rubric, and false where it does not."

    def value_of(self, verdict: Verdict) -> float:
        return float(bool(verdict))

    def category_of(self, label: Json) -> str | None:
        if isinstance(label, str):
            return label if label in self.categories else None
        return self.categories[label] if isinstance(label, bool) else None


def _written(number: float) -> str:
    """With all digits that a scale's numbers may differ in, and no more."""
    return f"{number:.15g}"


@dataclass(frozen=True)
class NumericScale(Scale):
    """The ends are in it; `step` None lets the judge give any number between them."""

    score_type = "numeric"
    aggregates = ("mean", "median")
    minimum: float
    maximum: float
    step: float | None = None

    @property
    def levels(self) -> list[float]:
        if self.step is None:
            return []
        low, high, step = (Decimal(str(number)) for number in (self.minimum, self.maximum, self.step))
        return [float(low + step * number) for number in range(int((high - low) / step) + 1)]

    @property
    def categories(self) -> tuple[str, ...]:  # type: ignore[override]  # computed here, a constant elsewhere
        return tuple(map(_written, self.levels))

    @property
    def range(self) -> tuple[float, float]:
        return self.minimum, self.maximum

    @property
    def schema(self) -> dict[str, Json]:
        if self.step is not None:
            return {"type": "number", "enum": self.levels}
        return {"type": "number", "minimum": self.minimum, "maximum": self.maximum}

    def describe(self) -> str:
        low, high = _written(self.minimum), _written(self.maximum)
        steps = f", in steps of {_written(self.step)}" if self.step is not None else ""
        return f"The verdict is a number from {low} (worst) to {high} (best){steps}."

    def value_of(self, verdict: Verdict) -> float:
        return float(verdict)

    def category_of(self, label: Json) -> str | None:
        """The nearest step."""
        if isinstance(label, bool) or not isinstance(label, int | float) or not self.levels:
            return None
        if not self.minimum <= label <= self.maximum:
            return None
        return self.categories[min(range(len(self.levels)), key=lambda place: abs(self.levels[place] - label))]


@dataclass(frozen=True)
class CategoricalScale(Scale):
    """Labels with what each is worth."""

    score_type = "categorical"
    values: Mapping[str, float]

    @property
    def categories(self) -> tuple[str, ...]:  # type: ignore[override]  # computed here, a constant elsewhere
        return tuple(self.values)

    @property
    def range(self) -> tuple[float, float]:
        return min(self.values.values()), max(self.values.values())

    @property
    def schema(self) -> dict[str, Json]:
        return {"type": "string", "enum": list(self.values)}

    def describe(self) -> str:
        return "The verdict is one of these labels: " + ", ".join(f'"{label}"' for label in self.values) + "."

    def value_of(self, verdict: Verdict) -> float:
        return self.values[str(verdict)]

    def label_of(self, verdict: Verdict) -> str | None:
        return str(verdict)

    def category_of(self, label: Json) -> str | None:
        return label if isinstance(label, str) and label in self.values else None


def scale_of(config: Mapping[str, Json]) -> Scale:
    """Of a `scale` that fits its schema."""
    kind: Literal["boolean", "numeric", "categorical"] = config["type"]
    if kind == "boolean":
        return BooleanScale()
    if kind == "numeric":
        return NumericScale(config["minimum"], config["maximum"], config.get("step"))
    return CategoricalScale(
        {choice["label"]: float(choice.get("value", place)) for place, choice in enumerate(config["choices"])}
    )


def scale_problems(config: Mapping[str, Json]) -> list[tuple[str, str]]:
    """As `Evaluator.check`, of a `scale` that fits its schema; places are within it."""
    if config["type"] == "categorical":
        labels = [choice["label"] for choice in config["choices"]]
        twice = next((place for place, label in enumerate(labels) if label in labels[:place]), None)
        return [] if twice is None else [("This label is there already.", f"choices/{twice}/label")]
    if config["type"] == "numeric":
        return _range_problems(config)
    return []


def _range_problems(config: Mapping[str, Json]) -> list[tuple[str, str]]:
    low, high = (Decimal(str(config[name])) for name in ("minimum", "maximum"))
    if low >= high:
        return [("Not above the minimum.", "maximum")]
    if "step" not in config:
        return []
    steps = (high - low) / Decimal(str(config["step"]))
    if steps != steps.to_integral_value() or steps < 1:
        return [("The range is not a whole number of steps.", "step")]
    return [(f"The scale has more than {MAX_LEVELS} steps.", "step")] if steps >= MAX_LEVELS else []
