"""What adds to the sums of a test, read in one form: ends of executions, scores, scores taken back, observations.

Each is read for a list of rows that wait (the collector) or for all of a test (to compute the sums anew).
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

import orjson
from django.db import connection

from apps.evaluations.ab_tests.measures import SCORE_PREFIX, Builtin, measures_of
from apps.evaluations.models import ABPending
from apps.executions.keys import id_bound
from apps.executions.models import Status
from apps.models.providers.base import ErrorCode
from apps.prompts.models import ABTest

MAX_VALUE = 1e18
READ_AT_ONCE = 2000
_CLOCKS_DIFFER_BY = timedelta(hours=1)
Kind = ABPending.Kind

# A request without a unit is one of its own; ids of others that begin in the same way get the mark once more.
_KEY = """CASE WHEN {unit} = '' THEN '!' || {execution}::text WHEN starts_with({unit}, '!') THEN '!' || {unit}
ELSE {unit} END"""
_OF_EXECUTION = _KEY.format(unit="e.unit_id", execution="e.id")
_HAS_STARTED = "(e.started_at IS NOT NULL OR e.attempt_count > 0)"
_EXECUTIONS = f"""
SELECT e.id AS ref_id, 'execution' AS kind, {_OF_EXECUTION} AS unit_key, e.ab_variant AS variant, e.ab_phase AS phase,
    e.created_at AS at, e.status, {_HAS_STARTED} AS has_started, e.error_code,
    p.response_schema IS NOT NULL AS has_schema, e.latency_ms, e.first_token_ms,
    e.cost_usd::float8 AS cost_usd, e.output_tokens, NULL AS name, NULL::float8 AS number, NULL::text AS values,
    TRUE AS is_exposure
FROM executions_execution e LEFT JOIN executions_executionpayload p ON p.execution_id = e.id
WHERE e.ab_test_id = %(test)s AND e.finished_at IS NOT NULL AND {{which}}
"""  # noqa: S608 (made of constants)
_SCORES = f"""
SELECT s.id, '{{kind}}', {_OF_EXECUTION}, e.ab_variant, e.ab_phase, NULL::timestamptz, e.status, {_HAS_STARTED},
    NULL, FALSE, NULL::integer, NULL::integer, NULL::float8, NULL::integer, s.name, s.number, NULL::text, FALSE
FROM {{scores}} s JOIN executions_execution e ON e.id = s.execution_id
WHERE e.ab_test_id = %(test)s AND s.number IS NOT NULL AND {{which}}
"""  # noqa: S608 (made of constants)
_OBSERVATIONS = f"""
SELECT o.id, 'observation', {_KEY.format(unit="o.unit_id", execution="o.execution_id")}, o.variant, o.phase,
    o.created_at, NULL, TRUE, NULL, FALSE, NULL::integer, NULL::integer, NULL::float8, NULL::integer,
    NULL, NULL::float8, o.values::text, o.is_exposure
FROM evaluations_abobservation o
WHERE o.test_id = %(test)s AND {{which}}
"""  # noqa: S608 (made of constants)
_RETRACTED = "(SELECT ref_id AS id, ref_id AS execution_id, name, number FROM evaluations_abpending WHERE {})"


class Row(NamedTuple):
    """As the statements give it."""

    ref_id: Any
    kind: str
    unit_key: str
    variant: str
    phase: int | None
    at: datetime | None
    status: str | None
    has_started: bool
    error_code: str | None
    has_schema: bool
    latency_ms: int | None
    first_token_ms: int | None
    cost_usd: float | None
    output_tokens: int | None
    name: str | None
    number: float | None
    values: str | None
    is_exposure: bool

    @property
    def must_wait(self) -> bool:
        """A score of an execution that may still turn out to be no exposure."""
        return self.status in (Status.QUEUED, Status.RUNNING)


class Happening(NamedTuple):
    """What a unit did, or what was said of it: `values` are pairs of a measure's place and a number.

    `sign` is -1 for what is taken back.
    """

    unit_key: str
    variant: str
    phase: int
    exposed_at: datetime | None
    values: Sequence[tuple[int, float]]
    sign: int = 1


@dataclass(frozen=True)
class Frame:
    """What of a test decides how its rows are read."""

    test_id: UUID
    measures: tuple[str, ...]
    places: Mapping[str, int]
    has_one_phase: bool

    @classmethod
    def of(cls, test: ABTest) -> "Frame":
        """The weights of a bandit follow its results: its units are one population, in phase 1."""
        measures = measures_of(test.metrics)
        places = {measure: place for place, measure in enumerate(measures)}
        return cls(test.id, measures, places, test.mode == ABTest.Mode.BANDIT)

    def happening(self, row: Row) -> Happening | None:
        """None for what is no exposure, as its call never started, and for scores of it and scores that nobody asked
        for.
        """
        if not row.has_started:
            return None
        values = [
            (self.places[name], number)
            for name, number in self._numbers(row)
            if name in self.places and number is not None and math.isfinite(number) and abs(number) <= MAX_VALUE
        ]
        if not values and not row.is_exposure:
            return None
        phase = 1 if self.has_one_phase else row.phase or 1
        sign = -1 if row.kind == Kind.SCORE_RETRACTED else 1
        return Happening(row.unit_key, row.variant, phase, row.at if row.is_exposure else None, values, sign)

    def _numbers(self, row: Row) -> Iterator[tuple[str, float | None]]:
        if row.kind == Kind.EXECUTION:
            yield from _numbers_of_execution(row)
        elif row.kind == Kind.OBSERVATION:
            yield from orjson.loads(row.values or b"{}").items()
        else:
            yield f"{SCORE_PREFIX}{row.name}", row.number


def _numbers_of_execution(row: Row) -> Iterator[tuple[str, float | None]]:
    is_answer = row.status == Status.SUCCEEDED
    yield Builtin.SUCCESS, float(is_answer)
    yield Builtin.COST_USD, row.cost_usd
    if is_answer:
        yield Builtin.LATENCY_MS, row.latency_ms
        yield Builtin.FIRST_TOKEN_MS, row.first_token_ms
        yield Builtin.OUTPUT_TOKENS, row.output_tokens
    if row.has_schema and (is_answer or row.error_code == ErrorCode.INVALID_OUTPUT):
        yield Builtin.SCHEMA_VALID, float(is_answer)


_PENDING = {
    Kind.EXECUTION: _EXECUTIONS.format(
        which="e.id = ANY(%(ids)s) AND e.id BETWEEN %(least)s AND %(most)s "
        "AND (p.execution_id IS NULL OR p.execution_id BETWEEN %(least)s AND %(most)s)"
    ),
    Kind.SCORE: _SCORES.format(kind=Kind.SCORE, scores="executions_score", which="s.id = ANY(%(ids)s)"),
    Kind.SCORE_RETRACTED: _SCORES.format(
        kind=Kind.SCORE_RETRACTED, scores=_RETRACTED.format("id = ANY(%(ids)s)"), which="TRUE"
    ),
    Kind.OBSERVATION: _OBSERVATIONS.format(which="o.id = ANY(%(ids)s)"),
}


def read_pending(test_id: UUID, pending: Sequence[tuple[int, str, UUID]]) -> list[Row]:
    """What waiting rows (id, kind, ref_id) tell of, as far as it is still there."""
    refs: dict[str, list[Any]] = {kind: [] for kind in Kind.values}
    for pending_id, kind, ref_id in pending:
        refs[kind].append(pending_id if kind == Kind.SCORE_RETRACTED else ref_id)
    found: list[Row] = []
    with connection.cursor() as cursor:
        for kind, ids in refs.items():
            if ids:
                asked = {"test": test_id, "ids": ids, "least": min(ids), "most": max(ids)}
                cursor.execute(_PENDING[Kind(kind)], asked)
                found += map(Row._make, cursor.fetchall())
    return found


def _not_pending(kind: Kind, ref: str) -> str:
    return (
        "NOT EXISTS (SELECT FROM evaluations_abpending w "
        f"WHERE w.test_id = %(test)s AND w.kind = '{kind}' AND w.ref_id = {ref})"
    )


_COUNTED = " UNION ALL ".join(
    [
        _EXECUTIONS.format(
            which="e.organization_id = %(organization)s AND e.prompt_id = %(prompt)s AND e.id >= %(since)s AND "
            + _not_pending(Kind.EXECUTION, "e.id")
        ),
        _SCORES.format(
            kind=Kind.SCORE,
            scores="executions_score",
            which="s.organization_id = %(organization)s AND s.execution_id >= %(since)s AND "
            + _not_pending(Kind.SCORE, "s.id"),
        ),
        _SCORES.format(
            kind=Kind.SCORE,
            scores=_RETRACTED.format(f"test_id = %(test)s AND kind = '{Kind.SCORE_RETRACTED}'"),
            which="TRUE",
        ),
        _OBSERVATIONS.format(which=_not_pending(Kind.OBSERVATION, "o.id")),
    ]
)
_BY_UNIT = f'SELECT * FROM ({_COUNTED}) counted ORDER BY unit_key COLLATE "C", ref_id'  # noqa: S608 (made of constants)


def read_counted(test: ABTest) -> Iterator[Row]:
    """All that is in the sums already, unit by unit, in one statement and so of one moment; needs a transaction.

    A score that is to be taken back is still in them.
    """
    asked = {
        "test": test.id,
        "organization": test.organization_id,
        "prompt": test.prompt_id,
        "since": id_bound((test.started_at or test.created_at) - _CLOCKS_DIFFER_BY),
    }
    with connection.chunked_cursor() as cursor:
        cursor.execute(_BY_UNIT, asked)
        while rows := cursor.fetchmany(READ_AT_ONCE):
            yield from map(Row._make, rows)
