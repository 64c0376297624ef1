"""Gates: rules on an evaluation that has ended, and their verdict, kept."""

from collections.abc import Sequence
from datetime import datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Any, cast

import orjson
from django.db import transaction

from apps.evaluations.comparing.choosing import Contest, SubjectName, choose, metrics_of_other
from apps.evaluations.comparing.metrics import FAILURE_RATE, Metric
from apps.evaluations.comparing.rules import COMPARING_TYPES, Rule, parse_rules
from apps.evaluations.judging.agreement import reason_not_to_gate
from apps.evaluations.models import Evaluation, GateResult, Verdict
from apps.users.principal import Principal
from everquant.api.errors import BadRequest, NotFound

if TYPE_CHECKING:
    from apps.evaluations.comparing.columns import Subject
    from apps.evaluations.comparing.ruling import Ruling

Json = dict[str, Any]

_OF_ANY_METRIC = frozenset({"max_failure_rate", "max_missing"})


@transaction.atomic
def run_gate(
    *,
    evaluation: Evaluation,
    rules: Sequence[Json],
    candidate: SubjectName | None = None,
    baseline: SubjectName | None = None,
    against: Evaluation | None = None,
    by: Principal | None = None,
) -> GateResult:
    """The verdict of all rules: fail where one fails, else inconclusive where one is, else pass.

    The evaluations stay locked until it is stored, so that it is of the results that it names. Raises BadRequest naming
    the rule, `candidate` or `baseline`, and Conflict for an evaluation that has not ended.
    """
    checked = parse_rules(list(rules))
    evaluation = _locked(evaluation)
    against = None if against is None or against.id == evaluation.id else _locked(against)
    contest = choose(evaluation=evaluation, candidate=candidate, baseline=baseline, against=against)
    if len(contest.candidates) != 1:
        raise BadRequest("candidate: Name one.", details={"candidate": "There are several: name one."})
    metrics = _metrics_of_rules(checked, contest)
    rulings = _rule_all(checked, contest, metrics)
    report = [_told(rule, metric, ruling) for rule, metric, ruling in zip(checked, metrics, rulings, strict=True)]
    has_baseline = contest.baseline is not None and any(rule["type"] in COMPARING_TYPES for rule in checked)
    result: GateResult = GateResult.objects.create(
        organization_id=evaluation.organization_id,
        evaluation=evaluation,
        candidate=contest.candidates[0].position,
        against=against,
        baseline=contest.baseline.position if contest.baseline is not None and has_baseline else None,
        rules=checked,
        rules_hash=hash_of(checked),
        verdict=_overall([ruling.verdict for ruling in rulings]),
        report=report,
        evaluation_finished_at=cast("datetime", evaluation.finished_at),
        against_finished_at=against.finished_at if against else None,
        created_by_id=by.user_id if by else None,
        api_key_id=by.api_key_id if by else None,
    )
    return result


def hash_of(rules: Sequence[Rule]) -> bytes:
    return sha256(orjson.dumps(list(rules), option=orjson.OPT_SORT_KEYS)).digest()


def _locked(evaluation: Evaluation) -> Evaluation:
    """Against whoever would make it go on; gates at the same time do not wait for each other. Raises NotFound."""
    found = Evaluation.objects.raw("SELECT * FROM evaluations_evaluation WHERE id = %s FOR SHARE", [evaluation.id])
    for locked in found:
        return locked
    raise NotFound("No such object.")


def _metrics_of_rules(rules: Sequence[Rule], contest: Contest) -> list[Metric | None]:
    """One for each rule, None for a rule on all of them. Raises BadRequest naming every rule that cannot be asked."""
    problems: dict[str, str] = {}
    found: list[Metric | None] = []
    for number, rule in enumerate(rules):
        at, name = f"rules.{number}", rule.get("metric")
        metric = FAILURE_RATE if rule["type"] == "max_failure_rate" else contest.metrics.get(name or "")
        if name is not None and metric is None:
            problems[f"{at}.metric"] = f"There are {', '.join(contest.metrics)}."[:300]
        elif metric is not None and (why := _why_not(rule, metric, contest)):
            problems[f"{at}.{why[0]}"] = why[1]
        found.append(metric)
    if problems:
        path, why_first = next(iter(problems.items()))
        raise BadRequest(f"{path}: {why_first}", details=problems)
    return found


def _why_not(rule: Rule, metric: Metric, contest: Contest) -> tuple[str, str] | None:
    """The field that is wrong, and why."""
    if rule["type"] in _OF_ANY_METRIC:
        return None
    if not metric.is_number:
        return "metric", "Its labels have no values, and no mean."
    if rule["type"] in COMPARING_TYPES and contest.baseline is None:
        return "type", "There is no baseline: the evaluation has one subject, and no other one is named."
    if rule["type"] in {"no_worse_than", "better_than"} and metric.direction == "none":
        return "metric", "It has no direction: nothing of it is better."
    if rule["type"] in COMPARING_TYPES and metric.name in contest.not_compared:
        return "metric", contest.not_compared[metric.name]
    return None


def _rule_all(rules: Sequence[Rule], contest: Contest, metrics: Sequence[Metric | None]) -> "list[Ruling]":
    from apps.evaluations.comparing.ruling import rule_on, rule_on_missing  # noqa: PLC0415 (numpy only where it counts)

    candidate, baseline = _load(rules, contest)
    doubts = {
        version.id: reason_not_to_gate(version)
        for version in {metric.evaluator_version for metric in metrics if metric and metric.evaluator_version}
    }
    own = [metric for metric in contest.metrics.values() if metric.position is not None]
    rulings = []
    for rule, metric in zip(rules, metrics, strict=True):
        if rule["type"] == "max_missing":
            rulings.append(rule_on_missing(rule, [metric] if metric else own, candidate))
        elif metric is not None:
            doubt = doubts.get(metric.evaluator_version_id) if metric.evaluator_version_id else None
            rulings.append(rule_on(rule, metric, candidate, baseline, doubt))
    return rulings


def _load(rules: Sequence[Rule], contest: Contest) -> "tuple[Subject, Subject | None]":
    from apps.evaluations.comparing.columns import load_subjects  # noqa: PLC0415 (numpy only where it counts)

    metrics = list(contest.metrics.values())
    position = contest.candidates[0].position
    if contest.baseline is None or not any(rule["type"] in COMPARING_TYPES for rule in rules):
        return load_subjects(contest.evaluation, [position], metrics)[position], None
    if contest.is_across:
        other = load_subjects(contest.against, [contest.baseline.position], metrics_of_other(contest))
        candidate = load_subjects(contest.evaluation, [position], metrics)[position]
        return candidate, other[contest.baseline.position]
    both = load_subjects(contest.evaluation, [position, contest.baseline.position], metrics)
    return both[position], both[contest.baseline.position]


def _overall(verdicts: Sequence[Verdict]) -> Verdict:
    """Each rule holds its own error rate, so all together need no correction: a gate passes only if every one does."""
    for verdict in (Verdict.FAIL, Verdict.INCONCLUSIVE):
        if verdict in verdicts:
            return verdict
    return Verdict.PASS


def _told(rule: Rule, metric: Metric | None, ruling: "Ruling") -> Json:
    interval = ruling.interval
    return {
        "rule": rule,
        "metric": metric.name if metric else None,
        "verdict": ruling.verdict.value,
        "code": ruling.code or None,
        "reason": ruling.reason,
        "n": ruling.n,
        "estimate": ruling.estimate,
        "low": interval.low if interval.is_known else None,
        "high": interval.high if interval.is_known else None,
        "interval_method": interval.method if interval.is_known else None,
        "is_degenerate": interval.is_degenerate,
        "baseline_mean": ruling.baseline_mean,
        "candidate_mean": ruling.candidate_mean,
        "missing": ruling.missing,
    }
