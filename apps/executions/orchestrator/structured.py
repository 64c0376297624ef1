"""Structured output: whether an answer is JSON that fits the prompt's schema, and how to ask for it once more.

The schema is anybody's and the answer a model's. So nothing is fetched, regular expressions (which can take forever)
are left to the provider, and a check does and follows no more than it may. (jsonschema-rs has patterns that take
linear time, but follows references without a bound, and holds up all threads of the process meanwhile.)
"""

import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from typing import Any

import orjson
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from referencing import Registry
from referencing.exceptions import Unresolvable

from apps.models.providers.base import Completion, FinishReason, ModelRequest
from apps.prompts.rendering import checking

MOST_REFERENCES = 10_000
MOST_TOLD = 5
# Together with the words around it less than TOKENS_OF_COMPLAINT, which budgets reserve.
MOST_TOLD_BYTES = 1500
_FINISHED = frozenset({FinishReason.STOP, FinishReason.TOOL_CALLS, FinishReason.OTHER})
_REPAIR = (
    "Your answer is not what was asked for:\n{problem}\n"
    "Answer again, with nothing but JSON that fits this JSON Schema:\n{schema}"
)

Json = dict[str, Any]


class _TooManyReferences(Exception):
    pass


class _Count(threading.local):
    references = 0


_count = _Count()


def problem_of(request: ModelRequest, completion: Completion) -> str | None:
    """Why the answer does not fit the request's schema: at most MOST_TOLD paths. None when it does.

    Calls of tools in place of an answer fit.
    """
    if request.response_schema is None or (completion.tool_calls and not completion.text.strip()):
        return None
    if completion.finish_reason == FinishReason.LENGTH:
        return "The answer was cut at its largest length."
    if completion.finish_reason == FinishReason.CONTENT_FILTER:
        return "The model refused to answer."
    try:
        value = orjson.loads(completion.text)
    except orjson.JSONDecodeError as error:
        return f"The answer is not JSON: {error}."
    return problem_with(request.response_schema, value)


def problem_with(schema: Json, value: Any) -> str | None:
    """Paths are dotted, `$` is the value itself."""
    _count.references = 0
    checking.begin()
    try:
        errors = _validator(orjson.dumps(schema)).iter_errors(value)
        told = [f"{_path(error)}: {error.message[:200]}" for error, _ in zip(errors, range(MOST_TOLD), strict=False)]
    except (_TooManyReferences, checking.TooManyChecks):
        return "The answer is too large to be checked."
    except (Unresolvable, RecursionError, ArithmeticError) as error:
        return f"The answer cannot be checked: {str(error)[:200]}"
    return "; ".join(told).encode()[:MOST_TOLD_BYTES].decode(errors="ignore") or None


def is_repairable(completion: Completion) -> bool:
    """Whether the same model may do better: not when it was cut or refused."""
    return completion.finish_reason in _FINISHED


def repair_request(request: ModelRequest, completion: Completion, problem: str) -> ModelRequest:
    """The same request with the answer and what is wrong with it."""
    asked = _REPAIR.format(problem=problem, schema=orjson.dumps(request.response_schema).decode())
    added: list[Json] = [{"role": "user", "content": asked}]
    if completion.text.strip():
        added.insert(0, {"role": "assistant", "content": completion.text})
    return replace(
        request,
        messages=[*request.messages, *added],
        idempotency_key=f"{request.idempotency_key}-repair" if request.idempotency_key else None,
    )


def _path(error: ValidationError) -> str:
    return ".".join(["$", *map(str, error.absolute_path)])


@lru_cache(maxsize=512)
def _validator(schema: bytes) -> Any:
    """By its bytes: versions do not change, and many hold the same schema."""
    return _Validator(orjson.loads(schema), registry=Registry())


def _unchecked(*_: Any) -> Iterator[ValidationError]:
    return iter(())


def _additional_properties(validator: Any, wanted: Any, instance: Any, schema: Json) -> Any:
    if "patternProperties" in schema:
        return iter(())
    return Draft202012Validator.VALIDATORS["additionalProperties"](validator, wanted, instance, schema)


def _counted(keyword: str) -> Any:
    follow: Any = Draft202012Validator.VALIDATORS[keyword]

    def check(validator: Any, reference: Any, instance: Any, schema: Json) -> Any:
        _count.references += 1
        if _count.references > MOST_REFERENCES:
            raise _TooManyReferences
        return follow(validator, reference, instance, schema)

    return check


_Validator: Any = checking.bounded(
    {
        "$ref": _counted("$ref"),
        "$dynamicRef": _counted("$dynamicRef"),
        "additionalProperties": _additional_properties,
        "pattern": _unchecked,
        "patternProperties": _unchecked,
        "unevaluatedItems": _unchecked,
        "unevaluatedProperties": _unchecked,
    },
)
