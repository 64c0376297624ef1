"""Drawn executions as rows, by COPY. They are not counted one by one: whoever calls rebuilds the rollups."""

from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import numpy as np
import orjson
from django.db import connection, transaction

from apps.analytics.seeding.cast import Cast, price_row
from apps.analytics.seeding.drawing import CACHED, CANCELLED, FAILED, Drawn
from apps.models.models import LLMModel
from apps.models.prices import BUCKETS, Prices

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NULL = "\\N"
_EXECUTION = (
    "id", "created_at", "started_at", "finished_at", "organization_id", "prompt_id", "prompt_version_id",
    "version_number", "model_id", "provider_model", "source", "created_by_id", "api_key_id", "status", "error_code",
    "finish_reason", "is_streamed", "input_tokens", "cached_input_tokens", "output_tokens", "cost_usd",
    "saved_cost_usd", "price", "is_cached", "latency_ms", "first_token_ms", "attempt_count",
)  # fmt: skip
_PAYLOAD = ("execution_id", "variables", "messages", "output")
_SCORE = ("id", "created_at", "updated_at", "organization_id", "execution_id", "name", "type", "number", "text",
          "comment", "source")  # fmt: skip
_NOTHING = "\t".join([_NULL] * 6)
_FREE = orjson.dumps(Prices("cached", **dict.fromkeys(BUCKETS, Decimal(0))).as_row()).decode()
_ERRORS = ("RATE_LIMITED", "HTTP_5XX", "TIMEOUT_TOTAL", "INVALID_OUTPUT")
_SOURCES = ("api",) * 6 + ("gateway", "batch", "batch", "workflow")


Text = tuple[str, tuple[str, ...], str]


@dataclass(frozen=True, slots=True)
class Rows:
    """What is stored together: the text of COPY for each table, with its columns."""

    count: int
    texts: list[Text]


def write_rows(
    cast: Cast, chunks: Iterable[Drawn], *, share_scored: float, has_payloads: bool
) -> Generator[Rows, None, None]:
    """Of each chunk: executions, and beside them payloads and scores. Asks nothing of the database."""
    for drawn in chunks:
        ids = _ids(drawn)
        texts: list[Text] = [("executions_execution", _EXECUTION, "".join(_executions(cast, drawn, ids)))]
        if has_payloads:
            texts.append(("executions_executionpayload", _PAYLOAD, "".join(_payloads(drawn, ids))))
        if share_scored:
            texts.append(("executions_score", _SCORE, "".join(_scores(cast, drawn, ids, share_scored))))
        yield Rows(len(ids), texts)


def one_ahead(rows: Generator[Rows, None, None]) -> Iterator[Rows]:
    """The same; the next ones are written while the caller stores these."""
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, rows, None)
        while (found := coming.result()) is not None:
            coming = pool.submit(next, rows, None)
            yield found


@transaction.atomic
def copy(rows: Rows) -> int:
    """Gives the number of executions."""
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL everquant.rollups = 'off'")
        for table, columns, text in rows.texts:
            with cursor.copy(f"COPY {table} ({', '.join(columns)}) FROM STDIN") as target:
                target.write(text)
    return rows.count


def _ids(drawn: Drawn, *, later_ms: int = 0) -> list[str]:
    """UUIDv7 (RFC 9562) as hexadecimal digits, of the times that were drawn."""
    data = np.empty((len(drawn.ms), 16), dtype=np.uint8)
    data[:, :6] = (drawn.ms + later_ms).astype(">u8").view(np.uint8).reshape(-1, 8)[:, 2:]
    data[:, 6:] = drawn.keys
    data[:, 6] = data[:, 6] & 0x0F | 0x70
    data[:, 8] = data[:, 8] & 0x3F | 0x80
    digits = data.tobytes().hex()
    return [digits[place : place + 32] for place in range(0, len(digits), 32)]


def _executions(cast: Cast, drawn: Drawn, ids: list[str]) -> Iterator[str]:
    prompts = [
        [f"{prompt}\t{version}\t{number}" for number, version in enumerate(versions, 1)]
        for prompt, versions in zip(cast.prompts, cast.versions, strict=True)
    ]
    models = [f"{model.id}\t{model.provider_model_name}" for model in cast.models]
    prices = [orjson.dumps(price_row(model)).decode() for model in cast.models]
    callers = _callers(cast)
    tokens = np.stack([drawn.input_tokens, drawn.cached_input_tokens, drawn.output_tokens], axis=1)
    columns = (
        drawn.ms, drawn.prompt, drawn.version, drawn.model, drawn.caller, drawn.outcome, drawn.is_streamed,
        _costs(cast.models, drawn), drawn.latency_ms, drawn.first_token_ms,
    )  # fmt: skip
    rows = zip(ids, tokens.tolist(), *(column.tolist() for column in columns), strict=True)
    for number, (key, used, ms, prompt, version, model, caller, outcome, streamed, cost, late, token) in enumerate(
        rows
    ):
        used_text, usd = f"{used[0]}\t{used[1]}\t{used[2]}", f"{cost // 10**12}.{cost % 10**12:012d}"
        first_token = token if streamed else _NULL
        status, rest = _ending(outcome, number, used_text, usd, prices[model], late, first_token)
        at, ended_at = _time(ms), _time(ms + late)
        yield (
            f"{key}\t{at}\t{at}\t{ended_at}\t{cast.organization_id}\t{prompts[prompt][version]}\t{models[model]}\t"
            f"{callers[caller][number % len(_SOURCES)]}\t{status}\t{'t' if streamed else 'f'}\t{rest}\n"
        )


def _ending(
    outcome: int, number: int, tokens: str, usd: str, price: str, latency_ms: int, first_token_ms: Any
) -> tuple[str, str]:
    """The columns from the status to the finish reason, and those from the tokens on."""
    if outcome in (FAILED, CANCELLED):
        code = _ERRORS[number % len(_ERRORS)] if outcome == FAILED else ""
        status = "failed" if outcome == FAILED else "cancelled"
        return f"{status}\t{code}\t", f"{_NOTHING}\tf\t{latency_ms}\t{_NULL}\t1"
    if outcome == CACHED:
        nothing = "\t".join([_NULL] * 3)
        return "succeeded\t\tstop", f"{nothing}\t0\t{usd}\t{_FREE}\tt\t{1 + number % 3}\t{_NULL}\t0"
    return "succeeded\t\tstop", f"{tokens}\t{usd}\t{_NULL}\t{price}\tf\t{latency_ms}\t{first_token_ms}\t1"


def _callers(cast: Cast) -> list[list[str]]:
    """Source, user and key of each user for each of the turns in which they call."""
    keys = dict(zip(cast.key_users, cast.keys, strict=True))
    return [[f"{source}\t{user}\t{keys.get(user, _NULL)}" for source in _SOURCES] for user in cast.users]


def _costs(models: list[LLMModel], drawn: Drawn) -> Any:
    """Of each answer in 1e-12 USD: prices for a million tokens have six places, so that these are whole numbers."""
    total = np.zeros(len(drawn.ms), dtype=np.int64)
    for tokens, name in (
        (drawn.input_tokens, "input_price_usd"),
        (drawn.cached_input_tokens, "cached_input_price_usd"),
        (drawn.output_tokens, "output_price_usd"),
    ):
        total += tokens * np.array([int(getattr(model, name) * 10**6) for model in models])[drawn.model]
    return total


def _payloads(drawn: Drawn, ids: list[str]) -> Iterator[str]:
    for key, outcome in zip(ids, drawn.outcome.tolist(), strict=True):
        output = _NULL if outcome in (FAILED, CANCELLED) else "Seeded answer."
        yield f'{key}\t{{"question": "Seeded?"}}\t[{{"role": "user", "content": "Seeded?"}}]\t{output}\n'


def _scores(cast: Cast, drawn: Drawn, ids: list[str], share: float) -> Iterator[str]:
    """Of some answers: a boolean from a program and a number between 0 and 1, better with each version."""
    chance = drawn.keys[:, 0] / 256 < share
    quality = 0.55 + 0.1 * drawn.version + (drawn.keys[:, 9] / 256 - 0.5) * 0.5
    values = zip(
        ids, _ids(drawn, later_ms=30_000), drawn.ms.tolist(), drawn.outcome.tolist(), chance.tolist(),
        quality.tolist(), strict=True,
    )  # fmt: skip
    for number, (execution, key, ms, outcome, is_scored, number_of) in enumerate(values):
        if is_scored and outcome not in (FAILED, CANCELLED):
            at = _time(ms + 30_000)
            name, kind, value = (
                ("helpfulness", "numeric", round(min(1, max(0, number_of)), 3))
                if number % 2
                else ("is_correct", "boolean", int(number_of > 0.5))
            )
            yield f"{key}\t{at}\t{at}\t{cast.organization_id}\t{execution}\t{name}\t{kind}\t{value}\t\t\tapi\n"


def _time(ms: int) -> str:
    return (_EPOCH + timedelta(milliseconds=ms)).isoformat()


def mark_days(organization_id: UUID, start: datetime, end: datetime) -> None:
    """Days of the ledger that are closed already have to be read anew."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO analytics_ledgermark (organization_id, day, transaction_id) "
            "SELECT %s, day::date, txid_current() FROM generate_series(%s::date, %s::date, interval '1 day') day "
            "ON CONFLICT DO NOTHING",
            [organization_id, start.astimezone(UTC).date(), end.astimezone(UTC).date()],
        )
