"""What judges have in common: they ask a model, several times if need be, and account for each call."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, ClassVar, cast
from uuid import UUID

import orjson

from apps.evaluations.evaluators import envelope
from apps.evaluations.evaluators.scales import Scale
from apps.executions.orchestrator.structured import problem_with
from apps.models.parameters import PARAMETERS_SCHEMA, parameter_problems
from apps.models.providers.base import ErrorCode
from apps.workflows.evaluating import ABSENT, Caller, Context, EvaluationError, Evaluator

Json = Any

MAX_TRIES = 3
MAX_RUBRIC, MAX_REASON = 20_000, 2_000
MODEL_ID: dict[str, Json] = {
    "type": "string",
    "format": "uuid",
    "pattern": "^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$",
    "maxLength": 36,
}
COMMON: dict[str, Json] = {
    "model_id": {**MODEL_ID, "description": "The model that judges, by its id; no fallback stands in for it."},
    "rubric": {
        "type": "string",
        "minLength": 1,
        "maxLength": MAX_RUBRIC,
        "description": "What is judged, and what makes it good or bad.",
    },
    "uses_input": {"type": "boolean", "default": True, "description": "The judge sees what the output answers."},
    "uses_expected": {"type": "boolean", "default": False, "description": "The judge sees the expected value."},
    "parameters": {**PARAMETERS_SCHEMA, "description": "Of the judge's calls, such as temperature."},
    "language": {"type": "string", "minLength": 1, "maxLength": 50, "description": "Of the reasons, such as German."},
}


@dataclass(slots=True)
class Bill:
    """What the calls for one score have cost, and which they were. What failed without a known cost adds nothing."""

    cost_usd: Decimal | None = Decimal(0)
    execution_ids: list[UUID] = field(default_factory=list)

    def add(self, execution_id: UUID, cost_usd: Decimal | None) -> None:
        self.execution_ids.append(execution_id)
        self.cost_usd = None if self.cost_usd is None or cost_usd is None else self.cost_usd + cost_usd

    def add_failed(self, error: EvaluationError) -> None:
        self.execution_ids.extend(error.execution_ids)
        if self.cost_usd is not None:
            self.cost_usd += error.cost_usd or 0

    def error(self, code: str, message: str) -> EvaluationError:
        return EvaluationError(code, message, cost_usd=self.cost_usd, execution_ids=tuple(self.execution_ids))


@dataclass(frozen=True, slots=True)
class Question:
    """`instructions` are the judge's; `material` is what others wrote, by names that the instructions use."""

    model_id: UUID
    instructions: str
    material: Mapping[str, Json]
    verdict_schema: Mapping[str, Json]
    parameters: dict[str, Json]

    @property
    def answer_schema(self) -> dict[str, Json]:
        """The reason comes first, so that the verdict follows from it."""
        return {
            "type": "object",
            "properties": {"reason": {"type": "string"}, "verdict": dict(self.verdict_schema)},
            "required": ["reason", "verdict"],
            "additionalProperties": False,
        }


@dataclass(frozen=True, slots=True)
class Vote:
    verdict: Json
    reason: str
    execution_id: UUID

    def as_json(self) -> dict[str, Json]:
        return {"verdict": self.verdict, "reason": self.reason, "execution_id": str(self.execution_id)}


class Judge(Evaluator):
    """Its judgements are a model's, which is to agree with people before a gate may rely on it."""

    calls_models: ClassVar[bool] = True

    @abstractmethod
    def scale(self, config: Mapping[str, Json]) -> Scale:
        """That its judgements are compared with people's on."""

    def check(self, config: Mapping[str, Json]) -> list[tuple[str, str]]:
        problems = parameter_problems(config.get("parameters", {}))
        return [(why, f"parameters/{name}".rstrip("/")) for name, why in problems.items()]


def caller_of(context: Context) -> Caller:
    """That there is one, `evaluating.evaluate` has seen to."""
    return cast("Caller", context.caller)


def question(
    config: Mapping[str, Json], context: Context, *, task: str, material: dict[str, Json], scale: Mapping[str, Json]
) -> Question:
    """With what the configuration shows of the item. Raises EvaluationError where nothing is expected."""
    if config.get("uses_input", True):
        material = {"input": context.input, **material}
    if config.get("uses_expected", False):
        if context.expected is ABSENT:
            raise EvaluationError("NOTHING_EXPECTED", "The judge is to see the expected value: there is none.")
        material["expected"] = context.expected
    parts = [task, f"The rubric:\n{config['rubric']}", _names(material), _how_to_answer(config)]
    return Question(UUID(config["model_id"]), "\n\n".join(parts), material, scale, dict(config.get("parameters", {})))


_MEANINGS = {
    "input": "what was asked or given",
    "output": "the answer that you judge",
    "first": "one answer to it",
    "second": "another answer to it",
    "expected": "a correct answer, for reference",
}


def _names(material: Mapping[str, Json]) -> str:
    return "In the material, " + ", ".join(f'"{name}" is {_MEANINGS[name]}' for name in material) + "."


def _how_to_answer(config: Mapping[str, Json]) -> str:
    language = f" in {config['language']}" if "language" in config else ""
    return f'Answer with JSON: first "reason", a short justification by the rubric{language}, then "verdict".'


def vote(caller: Caller, asked: Question, key: str, bill: Bill) -> Vote:
    """The judge's answer, after at most MAX_TRIES. Raises EvaluationError, with what all of the bill has cost."""
    problem = ""
    for number in range(1, MAX_TRIES + 1):
        try:
            answer = caller.ask(
                key=f"{key}/{number}",
                model_id=asked.model_id,
                messages=envelope.messages(asked.instructions, asked.material, key),
                response_schema=asked.answer_schema,
                parameters=asked.parameters,
            )
        except EvaluationError as error:
            bill.add_failed(error)
            if error.code != ErrorCode.INVALID_OUTPUT.value or not error.execution_ids:
                raise bill.error(error.code, error.message) from error
            problem = error.message
            continue
        bill.add(answer.execution_id, answer.cost_usd)
        said, problem = _read(answer.text, asked.answer_schema)
        if said is not None:
            return Vote(said["verdict"], _storable(said["reason"]), answer.execution_id)
    raise bill.error("INVALID_JUDGEMENT", f"The judge gave no valid answer in {MAX_TRIES} tries: {problem}"[:500])


def _read(text: str, schema: dict[str, Json]) -> tuple[dict[str, Json] | None, str]:
    """The answer, or why it is none: the orchestrator lets calls of tools pass in the place of one."""
    try:
        said = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        return None, f"The answer is not JSON: {error}."
    problem = problem_with(schema, said)
    return (None, problem) if problem else (cast("dict[str, Json]", said), "")


def _storable(reason: str) -> str:
    return reason.replace("\0", "\N{REPLACEMENT CHARACTER}")[:MAX_REASON]
