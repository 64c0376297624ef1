"""What executions came to in a period: in all, step by step, before it, and by prompt and model."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any
from uuid import UUID

from apps.analytics.dashboard.periods import Period
from apps.analytics.queries.grouping import NOTHING
from apps.analytics.queries.measuring import merged
from apps.analytics.rollups.reading import Scope, read
from apps.models.models import LLMModel
from apps.prompts.models import Prompt

MOST_SHOWN = 8
# Names and whose they are. What was deleted keeps its name.
_NAMED: Mapping[str, Any] = {"prompt": Prompt, "model": LLMModel}


@dataclass(frozen=True, slots=True)
class Step:
    """`cell` has the sums of what began from `start` up to `end`; nothing is zeros."""

    start: datetime
    end: datetime
    cell: Any


@dataclass(frozen=True, slots=True)
class Traffic:
    """`totals` of all steps, `previous` of as much time before the first of them."""

    steps: list[Step]
    totals: Any
    previous: Any


@dataclass(frozen=True, slots=True)
class Group:
    """The executions of one prompt or model; `id` is None for those without any."""

    id: UUID | None
    name: str
    organization: str
    cell: Any


def read_traffic(organization_id: UUID | None, period: Period, now: datetime) -> Traffic:
    """Of all organizations with None. One question, so that all figures are of the same moment."""
    before, starts = period.previous(now), period.starts(now)
    cells = {cell.bucket: cell for cell in read(Scope(organization_id), boundaries=[*before, *starts])}
    steps = [
        Step(start, end, cells.get(place, NOTHING)) for place, (start, end) in enumerate(pairwise(starts), len(before))
    ]
    return Traffic(steps, merged([step.cell for step in steps]), cells.get(0, NOTHING))


def read_greatest(organization_id: UUID | None, dimension: str, period: Period, now: datetime) -> list[Group]:
    """The prompts or models with the most requests; histograms are read of these alone."""
    starts = period.starts(now)
    whole = [starts[0], starts[-1]]
    counted = read(Scope(organization_id), boundaries=whole, group_by=(dimension,), has_latencies=False)
    ordered = sorted(counted, key=lambda cell: (-cell.requests, str(cell.key[0])))
    keys = [cell.key[0] for cell in ordered[:MOST_SHOWN]]
    if not keys:
        return []
    scope = Scope(organization_id, {dimension: tuple(keys)})
    cells = {cell.key[0]: cell for cell in read(scope, boundaries=whole, group_by=(dimension,))}
    names = _names(dimension, keys)
    return [Group(key, *names.get(key, ("", "")), cells[key]) for key in keys if key in cells]


def _names(dimension: str, keys: list[UUID | None]) -> dict[UUID | None, tuple[str, str]]:
    """By keys that come from the executions of those that are asked for, so of no other organization."""
    rows = _NAMED[dimension].objects.filter(pk__in=[key for key in keys if key])
    return {key: (slug, owner) for key, slug, owner in rows.values_list("pk", "slug", "organization__name")}
