"""Evaluators: each a small class with one `evaluate`."""

from apps.evaluations.evaluators.contains import Contains
from apps.evaluations.evaluators.exact_match import ExactMatch
from apps.evaluations.evaluators.json_fields import JsonFields
from apps.evaluations.evaluators.json_schema import JsonSchema
from apps.evaluations.evaluators.json_valid import JsonValid
from apps.evaluations.evaluators.length import Length
from apps.evaluations.evaluators.numeric import Numeric
from apps.evaluations.evaluators.regex import Regex
from apps.workflows.evaluating import Evaluator, register

DETERMINISTIC: tuple[type[Evaluator], ...] = (
    ExactMatch, Contains, Regex, JsonValid, JsonSchema, JsonFields, Numeric, Length,
)  # fmt: skip


def register_all() -> None:
    for kind in DETERMINISTIC:
        register(kind())
