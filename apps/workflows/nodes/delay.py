"""A durable wait."""

import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from django.utils import timezone

from apps.workflows.nodes import fields
from apps.workflows.nodes.base import NodeCall, NodeFailure, NodeKind, Result, Waiting
from apps.workflows.nodes.resolving import resolved

LONGEST = timedelta(days=30)


class Delay(NodeKind):
    """Its output is when it ended: `{"until": …}`."""

    kind = "delay"
    config_schema: ClassVar[dict[str, Any]] = fields.config(
        "Waits, for at most 30 days; no thread is held meanwhile.",
        {
            "seconds": fields.value_of("number", description="How long, from the node's start."),
            "until": fields.value_of(description="Until when: an ISO 8601 time with its zone, 2030-01-31T09:00:00Z."),
        },
    )

    def check(self, config: Mapping[str, Any]) -> list[tuple[str, str, str]]:
        if ("seconds" in config) == ("until" in config):
            return [("INVALID_CONFIG", "Exactly one of seconds and until is expected.", "")]
        key = "seconds" if "seconds" in config else "until"
        if fields.has_placeholder(config[key]):
            return []
        try:
            _seconds(config[key]) if key == "seconds" else _time(config[key])
        except ValueError as problem:
            return [("INVALID_CONFIG", str(problem), key)]
        return []

    def run(self, call: NodeCall) -> Result:
        key = "seconds" if "seconds" in call.config else "until"
        given = resolved(call, key)
        try:
            until = call.first_started_at + _seconds(given) if key == "seconds" else _time(given)
        except ValueError as problem:
            raise NodeFailure("INVALID_CONFIG", f"{key}: {problem}", input={key: given}) from problem
        if until - call.first_started_at > LONGEST:
            raise NodeFailure("TOO_LONG", f"{key}: At most {LONGEST.days} days from now.", input={key: given})
        if timezone.now() < until:
            raise Waiting(until, input={key: given})
        return Result({"until": until.isoformat()}, input={key: given})


def _seconds(given: Any) -> timedelta:
    """Numbers as text too, as a template may have made them. Raises ValueError."""
    try:
        seconds = float("" if isinstance(given, bool) or not isinstance(given, int | float | str) else given)
    except (ValueError, OverflowError):
        seconds = math.nan
    if not 0 <= seconds <= LONGEST.total_seconds():
        raise ValueError(f"A number of seconds from 0 to {LONGEST.total_seconds():.0f} is expected.")
    return timedelta(seconds=seconds)


def _time(given: Any) -> datetime:
    """Raises ValueError."""
    try:
        found = datetime.fromisoformat(given)
        if found.tzinfo is not None:
            return found.astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        pass
    raise ValueError("An ISO 8601 time with its zone is expected, such as 2030-01-31T09:00:00Z.")
