from collections.abc import Mapping
from typing import Any, ClassVar

from apps.evaluations.evaluators.grading import AT_LEAST, graded
from apps.evaluations.evaluators.reading import MAX_TEXT, compared_texts, config
from apps.workflows.evaluating import Context, EvaluationError, Evaluator, Score


class LevenshteinSimilarity(Evaluator):
    """How few characters must be inserted, deleted or replaced to make the expected text of the output.

    1 minus that number over the length of the longer text; of several expected texts the most similar one counts.
    At most 50,000 characters of each.
    """

    kind = "levenshtein"
    score_type = "numeric"
    needs_expected = True
    config_schema: ClassVar[dict[str, Any]] = config(
        {
            "ignore_case": {"type": "boolean", "default": False},
            "trim": {"type": "boolean", "default": True, "description": "Without spaces around it."},
            "threshold": AT_LEAST,
        }
    )

    def evaluate(self, config: Mapping[str, Any], context: Context) -> Score:
        from rapidfuzz.distance import Levenshtein  # noqa: PLC0415 (processes that evaluate nothing do without)

        text, references = compared_texts(context)
        output = _normal(text, config)
        return graded(
            max(Levenshtein.normalized_similarity(output, _normal(one, config)) for one in references), config
        )


def _normal(text: str, config: Mapping[str, Any]) -> str:
    text = text.strip() if config.get("trim", True) else text
    text = text.casefold() if config.get("ignore_case", False) else text
    if len(text) > MAX_TEXT:  # a character may have three when it is folded
        raise EvaluationError("TOO_LARGE", f"A text has more than {MAX_TEXT:,} characters.")
    return text
