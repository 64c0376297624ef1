import inspect
from collections.abc import Mapping
from functools import cache
from typing import Any, ClassVar

from apps.evaluations.evaluators.grading import AT_LEAST, graded
from apps.evaluations.evaluators.reading import compared_texts, config
from apps.workflows.evaluating import Context, EvaluationError, Evaluator, Score


class Bleu(Evaluator):
    """BLEU of one output (sacrebleu), from 0 to 1: how many of its runs of up to four words are expected ones.

    Meant for translations of whole corpora: of one sentence it is a rough figure. Runs longer than the output are left
    out, and what has no match is smoothed. Several expected texts are references for the same output. At most 50,000
    characters of each.
    """

    kind = "bleu"
    score_type = "numeric"
    needs_expected = True
    config_schema: ClassVar[dict[str, Any]] = config(
        {
            "tokenizer": {
                "enum": ["13a", "intl", "zh", "char"],
                "default": "13a",
                "description": "13a: as the mteval script; intl: by Unicode; zh: Chinese; char: characters.",
            },
            "smoothing": {
                "enum": ["exp", "floor", "add-k", "none"],
                "default": "exp",
                "description": "Of runs without a match (Chen and Cherry 2014).",
            },
            "ignore_case": {"type": "boolean", "default": False},
            "threshold": AT_LEAST,
        }
    )

    def evaluate(self, config: Mapping[str, Any], context: Context) -> Score:
        output, references = compared_texts(context)
        metric = _metric(
            config.get("tokenizer", "13a"), config.get("smoothing", "exp"), bool(config.get("ignore_case", False))
        )
        found = metric.sentence_score(output, references)
        if found.ref_len == 0:
            raise EvaluationError("NOTHING_EXPECTED", "The expected text has no words.")
        return graded(found.score / 100, config)


@cache
def _metric(tokenizer: str, smoothing: str, ignores_case: bool) -> Any:
    from sacrebleu.metrics import BLEU  # noqa: PLC0415 (processes that evaluate nothing do without)

    metric = BLEU(tokenize=tokenizer, smooth_method=smoothing, lowercase=ignores_case, effective_order=True)
    metric.tokenizer = _Forgetful(metric.tokenizer)
    return metric


class _Forgetful:
    """A tokenizer of sacrebleu without its cache of the last 65,536 texts, which long ones would fill memory with."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._tokenize = inspect.unwrap(type(tokenizer).__call__)
        if hasattr(tokenizer, "_post_tokenizer"):
            tokenizer._post_tokenizer = _Forgetful(tokenizer._post_tokenizer)

    def __call__(self, text: str) -> Any:
        return self._tokenize(self._tokenizer, text)
