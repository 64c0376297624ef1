import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar
from uuid import UUID

from apps.evaluations.evaluators.grading import AT_LEAST, graded
from apps.evaluations.evaluators.judge import MODEL_ID, caller_of
from apps.evaluations.evaluators.reading import compared_texts, config
from apps.workflows.evaluating import Context, EvaluationError, Evaluator, Score, ScoreKind, Vectors


class EmbeddingSimilarity(Evaluator):
    """How near the output is in meaning to the expected text: the cosine of their embeddings, a negative one being 0.

    Of several expected texts the nearest counts.
    """

    kind = "embedding_similarity"
    score_type: ClassVar[ScoreKind] = "numeric"
    needs_expected = True
    calls_models = True
    config_schema: ClassVar[dict[str, Any]] = config(
        {
            "model_id": {**MODEL_ID, "description": "A model that gives embeddings, by its id."},
            "threshold": AT_LEAST,
        },
        "model_id",
    )

    def evaluate(self, config: Mapping[str, Any], context: Context) -> Score:
        output, references = compared_texts(context)
        if not all(reference.strip() for reference in references):
            raise EvaluationError("NOTHING_EXPECTED", "An expected text is empty.")
        if not output.strip():
            return graded(0.0, config)
        told = caller_of(context).embed(key="texts", model_id=UUID(config["model_id"]), texts=[output, *references])
        try:
            nearest = max(cosine(told.vectors[0], reference) for reference in told.vectors[1:])
        except ValueError as error:
            raise _failure(str(error), told) from error
        score = graded(nearest, config)
        return Score(score.score, score.passed, None, score.reason, told.cost_usd, (told.execution_id,))


def cosine(one: Sequence[float], other: Sequence[float]) -> float:
    """The dot product over the product of the Euclidean norms. Raises ValueError where there is none."""
    if len(one) != len(other):
        raise ValueError(f"The vectors have {len(one)} and {len(other)} dimensions.")
    if not all(isinstance(number, int | float) and math.isfinite(number) for number in (*one, *other)):
        raise ValueError("A vector has parts that are no numbers.")
    norms = math.hypot(*one), math.hypot(*other)
    if not all(norms) or not all(map(math.isfinite, norms)):
        raise ValueError("A vector has no direction.")
    return math.fsum((a / norms[0]) * (b / norms[1]) for a, b in zip(one, other, strict=True))


def _failure(message: str, told: Vectors) -> EvaluationError:
    return EvaluationError("INVALID_VECTORS", message, cost_usd=told.cost_usd, execution_ids=(told.execution_id,))
