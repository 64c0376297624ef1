"""Which results a list shows: what one subject answered, how a metric scored it, where two subjects disagree."""

from typing import Any

import django_filters
from django.db.models import Case, Exists, F, OuterRef, Q, QuerySet, Subquery, TextField, When
from django.db.models.functions import Cast
from drf_spectacular.utils import extend_schema_field
from rest_framework.exceptions import ValidationError

from apps.evaluations.models import (
    NAME_LENGTH,
    SPLIT_LENGTH,
    CaseStatus,
    EvaluationCase,
    EvaluationMetric,
    EvaluationScore,
    EvaluationSubject,
)

SEARCH_LENGTH = 200
OUTCOMES = [("passed", "passed"), ("failed", "failed"), ("error", "error"), ("missing", "missing")]
_LARGEST = 1e18
# Passed or not where that is said, else the category, else the number.
_SAID = Case(
    When(passed__isnull=False, then=Cast("passed", TextField())),
    When(label__gt="", then=Cast("label", TextField())),
    default=Cast("value", TextField()),
)


def _text(longest: int, label: str) -> Any:
    schema = {"type": "string", "maxLength": longest, "pattern": r"^[^\u0000]*$"}
    return extend_schema_field(schema)(django_filters.CharFilter(max_length=longest, label=label))


def _number(label: str) -> Any:
    one = django_filters.NumberFilter(min_value=-_LARGEST, max_value=_LARGEST, label=label)
    return extend_schema_field({"type": "number", "minimum": -_LARGEST, "maximum": _LARGEST})(one)


class ResultFilter(django_filters.FilterSet):
    """Of rows, each of which is the first subject's case. All conditions on a case hold for the same subject.

    Names no model: the view that it is of has evaluations in its path.
    """

    subject = _text(NAME_LENGTH, "The subject that the other filters are about; any by default.")
    status = django_filters.ChoiceFilter(choices=CaseStatus.choices)
    error_code = _text(40, "Of the case.")
    metric = _text(NAME_LENGTH, "What outcome, min, max and disagree are about.")
    outcome = django_filters.ChoiceFilter(choices=OUTCOMES)
    min = _number("The least value of the metric.")
    max = _number("The largest value of the metric.")
    disagree = _text(NAME_LENGTH, "Another subject, which the metric scored otherwise than `subject`.")
    split = _text(SPLIT_LENGTH, "Of the items.")
    search = _text(SEARCH_LENGTH, "In the input, or in an output.")

    def filter_queryset(self, queryset: Any) -> Any:
        wanted = {name: value for name, value in self.form.cleaned_data.items() if value not in (None, "")}
        subject = self._position(EvaluationSubject, "subject", wanted)
        other = self._position(EvaluationSubject, "disagree", wanted)
        metric = self._position(EvaluationMetric, "metric", wanted)
        _require(wanted)
        if "split" in wanted:
            queryset = queryset.filter(item__split=wanted["split"])
        about_case = _about_case(wanted, subject, metric)
        if about_case:
            queryset = queryset.filter(_has_case(*about_case))
        if other is not None:
            queryset = _disagreeing(queryset, subject, other, metric)
        return _found(queryset, wanted["search"], subject) if "search" in wanted else queryset

    def _position(self, model: Any, parameter: str, wanted: dict[str, Any]) -> int | None:
        if parameter not in wanted:
            return None
        rows = model.objects.filter(evaluation=self.request.parser_context["kwargs"]["pk"], name=wanted[parameter])
        position: int | None = rows.values_list("position", flat=True).first()
        if position is None:
            raise ValidationError({parameter: ["The evaluation has none of this name."]})
        return position


def _require(wanted: dict[str, Any]) -> None:
    needed = {"outcome": ("metric",), "min": ("metric",), "max": ("metric",), "disagree": ("metric", "subject")}
    problems = {
        name: [f"Needs {' and '.join(others)}."]
        for name, others in needed.items()
        if name in wanted and not wanted.keys() >= set(others)
    }
    if problems:
        raise ValidationError(problems)


def _siblings() -> QuerySet[EvaluationCase]:
    """The cases of a row."""
    same = {name: OuterRef(name) for name in ("evaluation_id", "item_id", "repeat")}
    return EvaluationCase.objects.filter(**same)


def _has_case(*conditions: Q | Exists) -> Exists:
    return Exists(_siblings().filter(*conditions))


def _about_case(wanted: dict[str, Any], subject: int | None, metric: int | None) -> list[Any]:
    conditions: list[Any] = []
    if "status" in wanted:
        conditions.append(Q(status=wanted["status"]))
    if "error_code" in wanted:
        conditions.append(Q(error_code=wanted["error_code"]))
    if metric is not None:
        conditions += _about_score(wanted, metric)
    return [Q(subject=subject), *conditions] if conditions and subject is not None else conditions


def _about_score(wanted: dict[str, Any], metric: int) -> list[Any]:
    score = EvaluationScore.objects.filter(case_id=OuterRef("id"), metric=metric)
    outcome = wanted.get("outcome")
    if outcome == "missing":
        return [~Exists(score)]
    conditions = Q()
    if outcome == "error":
        conditions &= ~Q(error_code="")
    elif outcome is not None:
        conditions &= Q(passed=outcome == "passed")
    if "min" in wanted:
        conditions &= Q(value__gte=wanted["min"])
    if "max" in wanted:
        conditions &= Q(value__lte=wanted["max"])
    return [Exists(score.filter(conditions))] if conditions else []


def _disagreeing(queryset: Any, subject: Any, other: int, metric: Any) -> Any:
    """Both have a score, and it differs."""
    mine, theirs = (_said(position, metric) for position in (subject, other))
    both = queryset.alias(mine=mine, theirs=theirs)
    return both.filter(Q(mine__lt=F("theirs")) | Q(mine__gt=F("theirs")))  # neither holds without a score


def _said(subject: int, metric: int) -> Subquery:
    row = {f"case__{name}": OuterRef(name) for name in ("evaluation_id", "item_id", "repeat")}
    scores = EvaluationScore.objects.filter(**row, case__subject=subject, metric=metric, error_code="")
    return Subquery(scores.values(said=_SAID)[:1])


def _found(queryset: Any, text: str, subject: int | None) -> Any:
    outputs = _siblings() if subject is None else _siblings().filter(subject=subject)
    said = outputs.annotate(said=Cast("output", TextField())).filter(said__icontains=text)
    given = queryset.annotate(given=Cast("item__input", TextField()))
    return given.filter(Q(given__icontains=text) | Exists(said))
