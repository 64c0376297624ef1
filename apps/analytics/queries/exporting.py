"""Answers as rows of a file: CSV for spreadsheets, Parquet with the types of its columns."""

import csv
import io
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

from apps.analytics.queries.costing import cost_of
from apps.analytics.queries.grouping import NOTHING
from apps.analytics.queries.measuring import COUNTS, Json, measures, waits
from apps.analytics.queries.scoring import Moments, mean_of
from apps.executions.models import COST_PLACES
from everquant.histogram import Histogram
from everquant.spreadsheets import as_text

CONTENT_TYPES = {"csv": "text/csv", "parquet": "application/vnd.apache.parquet"}
REST = "(rest)"
_TIMES = frozenset({"from", "to", "start", "end"})
_TEXTS = frozenset({"period", "local_start", "score"})
_INTEGERS = frozenset({*COUNTS, "rank", "n", "succeeded"})
_MONEY_DIGITS = 38
_POINT = dict.fromkeys(("start", "end", "local_start"))
_WAITS = waits(Histogram(), 0)
_MEAN = mean_of(Moments())


def as_file(kind: str, answer: Json, file_format: str) -> bytes:
    """The rows of an endpoint's answer, with the same columns whatever there is; what is nested is joined by `_`."""
    template, rows = _TABLES[kind](answer)
    columns = list(_flat(template))
    found = ([flat.get(name) for name in columns] for flat in map(_flat, rows))
    return _csv(columns, found) if file_format == "csv" else _parquet(columns, _groups(answer), list(found))


Table = tuple[Json, Iterator[Json]]


def _overview(answer: Json) -> Table:
    periods = [("current", answer["from"], answer["to"], answer["totals"])]
    if answer["previous"] is not None:
        periods.append(("previous", answer["previous_from"], answer["previous_to"], answer["previous"]))
    rows = ({"period": name, "from": start, "to": end, **found} for name, start, end, found in periods)
    return {"period": None, "from": None, "to": None, **measures(NOTHING)}, rows


def _timeseries(answer: Json) -> Table:
    def rows() -> Iterator[Json]:
        for period, found in (("current", answer), ("previous", answer["previous"])):
            for series in found["series"] if found else ():
                yield from ({"period": period, **_named(series["group"]), **point} for point in series["points"])
            yield from ({"period": period, **_rest(answer), **point} for point in (found and found["rest"]) or ())

    return {"period": None, **_groups(answer), **_POINT, **measures(NOTHING)}, rows()


def _breakdown(answer: Json) -> Table:
    shares = {"request_share": None, "cost_share": None}
    previous = {"previous": measures(NOTHING)} if answer["previous_from"] else {}
    return {**_groups(answer), **measures(NOTHING), **shares, **previous}, _rows(answer)


def _latency(answer: Json) -> Table:
    return {**_groups(answer), "requests": None, "latency": _WAITS, "first_token": _WAITS}, _rows(answer)


def _costs(answer: Json) -> Table:
    if answer["group_by"]:
        return {**_groups(answer), **cost_of(NOTHING), "cost_share": None}, _rows(answer)
    return {**_POINT, **cost_of(NOTHING)}, iter(answer["points"])


def _quality(answer: Json) -> Table:
    def means() -> Iterator[Json]:
        for row in answer["groups"]:
            yield from ({**_named(row["group"]), "score": score["name"], **score} for score in row["scores"])

    def points() -> Iterator[Json]:
        for score in answer["scores"]:
            yield from ({"score": score["name"], **point} for point in score["points"])

    if answer["group_by"]:
        return {**_groups(answer), "score": None, **_MEAN}, means()
    return {"score": None, **_POINT, **_MEAN}, points()


def _top(answer: Json) -> Table:
    names = ("requests", "cost_usd", "value", "share", "previous_value", "change")
    return {"rank": None, **_groups(answer), **dict.fromkeys(names)}, _rows(answer)


_TABLES: dict[str, Callable[[Json], Table]] = {
    "overview": _overview,
    "timeseries": _timeseries,
    "breakdown": _breakdown,
    "latency": _latency,
    "costs": _costs,
    "quality": _quality,
    "top": _top,
}


def _rows(answer: Json) -> Iterator[Json]:
    for row in answer["groups"]:
        yield {**row, **_named(row["group"])}
    if answer.get("rest"):
        yield {**answer["rest"], **_rest(answer)}


def _named(group: list[Json]) -> Json:
    values = {part["dimension"]: part["value"] for part in group}
    return {**values, **{f"{part['dimension']}_name": part["name"] for part in group}}


def _groups(answer: Json) -> Json:
    return _named([{"dimension": name, "value": None, "name": None} for name in answer["group_by"]])


def _rest(answer: Json) -> Json:
    """All groups that are not shown: named, as a value of its own could be somebody's."""
    return _named([{"dimension": name, "value": None, "name": REST} for name in answer["group_by"]])


def _flat(row: Json, prefix: str = "") -> Json:
    found: Json = {}
    for name, value in row.items():
        if isinstance(value, dict):
            found.update(_flat(value, f"{prefix}{name}_"))
        else:
            found[prefix + name] = value
    return found


def _csv(columns: list[str], rows: Iterator[list[Any]]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(columns)
    writer.writerows([_cell(name, value) for name, value in zip(columns, row, strict=True)] for row in rows)
    return text.getvalue().encode()


def _cell(column: str, value: Any) -> Any:
    """Text that is no formula; times as the API writes them."""
    if column in _TIMES and value is not None:
        return value.isoformat().replace("+00:00", "Z")
    return as_text(value) if isinstance(value, str) else value


def _parquet(columns: list[str], groups: Json, rows: list[list[Any]]) -> bytes:
    import pyarrow as pa  # type: ignore[import-untyped]  # noqa: PLC0415 (60 MiB, for those who ask for it)
    import pyarrow.parquet as pq  # type: ignore[import-untyped]  # noqa: PLC0415 (as above)

    def type_of(column: str) -> Any:
        if column in groups or column in _TEXTS:
            return pa.string()
        if column.endswith("_usd"):
            return pa.decimal128(_MONEY_DIGITS, COST_PLACES)
        if column in _TIMES:
            return pa.timestamp("us", tz="UTC")
        return pa.int64() if column.removeprefix("previous_") in _INTEGERS or column.endswith("_n") else pa.float64()

    arrays = [
        pa.array([_typed(column, row[place]) for row in rows], type_of(column)) for place, column in enumerate(columns)
    ]
    file = io.BytesIO()
    pq.write_table(pa.table(dict(zip(columns, arrays, strict=True))), file)
    return file.getvalue()


def _typed(column: str, value: Any) -> Any:
    return Decimal(value) if column.endswith("_usd") and value is not None else value
