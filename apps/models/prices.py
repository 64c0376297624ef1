"""What tokens cost. Prices come from the genai-prices catalog unless the model's own override them.

A price that is not known is None, and so is every cost that would need it: never 0.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any, Self

from apps.models.models import LLMModel, ProviderKind
from apps.models.providers.base import Usage

if TYPE_CHECKING:
    from genai_prices.data_snapshot import DataSnapshot
    from genai_prices.types import ModelInfo

PER_TOKENS = Decimal(1_000_000)
_CATALOG_NAMES = {
    "input": "input_mtok",
    "cached_input": "cache_read_mtok",
    "cache_write": "cache_write_mtok",
    "output": "output_mtok",
    "reasoning": "output_reasoning_mtok",
}
BUCKETS = tuple(_CATALOG_NAMES)
_ALL_CATALOG_NAMES = {**_CATALOG_NAMES, "cache_write_1h": "cache_write_1h_mtok"}


@dataclass(frozen=True, slots=True)
class Prices:
    """USD for a million tokens in each of the disjoint buckets. `source` is catalog, override, mixed, free or cached.

    A model's own price of cache writes holds for those of an hour too.
    """

    source: str
    input: Decimal | None = None
    cached_input: Decimal | None = None
    cache_write: Decimal | None = None
    output: Decimal | None = None
    reasoning: Decimal | None = None
    cache_write_1h: Decimal | None = None

    def as_row(self) -> dict[str, str | None]:
        """For JSON; `Prices.from_row` reads it back exactly."""
        return {name: None if value is None else str(value) for name, value in asdict(self).items()}

    @classmethod
    def from_row(cls, row: dict[str, str | None]) -> Self:
        buckets = {bucket: Decimal(value) for bucket in _ALL_CATALOG_NAMES if (value := row.get(bucket)) is not None}
        return cls(source=row["source"] or "", **buckets)


def cost(usage: Usage | None, prices: Prices | None) -> Decimal | None:
    """USD, exact. None when the usage, or the price of a bucket that was used, is not known."""
    if usage is None or prices is None:
        return None
    counts = (
        (usage.input_tokens, prices.input),
        (usage.cached_input_tokens, prices.cached_input),
        (usage.cache_write_tokens, prices.cache_write),
        (usage.cache_write_1h_tokens, prices.cache_write_1h),
        (usage.output_tokens, prices.output),
        (usage.reasoning_tokens, prices.reasoning),
    )
    total = Decimal(0)
    for tokens, price in counts:
        if tokens and price is None:
            return None
        total += tokens * (price or 0)
    return total / PER_TOKENS


def prices_of(model: LLMModel, *, at: datetime | None = None, input_tokens: int = 0) -> Prices | None:
    """The prices in force at `at` (now) for a call with so many input tokens of every kind, which tiers go by.

    Expects the model's provider to be loaded. None when not one bucket has a known price.
    """
    own = {bucket: price for bucket in BUCKETS if (price := getattr(model, f"{bucket}_price_usd")) is not None}
    known = _catalog_prices(model, at or datetime.now(UTC), input_tokens)
    if not own and not known:
        return None
    if not own and model.provider.kind == ProviderKind.ECHO:
        return Prices("free", **known)
    source = "catalog" if not own else "mixed" if known.keys() - own.keys() else "override"
    if "cache_write" in own:
        known.pop("cache_write_1h", None)
    return Prices(source, **_completed({**known, **own}))


_STAND_INS = (
    ("cached_input", "input"),
    ("cache_write", "input"),
    ("cache_write_1h", "cache_write"),
    ("reasoning", "output"),
)


def _completed(known: dict[str, Decimal]) -> dict[str, Decimal]:
    """Cached input is charged as input and reasoning as output where a provider names no price of their own."""
    completed = dict(known)
    for bucket, stands_in in _STAND_INS:
        if bucket not in completed and stands_in in completed:
            completed[bucket] = completed[stands_in]
    return completed


def _catalog_prices(model: LLMModel, at: datetime, input_tokens: int) -> dict[str, Decimal]:
    if model.provider.kind == ProviderKind.ECHO:
        return dict.fromkeys(_ALL_CATALOG_NAMES, Decimal(0))
    info = find_in_catalog(model.provider.kind, model.provider.base_url, model.provider_model_name)
    return _info_prices(info, at, input_tokens) if info else {}


def _info_prices(info: "ModelInfo", at: datetime, input_tokens: int) -> dict[str, Decimal]:
    row = info.get_prices(at)
    found = ((bucket, getattr(row, name, None)) for bucket, name in _ALL_CATALOG_NAMES.items())
    return {bucket: _in_tier(price, input_tokens) for bucket, price in found if price is not None}


def _in_tier(price: Any, input_tokens: int) -> Decimal:
    """The catalog's tiers hold for all tokens of a call whose input exceeds their start."""
    if isinstance(price, Decimal):
        return price
    reached = [tier.price for tier in price.tiers if input_tokens > tier.start]
    return Decimal(reached[-1] if reached else price.base)


@lru_cache(maxsize=4096)
def find_in_catalog(kind: str, base_url: str, model_name: str) -> "ModelInfo | None":
    """The catalog's entry of a provider's model; a server that the catalog does not know has no known models."""
    provider_id = None if base_url else kind
    try:
        _, info = _catalog().find_provider_model(model_name, None, provider_id, base_url or None)
    except LookupError:
        return None
    return info


@cache
def _catalog() -> "DataSnapshot":
    """Imported late: it takes half a second, and a process that prices nothing need not wait for it."""
    from genai_prices.data_snapshot import get_snapshot  # noqa: PLC0415

    return get_snapshot()


def load_catalog() -> None:
    """Read the price catalog now; later calls find it in memory."""
    _catalog()


@dataclass(frozen=True, slots=True)
class CatalogEntry:
    """A known model with its prices of today, before any tier."""

    provider: str
    model: str
    name: str
    context_window: int | None
    is_deprecated: bool
    prices: Prices


@lru_cache(maxsize=2)
def _entries(_day: str) -> tuple[CatalogEntry, ...]:
    now = datetime.now(UTC)
    return tuple(
        CatalogEntry(
            provider=provider.id,
            model=info.id,
            name=info.name or info.id,
            context_window=info.context_window,
            is_deprecated=bool(info.deprecated),
            prices=Prices("catalog", **_completed(_info_prices(info, now, 0))),
        )
        for provider in _catalog().providers
        for info in sorted(provider.models, key=lambda info: info.id)
    )


def search_catalog(*, words: Iterable[str] = (), provider: str = "") -> list[CatalogEntry]:
    """Known models in which every word occurs, ordered by provider and model."""
    wanted = [word.lower() for word in words]
    return [
        entry
        for entry in _entries(datetime.now(UTC).date().isoformat())
        if (not provider or entry.provider == provider)
        and all(word in f"{entry.provider} {entry.model} {entry.name}".lower() for word in wanted)
    ]
