"""Evaluators: each a small class with one `evaluate`."""

from apps.evaluations.evaluators.bleu import Bleu
from apps.evaluations.evaluators.blocklist import Blocklist
from apps.evaluations.evaluators.chrf import Chrf
from apps.evaluations.evaluators.contains import Contains
from apps.evaluations.evaluators.cost import Cost
from apps.evaluations.evaluators.embedding_similarity import EmbeddingSimilarity
from apps.evaluations.evaluators.exact_match import ExactMatch
from apps.evaluations.evaluators.json_fields import JsonFields
from apps.evaluations.evaluators.json_schema import JsonSchema
from apps.evaluations.evaluators.json_valid import JsonValid
from apps.evaluations.evaluators.latency import Latency
from apps.evaluations.evaluators.length import Length
from apps.evaluations.evaluators.levenshtein import LevenshteinSimilarity
from apps.evaluations.evaluators.llm_judge import LLMJudge
from apps.evaluations.evaluators.numeric import Numeric
from apps.evaluations.evaluators.pairwise_judge import PairwiseJudge
from apps.evaluations.evaluators.refusal import Refusal
from apps.evaluations.evaluators.regex import Regex
from apps.evaluations.evaluators.rouge import Rouge
from apps.evaluations.evaluators.token_similarity import TokenSimilarity
from apps.workflows.evaluating import Evaluator, register

DETERMINISTIC: tuple[type[Evaluator], ...] = (
    ExactMatch, Contains, Regex, JsonValid, JsonSchema, JsonFields, Numeric, Length, LevenshteinSimilarity,
    TokenSimilarity, Bleu, Chrf, Rouge, Latency, Cost, Refusal, Blocklist,
)  # fmt: skip
MODEL_BASED: tuple[type[Evaluator], ...] = (LLMJudge, PairwiseJudge, EmbeddingSimilarity)


def register_all() -> None:
    for kind in DETERMINISTIC + MODEL_BASED:
        register(kind())
