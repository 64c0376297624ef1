import re
import string
from collections import Counter
from collections.abc import Mapping
from typing import Any, ClassVar

from apps.evaluations.evaluators.grading import AT_LEAST, graded
from apps.evaluations.evaluators.reading import compared_texts, config
from apps.workflows.evaluating import Context, EvaluationError, Evaluator, Score

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


class TokenSimilarity(Evaluator):
    """How many words output and expected text have in common, whatever their case and punctuation.

    `f1` is that of SQuAD (Rajpurkar et al. 2016): words as often as they occur, without a, an and the. `token_sort`
    compares the sorted words letter by letter, `token_set` those in common with the rest of each (rapidfuzz). Of
    several expected texts the most similar one counts. At most 50,000 characters of each.
    """

    kind = "token_similarity"
    score_type = "numeric"
    needs_expected = True
    config_schema: ClassVar[dict[str, Any]] = config(
        {"measure": {"enum": ["f1", "token_sort", "token_set"], "default": "f1"}, "threshold": AT_LEAST}
    )

    def evaluate(self, config: Mapping[str, Any], context: Context) -> Score:
        output, references = compared_texts(context)
        measure = config.get("measure", "f1")
        if measure == "f1":
            return graded(max(_f1(output, reference) for reference in references), config)
        return graded(max(_ratio(measure, output, reference) for reference in references), config)


def _f1(output: str, reference: str) -> float:
    """As `compute_f1` of the evaluation script of SQuAD 2.0: where one has no words, they are equal or nothing."""
    said, wanted = _words(output), _words(reference)
    if not said or not wanted:
        return float(said == wanted)
    common = (Counter(said) & Counter(wanted)).total()
    return 2 * common / (len(said) + len(wanted))


def _words(text: str) -> list[str]:
    return _ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split()


def _ratio(measure: str, output: str, reference: str) -> float:
    from rapidfuzz import fuzz, utils  # noqa: PLC0415 (processes that evaluate nothing do without)

    wanted = utils.default_process(reference)
    if not wanted:
        raise EvaluationError("NOTHING_EXPECTED", "The expected text has no words.")
    ratio = fuzz.token_sort_ratio if measure == "token_sort" else fuzz.token_set_ratio
    return float(ratio(utils.default_process(output), wanted)) / 100
