"""Which sums are kept: cubes of dimensions, at grains of time, of two families: executions and their scores.

A cube has the status besides its dimensions. After a change here, `manage.py rollup --rebuild` makes what is missing.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import IntEnum

from everquant.histogram import BUCKET_OF_ONE, LOG_GAMMA

# The name of each dimension in questions, and its column.
DIMENSIONS = {
    "prompt": "prompt_id",
    "version": "prompt_version_id",
    "model": "model_id",
    "source": "source",
    "status": "status",
    "user": "created_by_id",
    "api_key": "api_key_id",
    "ab_test": "ab_test_id",
    "ab_variant": "ab_variant",
    "workflow": "workflow_id",
}
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Grain(IntEnum):
    """Minutes of a cell, which begins at a multiple of them in UTC: time zones are off by whole quarters of an hour."""

    QUARTER = 15
    HOUR = 60
    SHIFT = 360
    DAY = 1440

    @property
    def length(self) -> timedelta:
        return timedelta(minutes=self)

    def floor(self, moment: datetime) -> datetime:
        """The last start of a cell that is not after this moment."""
        return moment - (moment - EPOCH) % self.length

    def ceil(self, moment: datetime) -> datetime:
        return moment + (EPOCH - moment) % self.length


_GRAINS = (Grain.DAY, Grain.SHIFT, Grain.HOUR)
_FINE = (*_GRAINS, Grain.QUARTER)


@dataclass(frozen=True, slots=True)
class Cube:
    """`grains` from the coarsest; between the finest of them the rows themselves are read."""

    number: int
    dimensions: tuple[str, ...]
    grains: tuple[Grain, ...] = _GRAINS

    @property
    def columns(self) -> list[str]:
        return [DIMENSIONS[name] for name in (*self.dimensions, "status")]


# From the smallest: what asks for some dimensions reads the first that has them all.
CUBES = (
    Cube(1, (), _FINE),
    Cube(2, ("model",), _FINE),
    Cube(3, ("source",)),
    Cube(4, ("prompt",), _FINE),
    Cube(5, ("user",), _FINE),
    Cube(6, ("api_key",)),
    Cube(7, ("workflow",)),
    Cube(8, ("ab_test", "ab_variant")),
    Cube(12, ("prompt", "version", "model"), _FINE),
    Cube(9, ("prompt", "version", "model", "source")),
    Cube(13, ("user", "prompt")),
    Cube(10, ("user", "api_key", "model")),
    Cube(11, tuple(name for name in DIMENSIONS if name != "status"), (Grain.DAY,)),
)


def cube_of(dimensions: Collection[str]) -> Cube:
    """The smallest that has them; raises KeyError for a name that is no dimension."""
    wanted = {name for name in dimensions if DIMENSIONS[name] != "status"}
    return next(cube for cube in CUBES if wanted <= set(cube.dimensions))


@dataclass(frozen=True, slots=True)
class Family:
    """What is added up the same way. `sums` has the SQL of each sum over facts, whose rows are `f` with a `sign`.

    `histograms` has the column of which each histogram is; `labels` tell cells apart in every cube. `stored` selects
    facts from the rows themselves, with a place for conditions on `e`, the execution.
    """

    table: str
    pending: str
    facts: tuple[str, ...]
    sums: dict[str, str]
    stored: str
    histograms: dict[str, str]
    labels: tuple[str, ...] = ()
    count: str = "requests"

    @property
    def columns(self) -> list[str]:
        """Of a cell, beside the organization, the cube, the grain, the start and the key."""
        return [*DIMENSIONS.values(), *self.labels, *self.sums, *self.histograms]


_OF_EXECUTION = ", ".join(
    ["1::smallint AS sign", "e.organization_id", "e.created_at"]
    + [f"nullif(e.{name}, '') AS {name}" if name == "ab_variant" else f"e.{name}" for name in DIMENSIONS.values()]
)
_TOKENS = ("input_tokens", "cached_input_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens")
_USD = ("cost_usd", "saved_cost_usd")
_MEASURES = ("is_cached", *_TOKENS, *_USD, "latency_ms", "first_token_ms")
_UNPRICED = "f.cost_usd IS NULL AND f.input_tokens IS NOT NULL AND NOT f.is_cached"

EXECUTIONS = Family(
    table="analytics_executionrollup",
    pending="analytics_pendingexecution",
    facts=_MEASURES,
    sums={
        "requests": "sum(f.sign)",
        "cached": "coalesce(sum(f.sign) FILTER (WHERE f.is_cached), 0)",
        "unpriced": f"coalesce(sum(f.sign) FILTER (WHERE {_UNPRICED}), 0)",
        **{name: f"coalesce(sum(f.sign * f.{name}), 0)" for name in (*_TOKENS, *_USD)},
        "latency_sum_ms": "coalesce(sum(f.sign * f.latency_ms), 0)",
        "first_token_sum_ms": "coalesce(sum(f.sign * f.first_token_ms), 0)",
    },
    histograms={"latency": "latency_ms", "first_token": "first_token_ms"},
    stored=(
        f"SELECT {_OF_EXECUTION}, {', '.join(f'e.{name}' for name in _MEASURES)} "  # noqa: S608 (our own names)
        "FROM executions_execution e WHERE e.finished_at IS NOT NULL AND {conditions}"
    ),
)
SCORES = Family(
    table="analytics_scorerollup",
    pending="analytics_pendingscore",
    facts=("name", "number"),
    sums={
        "count": "sum(f.sign)",
        "total": "sum(f.sign * f.number)",
        "squares": "sum(f.sign * f.number * f.number)",
    },
    histograms={},
    labels=("name",),
    count="count",
    stored=(
        f"SELECT {_OF_EXECUTION}, s.name, s.number "  # noqa: S608 (our own names)
        "FROM executions_execution e JOIN executions_score s "
        "ON s.organization_id = e.organization_id AND s.execution_id = e.id "
        "WHERE e.finished_at IS NOT NULL AND s.number IS NOT NULL AND {conditions}"
    ),
)
FAMILIES = (EXECUTIONS, SCORES)


def _bucket(column: str) -> str:
    """SQL of `everquant.histogram.bucket_of`, as two bytes; null of null."""
    number = f"CASE f.{column} WHEN 0 THEN 0 ELSE {BUCKET_OF_ONE} + ceil(ln(f.{column}::float8) / {LOG_GAMMA!r}) END"
    return f"int2send(({number})::smallint)"


def bucket_lists(family: Family) -> list[str]:
    """SQL of the buckets that each histogram gets, and of those that it loses: two bytes for each, big-endian."""
    return [
        f"string_agg({_bucket(column)}, ''::bytea) FILTER (WHERE f.{column} IS NOT NULL AND f.sign {sign} 0) "
        f"AS {name}_{'got' if sign == '>' else 'lost'}"
        for name, column in family.histograms.items()
        for sign in "><"
    ]


# The bits of GROUPING(…) in `cells_of` by which a row tells its cube and grain.
_STARTS = {grain: f"{grain.name.lower()}_at" for grain in Grain}
_GROUPABLE = (*_STARTS.values(), *DIMENSIONS.values())
CELL_OF_GROUPING = {
    sum(
        1 << (len(_GROUPABLE) - 1 - place)
        for place, column in enumerate(_GROUPABLE)
        if column not in (_STARTS[grain], *cube.columns)
    ): (cube.number, grain)
    for cube in CUBES
    for grain in cube.grains
}


def cells_of(family: Family, facts: str) -> str:
    """SQL of the cells of all cubes and grains that these facts (the name of a table expression) add up to."""
    starts = ", ".join(
        f"date_bin('{grain.value} minutes', created_at, '{EPOCH.isoformat()}'::timestamptz) AS {name}"
        for grain, name in _STARTS.items()
    )
    sets = ", ".join(
        f"({', '.join([_STARTS[grain], *cube.columns, *family.labels])})" for cube in CUBES for grain in cube.grains
    )
    dimensions = [*DIMENSIONS.values(), *family.labels]
    digested = ", '|', ".join(f"f.{name}" for name in dimensions)
    sums = [f"{text} AS {name}" for name, text in family.sums.items()]
    return (
        f"SELECT GROUPING({', '.join(_GROUPABLE)}) AS grouped, coalesce({', '.join(_STARTS.values())}) AS starts_at, "  # noqa: S608 (our own names)
        f"md5(concat({digested}))::uuid AS key, {', '.join([*dimensions, *sums, *bucket_lists(family)])} "
        f"FROM (SELECT *, {starts} FROM {facts}) f GROUP BY GROUPING SETS ({sets})"
    )
