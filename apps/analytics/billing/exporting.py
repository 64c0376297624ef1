"""Usage and statements as CSV, for spreadsheets."""

import csv
import io
from collections.abc import Iterable
from typing import Any

from apps.analytics.billing.ledger import SUMS
from apps.models.prices import BUCKETS
from everquant.spreadsheets import as_text

Json = dict[str, Any]

_PRICES = (*BUCKETS, "cache_write_1h")
_SECTIONS = ("prompts", "users", "api_keys", "days")


def usage_csv(report: Json) -> bytes:
    """A line for each row, and the total, whose key is `total`."""
    header = ["key", "name", *SUMS]
    total = {"key": "total", "name": None, **report["total"]}
    return _csv(header, ([row[name] for name in header] for row in [*report["rows"], total]))


def statement_csv(content: Json) -> bytes:
    """One table of sections: `lines` by model and price, the same sums by what they were for, and the `total`."""
    header = ["section", "key", "name", "provider_model", *(f"{name}_price_usd" for name in _PRICES), *SUMS]
    return _csv(header, _statement_rows(content))


def _statement_rows(content: Json) -> Iterable[list[Any]]:
    no_prices = [None] * len(_PRICES)
    for line in content["lines"]:
        price = line["price"] or {}
        what = ["lines", line["model_id"], line["model"], line["provider_model"]]
        yield [*what, *(price.get(name) for name in _PRICES), *_sums(line)]
    for section in _SECTIONS:
        for row in content[section]:
            yield [section, row["key"], row["name"], None, *no_prices, *_sums(row)]
    yield ["total", content["month"], content["organization_name"], None, *no_prices, *_sums(content["total"])]


def _sums(row: Json) -> list[Any]:
    return [row[name] for name in SUMS]


def _csv(header: list[str], rows: Iterable[list[Any]]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(header)
    writer.writerows([_cell(value) for value in row] for row in rows)
    return text.getvalue().encode()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return as_text(value) if isinstance(value, str) else str(value)
