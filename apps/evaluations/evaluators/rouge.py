from collections.abc import Mapping
from importlib import import_module
from typing import Any, ClassVar

from apps.evaluations.evaluators.grading import AT_LEAST, graded
from apps.evaluations.evaluators.reading import compared_texts, config
from apps.workflows.evaluating import Context, EvaluationError, Evaluator, Score

# rougeL fills a table of output by expected words in Python: a million of them take half a second.
MAX_TABLE = 1_000_000


class Rouge(Evaluator):
    """ROUGE of one output (rouge-score), from 0 to 1: the words, pairs of words or longest sequence in common.

    `measure` takes the F score, the share of the output that is expected (`precision`), or of the expected text that is
    there (`recall`). `stemmer` compares English words without their endings. It reads a to z and 0 to 9 only: other
    scripts are an error, not a low score. Of several expected texts the best counts. At most 50,000 characters of each;
    rougeL at most about 1,000 words of each.
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
        scoring: Any = import_module("rouge_score.rouge_scorer")  # for those who need it: it costs a second
        tokenizers: Any = import_module("rouge_score.tokenizers")

        output, references = compared_texts(context)
        kind = config.get("type", "rougeL")
        tokenizer = tokenizers.DefaultTokenizer(config.get("stemmer", False))
        _check_words(kind, tokenizer, output, references)
        scorer = scoring.RougeScorer([kind], tokenizer=tokenizer)
        field = {"f1": "fmeasure"}.get(config.get("measure", "f1"), config.get("measure"))
        return graded(max(getattr(scorer.score(one, output)[kind], str(field)) for one in references), config)


def _check_words(kind: str, tokenizer: Any, output: str, references: list[str]) -> None:
    counts = [len(tokenizer.tokenize(reference)) for reference in references]
    if min(counts) < (2 if kind == "rouge2" else 1):
        raise EvaluationError("NOTHING_EXPECTED", f"The expected text has too few words of a-z and 0-9 for {kind}.")
    if kind == "rougeL" and sum(counts) * len(tokenizer.tokenize(output)) > MAX_TABLE:
        raise EvaluationError("TOO_LARGE", f"Output by expected words are more than {MAX_TABLE:,}.")
