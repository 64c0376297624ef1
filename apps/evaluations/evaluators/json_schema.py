from collections.abc import Mapping
from typing import Any, ClassVar

from apps.evaluations.evaluators.reading import config, parsed
from apps.executions.orchestrator.structured import problem_with
from apps.prompts.rendering import PromptError, check_response_schema
from apps.workflows.evaluating import Context, Evaluator, Score, verdict


class JsonSchema(Evaluator):
    """Whether the output fits a JSON Schema, read as that of an answer is: regular expressions are not looked at."""

    kind = "json_schema"
    config_schema: ClassVar[dict[str, Any]] = config({"schema": {"type": "object"}}, "schema")

    def check(self, config: Mapping[str, Any]) -> list[tuple[str, str]]:
        try:
            check_response_schema(config["schema"])
        except PromptError as error:
            path, why = next(iter(error.details.items()))
            return [(why, path.replace("response_schema", "schema", 1).replace(".", "/"))]
        return []

    def evaluate(self, config: Mapping[str, Any], context: Context) -> Score:
        try:
            problem = problem_with(config["schema"], parsed(context.output))
        except ValueError as error:
            problem = f"Not JSON: {error}"
        return verdict(passed=problem is None, reason=(problem or "")[:500])
