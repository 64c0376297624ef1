from collections.abc import Mapping
from functools import cache
from typing import Any, ClassVar

from apps.evaluations.evaluators.grading import AT_LEAST, graded
from apps.evaluations.evaluators.reading import compared_texts, config
from apps.workflows.evaluating import Context, EvaluationError, Evaluator, Score


class Chrf(Evaluator):
    """chrF of one output (sacrebleu), from 0 to 1: the F score of its runs of characters, whatever the language.

    With `word_order` 2 it is chrF++. `beta` is how many times recall counts more than precision. Of several expected
    texts the best counts. At most 50,000 characters of each.
    """

    kind = "chrf"
    score_type = "numeric"
    needs_expected = True
    config_schema: ClassVar[dict[str, Any]] = config(
        {
            "char_order": {"type": "integer", "minimum": 1, "maximum": 6, "default": 6},
            "word_order": {"type": "integer", "minimum": 0, "maximum": 2, "default": 0},
            "beta": {"type": "integer", "minimum": 1, "maximum": 3, "default": 2},
            "ignore_case": {"type": "boolean", "default": False},
            "threshold": AT_LEAST,
        }
    )

    def evaluate(self, config: Mapping[str, Any], context: Context) -> Score:
        output, references = compared_texts(context)
        if not all(reference.strip() for reference in references):
            raise EvaluationError("NOTHING_EXPECTED", "The expected text is empty.")
        metric = _metric(
            int(config.get("char_order", 6)),
            int(config.get("word_order", 0)),
            int(config.get("beta", 2)),
            bool(config.get("ignore_case", False)),
        )
        return graded(metric.sentence_score(output, references).score / 100, config)


@cache
def _metric(char_order: int, word_order: int, beta: int, ignores_case: bool) -> Any:
    from sacrebleu.metrics import CHRF  # noqa: PLC0415 (processes that evaluate nothing do without)

    return CHRF(char_order=char_order, word_order=word_order, beta=beta, lowercase=ignores_case)
