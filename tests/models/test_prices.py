from datetime import UTC, datetime
from decimal import Decimal
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.models.models import LLMModel, Provider
from apps.models.prices import BUCKETS, Prices, cost, prices_of
from apps.models.providers.base import Usage
from apps.models.services import FIRST_MODELS

NOW = datetime(2026, 11, 1, tzinfo=UTC)


def model_of(kind, name, base_url="", **prices):
    provider = Provider(kind=kind, base_url=base_url)
    return LLMModel(
        provider=provider,
        provider_model_name=name,
        **{f"{bucket}_price_usd": price for bucket, price in prices.items()},
    )


def test_catalog_prices_and_what_stands_in_for_unnamed_ones():
    assert prices_of(model_of("openai", "gpt-4.1-mini"), at=NOW) == Prices(
        "catalog",
        input=Decimal("0.4"),
        cached_input=Decimal("0.1"),
        cache_write=Decimal("0.4"),
        cache_write_1h=Decimal("0.4"),
        output=Decimal("1.6"),
        reasoning=Decimal("1.6"),
    )
    anthropic = prices_of(model_of("anthropic", "claude-sonnet-5-5"), at=NOW)
    assert (anthropic.cache_write, anthropic.cached_input) == (Decimal("2.5"), Decimal("0.1"))
    assert anthropic.cache_write_1h == 4
    own = prices_of(model_of("anthropic", "claude-sonnet-5-5", cache_write=Decimal(3)), at=NOW)
    assert (own.cache_write, own.cache_write_1h) == (3, 3)


def test_a_dated_name_has_the_price_of_its_model():
    dated = prices_of(model_of("openai", "gpt-4.1-mini-2025-04-14"), at=NOW)
    assert dated == prices_of(model_of("openai", "gpt-4.1-mini"), at=NOW)


def test_the_catalog_goes_by_the_address_and_not_by_the_models_name():
    assert prices_of(model_of("openai", "gpt-4.1-mini", "http://localhost:8000/v1"), at=NOW) is None
    assert prices_of(model_of("openai", "gpt-4.1-mini", "https://api.openai.com/v1"), at=NOW) is not None
    openrouter = prices_of(model_of("openai", "openai/gpt-4.1-mini", "https://openrouter.ai/api/v1"), at=NOW)
    assert openrouter.input == Decimal("0.4")


def test_an_unknown_model_has_no_price_and_no_cost():
    prices = prices_of(model_of("openai", "my-own-model"), at=NOW)
    assert prices is None
    assert cost(Usage(input_tokens=1), prices) is None


def test_a_tier_holds_for_the_whole_call():
    model = model_of("anthropic", "claude-sonnet-4-5")
    assert prices_of(model, at=NOW, input_tokens=200_000).input == Decimal(3)
    assert prices_of(model, at=NOW, input_tokens=200_001).input == Decimal(6)


def test_the_models_own_prices_come_first():
    mixed = prices_of(model_of("openai", "gpt-4.1-mini", input=Decimal(9)), at=NOW)
    assert (mixed.source, mixed.input, mixed.cached_input, mixed.output) == ("mixed", 9, Decimal("0.1"), Decimal("1.6"))
    alone = prices_of(model_of("openai", "mine", output=Decimal(2)), at=NOW)
    assert (alone.source, alone.input, alone.cached_input, alone.output, alone.reasoning) == (
        "override",
        None,
        None,
        2,
        2,
    )
    assert cost(Usage(output_tokens=500_000), alone) == 1
    assert cost(Usage(input_tokens=1, output_tokens=500_000), alone) is None


def test_echo_costs_nothing_which_is_known():
    prices = prices_of(model_of("echo", "echo"), at=NOW)
    assert prices.source == "free"
    cost_usd = cost(Usage(input_tokens=10, output_tokens=10), prices)
    assert cost_usd == 0
    assert cost_usd is not None
    assert prices_of(model_of("echo", "echo", input=Decimal(1)), at=NOW).input == 1


def test_an_unknown_usage_has_no_cost():
    assert cost(None, prices_of(model_of("echo", "echo"), at=NOW)) is None


@given(st.tuples(*[st.integers(0, 10**7)] * 5), st.tuples(*[st.decimals(0, 1000, places=6)] * 5))
def test_cost_is_the_exact_sum_of_the_buckets(tokens, prices):
    usage = Usage(*tokens)
    row = Prices("override", *prices)
    assert cost(usage, row) == sum(
        (count * price for count, price in zip(tokens, prices, strict=True)), Decimal(0)
    ) / Decimal(1_000_000)


@given(st.tuples(*[st.none() | st.decimals(0, 1000, places=6)] * 5))
def test_a_row_is_read_back_as_it_was_written(prices):
    written = Prices("mixed", *prices)
    assert Prices.from_row(written.as_row()) == written


@pytest.mark.parametrize(("missing", "used"), list(product(BUCKETS, BUCKETS)))
def test_only_a_used_bucket_needs_a_price(missing, used):
    prices = Prices("override", **{bucket: Decimal(1) for bucket in BUCKETS if bucket != missing})
    usage = Usage(**{f"{used}_tokens": 1_000_000})
    assert cost(usage, prices) == (None if missing == used else 1)


def test_the_first_models_are_in_the_catalog():
    for kind, names in FIRST_MODELS.items():
        for name in names:
            assert prices_of(model_of(kind, name), at=NOW).output is not None
