"""What an evaluator is, and which ones there are: higher apps register theirs in their AppConfig.ready()."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

from jsonschema import Draft202012Validator

Json = Any
ABSENT: Any = object()


@dataclass(frozen=True, slots=True)
class Context:
    """What is scored. `expected` is ABSENT where nothing is expected, which is not null."""

    output: Json
    expected: Json = ABSENT
    input: Json = None


@dataclass(frozen=True, slots=True)
class Score:
    """`score` is from 0 to 1, or a measured number where `passed` is None. `reason` is for people."""

    score: float
    passed: bool | None = None
    label: str | None = None
    reason: str = ""


class EvaluationError(Exception):
    """There is no score: what is needed for one is missing or wrong. Never a low score. `code` is UPPER_CASE."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class Evaluator(ABC):
    """Without state. `version` grows when the same output may be scored otherwise than before."""

    kind: ClassVar[str]
    version: ClassVar[int] = 1
    config_schema: ClassVar[dict[str, Any]]
    needs_expected: ClassVar[bool] = False

    def check(self, config: Mapping[str, Json]) -> list[tuple[str, str]]:
        """Beyond the schema: (message, JSON pointer within the configuration without its first slash)."""
        return []

    @abstractmethod
    def evaluate(self, config: Mapping[str, Json], context: Context) -> Score:
        """Of a checked configuration. Raises EvaluationError."""


_evaluators: dict[str, Evaluator] = {}


def register(evaluator: Evaluator) -> None:
    _evaluators[evaluator.kind] = evaluator


def evaluators() -> Mapping[str, Evaluator]:
    """By kind."""
    return MappingProxyType(_evaluators)


def config_problems(evaluator: Evaluator, config: Json) -> list[tuple[str, str]]:
    """As `Evaluator.check`, the schema's problems first."""
    errors = Draft202012Validator(evaluator.config_schema).iter_errors(config)
    problems = [(error.message[:300], "/".join(map(str, error.absolute_path))) for error in errors]
    return problems or evaluator.check(config)


def evaluate(evaluator: Evaluator, config: Mapping[str, Json], context: Context) -> Score:
    """Raises EvaluationError, also for one that needs an expected value and has none."""
    if evaluator.needs_expected and context.expected is ABSENT:
        raise EvaluationError("NOTHING_EXPECTED", f"{evaluator.kind} compares with an expected value: there is none.")
    return evaluator.evaluate(config, context)


def verdict(*, passed: bool, reason: str = "") -> Score:
    """1 or 0."""
    return Score(float(passed), passed, reason=reason)
