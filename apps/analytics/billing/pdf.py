"""A statement as PDF. The same statement always gives the same bytes.

The fonts that every reader of PDF has know the letters of Western Europe only. Other Latin letters lose their accents;
for any other letter a `?` is shown, and the id beside the name. JSON and CSV have them all.
"""

import unicodedata
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from apps.analytics.billing.ledger import COUNTS, TOKENS

if TYPE_CHECKING:
    from fpdf import FPDF

Json = dict[str, Any]

_FONT = "Helvetica"
# Of each table: a row costs a few milliseconds, and there may be tens of thousands.
MOST_ROWS = 200
# What is no letter with an accent.
_LATIN = str.maketrans("ŁłĐđĦħŦŧı“”„‘’‚–—‑−•", "LlDdHhTti\"\"\"'''----*") | {  # noqa: RUF001 (these are meant)
    ord(letter): shown for letter, shown in (("Œ", "OE"), ("œ", "oe"), ("ẞ", "SS"), ("€", "EUR"))
}
_BREAKDOWNS = (("prompts", "By prompt"), ("users", "By user"), ("api_keys", "By API key"), ("days", "By day (UTC)"))
_NOTE = (
    "Amounts are US dollars, exact as recorded; the total is rounded to cents, half to even. Days and months are UTC. "
    "Unpriced executions have used tokens whose price is not known; they are in no amount."
)


def statement_pdf(content: Json) -> bytes:
    """Of a statement's content with its `sha256`."""
    from fpdf import FPDF  # noqa: PLC0415 (the web process does not load it at its start)

    pdf = FPDF(format="A4")
    pdf.set_creation_date(_made_at(content))
    pdf.set_title(_latin(f"Usage statement {content['month']}"))
    pdf.set_auto_page_break(auto=True, margin=15)
    pdf.add_page()
    _head(pdf, content)
    _table(pdf, "By model and price", ("Model", "Executions", "Unpriced", "Input", "Output", "USD"), _lines(content))
    for name, title in _BREAKDOWNS:
        rows = [(_named(row["name"], row["key"]) or "(none)", *_figures(row)) for row in _first(content[name])]
        _table(pdf, title, ("", "Executions", "Unpriced", "Input", "Output", "USD"), rows)
    _text(pdf, _NOTE, size=8)
    if content["sha256"]:
        _text(pdf, f"SHA-256 of the statement: {content['sha256']}", size=8)
    return bytes(pdf.output())


def _made_at(content: Json) -> datetime:
    moment = content["closed_at"] or f"{content['from']}T00:00:00+00:00"
    return datetime.fromisoformat(moment).astimezone(UTC)


def _head(pdf: "FPDF", content: Json) -> None:
    total = content["total"]
    state = f"Revision {content['revision']}, closed {content['closed_at']}" if content["is_final"] else "Not final"
    _text(pdf, f"Usage statement {content['month']}", size=18, style="B")
    _text(pdf, _named(content["organization_name"], content["organization_id"]), size=12)
    _text(pdf, state, size=10)
    amount = "not known" if total["rounded_usd"] is None else f"{total['rounded_usd']} USD"
    _text(pdf, f"Total: {amount}", size=14, style="B")
    exact = total["cost_usd"] if total["cost_usd"] is not None else "not known"
    said = f"Exactly {exact}. Executions: {total['executions']}, unpriced: {total['unpriced']}."
    _text(pdf, said, size=10)
    if content["replaces"]:
        before = content["replaces"]
        difference = f"{before['difference_usd']} USD to revision {before['revision']} ({before['total_usd']} USD)"
        _text(pdf, f"Replaces revision {before['revision']}. Difference: {difference}.", size=10)


def _lines(content: Json) -> list[tuple[str, ...]]:
    return [(f"{line['model'] or line['provider_model']}{_price(line['price'])}", *_figures(line))
            for line in _first(content["lines"])]  # fmt: skip


def _first(rows: list[Json]) -> list[Json]:
    """The dearest, and the sums of all others as one row more."""
    if len(rows) <= MOST_ROWS:
        return rows
    rest = rows[MOST_ROWS - 1 :]
    costs = [Decimal(row["cost_usd"]) for row in rest if row["cost_usd"] is not None]
    name = f"{len(rest)} more: see JSON or CSV"
    others: Json = {"key": None, "name": name, "model": name, "price": None}
    others |= {count: sum(row[count] for row in rest) for count in (*COUNTS, *TOKENS)}
    return [*rows[: MOST_ROWS - 1], {**others, "cost_usd": f"{sum(costs):f}" if costs else None}]


def _price(price: Json | None) -> str:
    """USD for a million tokens, in and out."""
    if price is None or price.get("input") is None or price.get("output") is None:
        return ""
    return f" ({price['input']} / {price['output']} per million)"


def _figures(row: Json) -> tuple[str, ...]:
    given = sum(row[name] for name in ("input_tokens", "cached_input_tokens", "cache_write_tokens",
                                       "cache_write_1h_tokens"))  # fmt: skip
    made = row["output_tokens"] + row["reasoning_tokens"]
    cost = "unknown" if row["cost_usd"] is None else row["cost_usd"]
    return str(row["executions"]), str(row["unpriced"]), str(given), str(made), cost


def _table(pdf: "FPDF", title: str, header: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    if not rows:
        return
    _text(pdf, title, size=11, style="B")
    pdf.set_font(_FONT, size=7)
    aligned = ("LEFT", "RIGHT", "RIGHT", "RIGHT", "RIGHT", "RIGHT")
    with pdf.table(col_widths=(62, 20, 18, 26, 26, 38), text_align=aligned, line_height=4.5) as table:
        for cells in (header, *rows):
            table.row([_latin(cell) for cell in cells])


def _text(pdf: "FPDF", text: str, *, size: int, style: str = "") -> None:
    pdf.set_font(_FONT, style=style, size=size)
    pdf.multi_cell(0, size * 0.55, _latin(text), new_x="LMARGIN", new_y="NEXT")


def _named(name: str | None, key: str | None) -> str:
    """The name, with its id where letters of it cannot be shown; the id alone without a name."""
    if not name:
        return key or ""
    shown = _latin(name)
    return f"{shown} ({key})" if key and shown.count("?") > name.count("?") else shown


def _latin(text: str) -> str:
    shown = "".join(map(_latin_letter, unicodedata.normalize("NFC", text)))
    return shown.encode("latin-1", "replace").decode("latin-1")


def _latin_letter(letter: str) -> str:
    if letter <= "\xff":
        return letter
    parts = unicodedata.normalize("NFKD", letter.translate(_LATIN))
    return "".join(part for part in parts if not unicodedata.combining(part))
