"""What an evaluation will cost and how long it will take, before it is made.

What was called before is the best guide: the last calls of the same version and model, or of the same version of a
judge. Without five of them a sample of the items is rendered: its input is a quarter of its bytes in tokens, its output
what this model's last answers had on average, and at most what the call may say.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from statistics import fmean, quantiles
from typing import Any
from uuid import UUID

from django.utils import timezone

from apps.evaluations.engine.subjects import CaseFailure, ModelSubject, load_subject
from apps.evaluations.models import (
    DatasetItem,
    EvaluationMetric,
    EvaluationScore,
    EvaluationSubject,
    SubjectKind,
)
from apps.evaluations.runs.representation import dollars
from apps.evaluations.runs.services import Pinned
from apps.executions.budgets.amounts import most_output_tokens, without_images
from apps.executions.models import Execution, Status
from apps.executions.orchestrator.admission import EXPECTED_OUTPUT_TOKENS
from apps.executions.orchestrator.cases import limited
from apps.executions.orchestrator.estimates import BYTES_PER_TOKEN, TOKENS_PER_IMAGE
from apps.executions.orchestrator.resolution import Plan
from apps.models.models import Capability, LLMModel
from apps.models.prices import PER_TOKENS, prices_of
from apps.workflows.evaluating import evaluators
from apps.workflows.models import RunStatus, WorkflowRun, WorkflowVersion
from everquant.api.envelope import dumps

Json = dict[str, Any]
FEWEST_CALLS, MOST_CALLS, MOST_ITEMS = 5, 200, 50
# A judge says its reason and its verdict.
JUDGE_OUTPUT_TOKENS = 200
ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class Guess:
    """Of one case, in USD and milliseconds; costs are None where no price is known. `count` is what it is based on."""

    basis: str
    count: int = 0
    costs: tuple[Decimal, Decimal, Decimal] | None = None
    latency_ms: float | None = None
    note: str = ""


FREE = Guess("free", costs=(ZERO, ZERO, ZERO), latency_ms=0.0)


def estimate(pinned: Pinned, *, organization_id: UUID, repeats: int, max_concurrency: int, **wish: Any) -> Json:
    """`wish` has `split` and `budget_usd`."""
    asked = pinned.item_count * repeats
    inputs = _sample(pinned, wish["split"])
    parts = [
        _part(subject.name, "subject", asked, _subject(organization_id, subject, inputs)) for subject in pinned.subjects
    ]
    parts += [
        _part(metric.name, "evaluator", asked * count, _judge(organization_id, metric, inputs))
        for metric in pinned.metrics
        if (count := _judged_subjects(metric, len(pinned.subjects)))
    ]
    budget: Decimal | None = wish["budget_usd"]
    total = _total(parts)
    return {
        "items": pinned.item_count,
        "cases": asked * len(pinned.subjects),
        "cost_usd": _costs(total),
        "budget_usd": dollars(budget),
        "is_within_budget": None if budget is None or total is None else total[2] <= budget,
        "unpriced": [part["name"] for part in parts if part["cost_usd"] is None],
        "duration_s": _duration(parts, max_concurrency),
        "parts": parts,
    }


def _judged_subjects(metric: EvaluationMetric, subject_count: int) -> int:
    """Of how many subjects it asks a model."""
    kind = evaluators()[metric.evaluator_version.evaluator.kind]
    if not kind.calls_models:
        return 0
    return subject_count - 1 if kind.compares_two else subject_count


def _part(name: str, what: str, cases: int, guess: Guess) -> Json:
    costs = None if guess.costs is None else tuple(cost * cases for cost in guess.costs)
    return {
        "name": name,
        "part": what,
        "cases": cases,
        "cost_usd": _costs(costs),
        "latency_ms": guess.latency_ms,
        "basis": guess.basis,
        "basis_count": guess.count,
        "note": guess.note,
    }


def _costs(costs: Sequence[Decimal] | None) -> Json | None:
    return None if costs is None else dict(zip(("low", "likely", "high"), map(_rounded, costs), strict=True))


def _rounded(amount: Decimal) -> str | None:
    return dollars(amount.quantize(Decimal("0.000001")))


def _total(parts: Iterable[Json]) -> list[Decimal] | None:
    """Of what has a price; None when nothing has."""
    priced = [part["cost_usd"] for part in parts if part["cost_usd"] is not None]
    if not priced:
        return None
    return [sum((Decimal(cost[name]) for cost in priced), ZERO) for name in ("low", "likely", "high")]


def _duration(parts: Sequence[Json], max_concurrency: int) -> float | None:
    """Seconds. None where it is not known how long a call takes."""
    if any(part["latency_ms"] is None for part in parts):
        return None
    return round(sum(part["cases"] * part["latency_ms"] for part in parts) / max_concurrency / 1000, 1)


def _sample(pinned: Pinned, split: str) -> list[DatasetItem]:
    items = DatasetItem.objects.of_version(pinned.dataset_version)
    return list((items.filter(split=split) if split else items)[:MOST_ITEMS])


def _subject(organization_id: UUID, subject: EvaluationSubject, items: Sequence[DatasetItem]) -> Guess:
    if subject.kind == SubjectKind.RECORDED:
        return FREE
    if subject.kind == SubjectKind.WORKFLOW:
        return _workflow(organization_id, subject)
    if subject.kind == SubjectKind.PROMPT:
        executions = Execution.objects.for_organization(organization_id).filter(
            prompt_id=subject.prompt_id, prompt_version_id=subject.prompt_version_id, model_id=subject.model_id,
            is_cached=False, status=Status.SUCCEEDED,
        )  # fmt: skip
        calls = list(executions.order_by("-id").values_list("cost_usd", "latency_ms")[:MOST_CALLS])
        if len(calls) >= FEWEST_CALLS:
            return _history(calls)
    loaded = load_subject(organization_id, subject)
    if not isinstance(loaded, ModelSubject):
        return Guess("unknown", note="It cannot be called now.")
    return _rendered(organization_id, loaded, items)


def _history(calls: Sequence[tuple[Any, Any]]) -> Guess:
    """The tenth and the ninetieth percentile, and the mean between them."""
    costs = [cost for cost, _ in calls if cost is not None]
    latencies = [latency for _, latency in calls if latency is not None]
    latency = fmean(latencies) if latencies else None
    if len(costs) < FEWEST_CALLS:
        return Guess("history", len(calls), latency_ms=latency, note="What these calls cost is not known.")
    tenths = quantiles(costs, n=10, method="inclusive")
    mean = sum(costs, ZERO) / len(costs)
    return Guess("history", len(costs), (min(tenths[0], mean), mean, max(tenths[-1], mean)), latency)


def _workflow(organization_id: UUID, subject: EvaluationSubject) -> Guess:
    runs = WorkflowRun.objects.for_organization(organization_id).filter(
        version_id=subject.workflow_version_id, status=RunStatus.SUCCEEDED
    )
    ended = list(runs.order_by("-id").values_list("cost_usd", "active_ms")[:MOST_CALLS])
    if len(ended) >= FEWEST_CALLS:
        return _history(ended)
    version: Any = WorkflowVersion.objects.get(pk=str(subject.workflow_version_id))
    most = (version.definition.get("settings") or {}).get("max_cost_usd")
    if most is None:
        return Guess("unknown", len(ended), note="It has run too seldom to tell, and has no limit of cost.")
    return Guess("limit", len(ended), (ZERO, Decimal(most) / 2, Decimal(most)), note="By its own limit of cost.")


def _rendered(organization_id: UUID, subject: ModelSubject, items: Sequence[DatasetItem]) -> Guess:
    plans, refused = [], 0
    try:
        models = subject.models()
    except CaseFailure as failure:
        return Guess("unknown", note=failure.message)
    for item in items:
        try:
            plans.append(subject.plan(item.input, models)[0])
        except CaseFailure:
            refused += 1
    note = f"{refused} of the {len(items)} first items do not fit it." if refused else ""
    if not plans:
        return Guess("unknown", note=note)
    spoken, latency = _answers_of(organization_id, plans[0].candidates[0])
    costs = [cost for plan in plans if (cost := _cost_of(plan, spoken)) is not None]
    if not costs:
        return Guess("sample", len(plans), latency_ms=latency, note=f"The model has no known price. {note}".strip())
    low, likely, high = (sum(column, ZERO) / len(costs) for column in zip(*costs, strict=True))
    return Guess("sample", len(costs), (low, likely, high), latency, note)


def _answers_of(organization_id: UUID, model: LLMModel) -> tuple[float, float | None]:
    """Output tokens and latency of a model's last calls, on average."""
    executions = Execution.objects.for_organization(organization_id).filter(
        model_id=model.id, is_cached=False, status=Status.SUCCEEDED, output_tokens__isnull=False
    )
    calls = list(executions.order_by("-id").values_list("output_tokens", "latency_ms")[:MOST_CALLS])
    latencies = [latency for _, latency in calls if latency is not None]
    tokens = fmean(count for count, _ in calls) if len(calls) >= FEWEST_CALLS else EXPECTED_OUTPUT_TOKENS
    return tokens, fmean(latencies) if latencies else None


def _cost_of(plan: Plan, spoken: float) -> tuple[Decimal, Decimal, Decimal] | None:
    """A quarter of what is usually said, what is usually said, and the most that the call can cost."""
    model = plan.candidates[0]
    most = limited(plan)[1]
    tokens = min(spoken, most_output_tokens(model, plan.parameters_for(model)))
    sent = _input_tokens(plan)
    low, likely = (_price(model, sent, count) for count in (tokens / 4, tokens))
    if low is None or likely is None or most is None:
        return None
    return low, likely, max(most, likely)


def _input_tokens(plan: Plan) -> int:
    texts, images = without_images(plan.messages)
    said = dumps([texts, plan.version.tools or [], plan.version.response_schema or {}])
    return len(said) // BYTES_PER_TOKEN + images * TOKENS_PER_IMAGE


def _price(model: LLMModel, input_tokens: float, output_tokens: float) -> Decimal | None:
    prices = prices_of(model, at=timezone.now(), input_tokens=int(input_tokens))
    if prices is None or prices.input is None or (output_tokens and prices.output is None):
        return None
    total = Decimal(input_tokens) * prices.input + Decimal(output_tokens) * (prices.output or 0)
    return total / PER_TOKENS


def _judge(organization_id: UUID, metric: EvaluationMetric, items: Sequence[DatasetItem]) -> Guess:
    """Latency of votes of one case is added up."""
    version = metric.evaluator_version
    kind = evaluators()[version.evaluator.kind]
    model = _model_of(organization_id, version.config)
    calls = version.config.get("repeats", 1) * (2 if kind.compares_two else 1)
    latency = None if model is None else _answers_of(organization_id, model)[1]
    latency = None if latency is None else latency * calls
    earlier = EvaluationMetric.objects.filter(evaluator_version=version).order_by("-evaluation_id")
    newest = list(earlier.values_list("evaluation_id", "position")[:3])
    costs = [cost for place in newest for cost in _score_costs(*place)]
    if len(costs) >= FEWEST_CALLS:
        return _history([(cost, latency) for cost in costs])
    if model is None:
        return Guess("unknown", note="Its model cannot be called now.")
    judged = [_judged_tokens(version.config, item) for item in items]
    said = 0 if Capability.EMBEDDINGS in model.capabilities else JUDGE_OUTPUT_TOKENS
    likely = _price(model, fmean(judged), said) if judged else None
    if likely is None:
        return Guess("sample", len(judged), latency_ms=latency, note="The model has no known price.")
    return Guess("sample", len(judged), (likely * calls / 2, likely * calls, likely * calls * 3), latency)


def _score_costs(evaluation_id: UUID, metric: int) -> list[Any]:
    scores = EvaluationScore.objects.filter(evaluation=evaluation_id, metric=metric, cost_usd__isnull=False)
    return list(scores.values_list("cost_usd", flat=True)[:MOST_CALLS])


def _judged_tokens(config: Json, item: DatasetItem) -> float:
    """The rubric, the item, and an output of the usual length."""
    said = dumps([config.get("rubric", ""), item.input, item.expected])
    return len(said) / BYTES_PER_TOKEN + EXPECTED_OUTPUT_TOKENS / 2


def _model_of(organization_id: UUID, config: Json) -> LLMModel | None:
    usable = LLMModel.objects.for_organization(organization_id).usable()
    found: LLMModel | None = usable.filter(id=config.get("model_id")).first()
    return found
