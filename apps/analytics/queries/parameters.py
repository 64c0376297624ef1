"""What the endpoints are asked: a range, what to group by, and which executions are meant."""

import re
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from django.utils import timezone
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from apps.analytics.queries.asking import (
    DEFAULT_LIMIT,
    DIMENSIONS,
    FORMATS,
    ID_DIMENSIONS,
    MAX_CELLS,
    MAX_FILTER_VALUES,
    MAX_GROUP_BY,
    MAX_LIMIT,
    MEASURES,
    SCORE_NAME_LENGTH,
    Query,
)
from apps.analytics.queries.ranges import EARLIEST, LATEST, Interval, Range, TooLong
from apps.executions.models import Source, Status
from apps.prompts.models import TAG_LENGTH, VARIANT_LENGTH
from apps.workflows.schedules.times import time_zones
from everquant.api.serializers import StrictCharField, StrictSerializer, StrictUUIDField

_MOMENT = re.compile(r"\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d(\.\d{1,9})?)?(Z|[+ -]\d\d:\d\d)?)?", re.ASCII)
_DIGITS = re.compile(r"[0-9]{1,9}")
_IDS = sorted(ID_DIMENSIONS)
NONE = "none"


@extend_schema_field(
    {
        "type": "string",
        "anyOf": [{"format": "date-time"}, {"format": "date"}],
        "description": "A time, or a date: its first instant. Without an offset it is of `timezone`.",
    }
)
class MomentField(serializers.Field[Any, Any, Any, Any]):
    """A datetime, aware where the text had an offset."""

    def to_internal_value(self, data: str) -> datetime:
        # a + that was not quoted comes as a space
        text = re.sub(r" (?=\d\d:\d\d$)", "+", data) if _MOMENT.fullmatch(data) else ""
        try:
            return datetime.fromisoformat(text)
        except ValueError:
            raise serializers.ValidationError("Must be a date or a time, such as 2026-11-01T09:30:00Z.") from None


class ZoneField(StrictCharField):
    def to_internal_value(self, data: Any) -> str:
        name = super().to_internal_value(data)
        if name not in time_zones():
            raise serializers.ValidationError("Must be a name of the IANA database, such as Europe/Berlin.")
        return name


@extend_schema_field({"anyOf": [{"type": "string", "format": "uuid"}, {"const": NONE}]})
class IdField(StrictUUIDField):
    """An id, or the word for having none."""

    def to_internal_value(self, data: Any) -> Any:
        return None if data == NONE else super().to_internal_value(data)


class CountField(serializers.IntegerField):
    """Digits only: int() knows further ways to write a number."""

    def to_internal_value(self, data: Any) -> int:
        if not _DIGITS.fullmatch(str(data)):
            self.fail("invalid")
        return int(super().to_internal_value(data))


def _many(child: Any, longest: int = MAX_FILTER_VALUES, **options: Any) -> Any:
    presence: dict[str, Any] = {} if "default" in options else {"required": False}
    return serializers.ListField(child=child, max_length=longest, **presence, **options)


class RangeSerializer(StrictSerializer):
    """The range and the filters, which every endpoint has; a filter that is given twice means either value."""

    timezone = ZoneField(
        default="UTC", max_length=64, help_text="Of the calendar by which the range is cut: Europe/Berlin."
    )
    format = serializers.ChoiceField(choices=FORMATS, default="json", help_text="CSV and Parquet are files of rows.")
    status = _many(serializers.ChoiceField(choices=Status.choices))
    source = _many(serializers.ChoiceField(choices=Source.choices))
    tag = _many(StrictCharField(max_length=TAG_LENGTH), help_text="Of the prompt.")
    ab_variant = _many(StrictCharField(max_length=VARIANT_LENGTH))
    default_days = 1
    usual_order = "requests"

    def get_fields(self) -> dict[str, Any]:
        moments = {
            "from": MomentField(required=False, help_text="The first instant."),
            "to": MomentField(required=False, help_text="The end, which does not belong to the range; now by default."),
        }
        return {**moments, **super().get_fields(), **{name: _many(IdField()) for name in _IDS}}

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        span = _range(attrs, self.default_days)
        interval = attrs.get("interval") or (usual_interval(span) if "interval" in self.fields else None)
        before = _previous(span) if "compare" in attrs else None
        return {
            "span": span,
            "interval": Interval(interval) if interval else None,
            "starts": _starts(span, interval),
            "previous_starts": _starts(before, interval) if before else [],
            "filters": {name: tuple(dict.fromkeys(attrs[name])) for name in DIMENSIONS if attrs.get(name)},
            "file_format": attrs["format"],
            "group_by": tuple(attrs.get("group_by", ())),
            "scores": tuple(attrs.get("score", ())),
            "by": attrs.get("by", self.usual_order),
            **({"limit": attrs["limit"]} if "limit" in attrs else {}),
        }


def query_of(serializer_class: type[RangeSerializer], request: Any, organization_id: UUID) -> Query:
    """Raises ValidationError naming the parameters."""
    serializer = _shared(serializer_class)
    lists = list_parameters(serializer_class)
    given = {
        name: request.query_params.getlist(name) if name in lists else request.query_params[name]
        for name in request.query_params
    }
    query = Query(organization_id=organization_id, **serializer.run_validation(given))
    if query.group_by and query.interval and (len(query.starts) - 1) * query.limit > MAX_CELLS:
        raise serializers.ValidationError({"limit": [f"Groups times intervals may be at most {MAX_CELLS}."]})
    return query


@cache
def _shared(serializer_class: type[RangeSerializer]) -> RangeSerializer:
    """One for all requests: it keeps nothing of them."""
    return serializer_class()


@cache
def names_of(serializer_class: type[RangeSerializer]) -> frozenset[str]:
    return frozenset(_shared(serializer_class).fields)


@cache
def list_parameters(serializer_class: type[RangeSerializer]) -> frozenset[str]:
    """Those that may be given more than once."""
    fields = _shared(serializer_class).fields.items()
    return frozenset(name for name, one in fields if isinstance(one, serializers.ListField))


def usual_interval(span: Range) -> Interval:
    """For some hundred intervals at most."""
    days = (span.end - span.start).days
    longest = ((0.1, Interval.MINUTE), (4, Interval.HOUR), (120, Interval.DAY), (1000, Interval.WEEK))
    return next((interval for most, interval in longest if days < most), Interval.MONTH)


def _starts(span: Range, interval: str | None) -> list[datetime]:
    if interval is None:
        return [span.start, span.end]
    try:
        return span.starts(Interval(interval))
    except TooLong as error:
        raise serializers.ValidationError({"interval": [str(error)]}) from None


def _previous(span: Range) -> Range:
    before = span.previous()
    if before.start < EARLIEST:
        raise serializers.ValidationError({"compare": [f"The range before would begin before {EARLIEST.year}."]})
    return before


def _range(attrs: dict[str, Any], default_days: int) -> Range:
    zone = ZoneInfo(attrs["timezone"])
    end = _instant("to", attrs["to"], zone) if "to" in attrs else timezone.now()
    usual = max(end - timedelta(days=default_days), EARLIEST).replace(minute=0, second=0, microsecond=0)
    start = _instant("from", attrs["from"], zone) if "from" in attrs else usual
    if start >= end:
        raise serializers.ValidationError({"from": ["Must be before the end of the range."]})
    return Range(start, end, zone)


def _instant(name: str, given: datetime, zone: ZoneInfo) -> datetime:
    try:
        moment = (given if given.tzinfo else given.replace(tzinfo=zone)).astimezone(UTC)
    except OverflowError:
        moment = datetime.min.replace(tzinfo=UTC)
    if not EARLIEST <= moment <= LATEST:
        raise serializers.ValidationError({name: [f"Must be from {EARLIEST.year} to {LATEST.year}."]})
    return moment


_COMPARE = "With the range before: of as many months or days, or of the same length."
_GROUP_BY = "Up to two dimensions."
_LIMIT = "Groups, those with the most of `by` first; the rest is one more."


class ComparedSerializer(RangeSerializer):
    compare = serializers.ChoiceField(choices=["previous"], required=False, help_text=_COMPARE)


def _grouping(**options: Any) -> Any:
    child = serializers.ChoiceField(choices=DIMENSIONS)
    return _many(child, MAX_GROUP_BY, validators=[_check_distinct], help_text=_GROUP_BY, **options)


def _check_distinct(names: list[str]) -> None:
    if len(set(names)) < len(names):
        raise serializers.ValidationError("Names a dimension twice.")


def _by() -> Any:
    return serializers.ChoiceField(choices=MEASURES, default="requests")


def _limit() -> Any:
    return CountField(min_value=1, max_value=MAX_LIMIT, default=DEFAULT_LIMIT, help_text=_LIMIT)


class TimeseriesQuerySerializer(ComparedSerializer):
    interval = serializers.ChoiceField(choices=Interval.choices, required=False)
    group_by = _grouping()
    by = _by()
    limit = _limit()


class BreakdownQuerySerializer(ComparedSerializer):
    group_by = _grouping(default=["prompt"])
    by = _by()
    limit = _limit()


class LatencyQuerySerializer(RangeSerializer):
    group_by = _grouping()
    by = _by()
    limit = _limit()


class CostsQuerySerializer(ComparedSerializer):
    interval = serializers.ChoiceField(choices=Interval.choices, required=False)
    group_by = _grouping()
    limit = _limit()
    default_days = 30
    usual_order = "cost_usd"


class QualityQuerySerializer(ComparedSerializer):
    interval = serializers.ChoiceField(choices=Interval.choices, required=False)
    score = _many(StrictCharField(max_length=SCORE_NAME_LENGTH), help_text="Names of scores; all by default.")
    group_by = _grouping()
    limit = _limit()


class TopQuerySerializer(ComparedSerializer):
    group_by = _grouping(default=["prompt"])
    by = _by()
    limit = _limit()
