from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib import import_module
from itertools import pairwise
from typing import Any, ClassVar

from apps.evaluations.evaluators.grading import AT_LEAST, graded
from apps.evaluations.evaluators.reading import compared_texts, config
from apps.workflows.evaluating import Context, EvaluationError, Evaluator, Score

LONGEST_WORD = 50


class Rouge(Evaluator):
    """ROUGE of one output (Lin 2004), from 0 to 1: the words, pairs of words or longest sequence in common.

    `measure` takes the F score, the share of the output that is expected (`precision`), or of the expected text that
    is there (`recall`). `stemmer` compares English words of up to 50 letters without their endings. Words are those of
    rouge-score, of a to z and 0 to 9 only: other scripts are an error, not a low score. Of several expected texts the
    best counts. At most 50,000 characters of each.
    """

    kind = "rouge"
    score_type = "numeric"
    needs_expected = True
    config_schema: ClassVar[dict[str, Any]] = config(
        {
            "type": {"enum": ["rouge1", "rouge2", "rougeL"], "default": "rougeL"},
            "measure": {"enum": ["f1", "precision", "recall"], "default": "f1"},
            "stemmer": {"type": "boolean", "default": False},
            "threshold": AT_LEAST,
        }
    )

    def evaluate(self, config: Mapping[str, Any], context: Context) -> Score:
        kind, measure = config.get("type", "rougeL"), config.get("measure", "f1")
        text, references = compared_texts(context)
        output, *expected = (_units(kind, one, bool(config.get("stemmer", False))) for one in (text, *references))
        if not all(expected):
            raise EvaluationError("NOTHING_EXPECTED", f"The expected text has too few words of a-z and 0-9 for {kind}.")
        return graded(max(_share(measure, _common(kind, output, one), output, one) for one in expected), config)


def _units(kind: str, text: str, stems: bool) -> Sequence[Any]:
    """What is counted: words, or pairs of words."""
    words: list[str] = import_module("rouge_score.tokenize").tokenize(text, _stemmer() if stems else None)
    return list(pairwise(words)) if kind == "rouge2" else words


def _common(kind: str, output: Sequence[Any], expected: Sequence[Any]) -> int:
    if kind != "rougeL":
        return (Counter(output) & Counter(expected)).total()
    from rapidfuzz.distance import LCSseq  # noqa: PLC0415 (processes that evaluate nothing do without)

    return int(LCSseq.similarity(output, expected))


def _share(measure: str, common: int, output: Sequence[Any], expected: Sequence[Any]) -> float:
    total = {"f1": (len(output) + len(expected)) / 2, "precision": len(output), "recall": len(expected)}[measure]
    return common / total if total else 0.0


class _Stemmer:
    """Porter's, of what may be a word: its time grows with the square of a word's length."""

    def __init__(self, stem: Callable[[str], str]) -> None:
        self._stem = stem

    def stem(self, word: str) -> str:
        return self._stem(word) if len(word) <= LONGEST_WORD else word


@cache
def _stemmer() -> _Stemmer:
    # nltk takes seconds to import, and so does rouge-score's own scorer because of it: only stemming needs it.
    return _Stemmer(import_module("nltk.stem.porter").PorterStemmer().stem)
