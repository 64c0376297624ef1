"""What an evaluator is, and which ones there are: higher apps register theirs in their AppConfig.ready()."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from types import MappingProxyType
from typing import Any, ClassVar, Literal, Protocol
from uuid import UUID

from jsonschema import Draft202012Validator

Json = Any
ScoreKind = Literal["boolean", "numeric", "categorical"]
ABSENT: Any = object()


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model said to an evaluator. `cost_usd` is None where no price is known."""

    text: str
    execution_id: UUID
    cost_usd: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Vectors:
    """One vector for each text, in their order."""

    vectors: Sequence[Sequence[float]]
    execution_id: UUID
    cost_usd: Decimal | None = None


class Caller(Protocol):
    """How an evaluator calls models: recorded, limited and paid for like every other call.

    Calls with the same `key` for the same case are one call, however often the evaluation of the case is begun.
    """

    def ask(
        self,
        *,
        key: str,
        model_id: UUID,
        messages: list[dict[str, Json]],
        response_schema: dict[str, Json] | None = None,
        parameters: dict[str, Json] | None = None,
    ) -> Answer:
        """Raises EvaluationError with the call's error code."""

    def embed(self, *, key: str, model_id: UUID, texts: Sequence[str]) -> Vectors:
        """Raises EvaluationError with the call's error code."""


@dataclass(frozen=True, slots=True)
class Context:
    """What is scored. `expected` is ABSENT where nothing is expected, which is not null.

    `other_output` is the baseline's output for the same item, for evaluators that compare two; `latency_ms` and
    `cost_usd` are those of the call that gave the output, None when not known. `caller` is None where no model may be
    called.
    """

    output: Json
    expected: Json = ABSENT
    input: Json = None
    metadata: Mapping[str, Json] = field(default_factory=dict)
    other_output: Json = ABSENT
    latency_ms: int | None = None
    cost_usd: Decimal | None = None
    caller: Caller | None = None


@dataclass(frozen=True, slots=True)
class Score:
    """`score` is from 0 to 1, or on the scale that the configuration names, or the number in its unit of a kind that
    `measures_call`. `reason` is for people.

    `cost_usd` and `execution_ids` are of the calls that were made for it; `details` are the evaluator's own, as JSON.
    """

    score: float
    passed: bool | None = None
    label: str | None = None
    reason: str = ""
    cost_usd: Decimal | None = None
    execution_ids: tuple[UUID, ...] = ()
    details: Json = None


class EvaluationError(Exception):
    """There is no score: what is needed for one is missing or wrong. Never a low score. `code` is UPPER_CASE.

    `cost_usd` and `execution_ids` are of the calls that were made in vain.
    """

    def __init__(
        self, code: str, message: str, *, cost_usd: Decimal | None = None, execution_ids: tuple[UUID, ...] = ()
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.cost_usd = cost_usd
        self.execution_ids = execution_ids


class Evaluator(ABC):
    """Without state, and safe to share between threads. The docstring of the class is what users read of the kind.

    `version` grows when the same output may be scored otherwise than before. `score_type` says how scores are compared:
    boolean ones by `passed`, numeric ones by `score`, categorical ones by `label`. One that `calls_models` needs a
    caller, one that `compares_two` the baseline's output, one that `measures_call` what is known of the call.
    """

    kind: ClassVar[str]
    version: ClassVar[int] = 1
    config_schema: ClassVar[dict[str, Any]]
    score_type: ClassVar[ScoreKind] = "boolean"
    direction: ClassVar[Literal["higher", "lower", "none"]] = "higher"
    needs_expected: ClassVar[bool] = False
    calls_models: ClassVar[bool] = False
    compares_two: ClassVar[bool] = False
    measures_call: ClassVar[bool] = False

    def check(self, config: Mapping[str, Json]) -> list[tuple[str, str]]:
        """Beyond the schema: (message, JSON pointer within the configuration without its first slash)."""
        return []

    def score_type_of(self, config: Mapping[str, Json]) -> ScoreKind:
        """Of a checked configuration, where it decides; `score_type` is then the usual one."""
        return self.score_type

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
    """Raises EvaluationError, also for one that needs what the context has not."""
    if evaluator.needs_expected and context.expected is ABSENT:
        raise EvaluationError("NOTHING_EXPECTED", f"{evaluator.kind} compares with an expected value: there is none.")
    if evaluator.compares_two and context.other_output is ABSENT:
        raise EvaluationError("NO_BASELINE", f"{evaluator.kind} compares with the baseline's output: there is none.")
    if evaluator.calls_models and context.caller is None:
        raise EvaluationError("NO_MODEL_CALLS", f"{evaluator.kind} calls a model, which is not offered here.")
    return evaluator.evaluate(config, context)


def verdict(*, passed: bool, reason: str = "") -> Score:
    """1 or 0."""
    return Score(float(passed), passed, reason=reason)
