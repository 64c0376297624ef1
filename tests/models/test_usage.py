"""Tokens in disjoint buckets and what they cost: the providers' own worked examples, and their ways of reporting."""

from decimal import Decimal

import pytest

from apps.models.prices import Prices, cost
from apps.models.providers import anthropic, openai
from apps.models.providers.base import Usage


def usage(*, input=0, cached=0, written=0, output=0, reasoning=0, for_an_hour=0):  # noqa: A002 (the bucket's name)
    return Usage(input, cached, written, output, reasoning, for_an_hour)


# Each with the page that its numbers are from, read in November 2026; with "as in" where only the way of reporting is.
OPENAI = {
    "openai.com/index/api-prompt-caching": (
        {
            "prompt_tokens": 2006,
            "completion_tokens": 300,
            "total_tokens": 2306,
            "prompt_tokens_details": {"cached_tokens": 1920, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
        },
        usage(input=86, cached=1920, output=300),
    ),
    "developers.openai.com/api/docs/guides/reasoning (by the names of chat completions)": (
        {
            "prompt_tokens": 75,
            "completion_tokens": 1186,
            "total_tokens": 1261,
            "completion_tokens_details": {"reasoning_tokens": 1024},
        },
        usage(input=75, output=162, reasoning=1024),
    ),
    "as in platform.openai.com/docs/api-reference/chat/object": (
        {
            "prompt_tokens": 19,
            "completion_tokens": 10,
            "total_tokens": 29,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
        },
        usage(input=19, output=10),
    ),
    "docs.x.ai/developers/advanced-api-usage/prompt-caching/usage-and-pricing": (
        {
            "prompt_tokens": 125,
            "completion_tokens": 48,
            "total_tokens": 173,
            "prompt_tokens_details": {"text_tokens": 125, "cached_tokens": 98},
            "completion_tokens_details": {"reasoning_tokens": 0},
        },
        usage(input=27, cached=98, output=48),
    ),
    "as in docs.x.ai/docs/guides/reasoning (reasoning is beside the completion)": (
        {
            "prompt_tokens": 32,
            "completion_tokens": 9,
            "total_tokens": 135,
            "completion_tokens_details": {"reasoning_tokens": 94},
        },
        usage(input=32, output=9, reasoning=94),
    ),
    "as in ai.google.dev/gemini-api/docs/openai (thinking is in the total only)": (
        {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 215},
        usage(input=10, output=5, reasoning=200),
    ),
    "as in api-docs.deepseek.com/guides/kv_cache": (
        {
            "prompt_tokens": 500,
            "prompt_cache_hit_tokens": 448,
            "prompt_cache_miss_tokens": 52,
            "completion_tokens": 20,
            "total_tokens": 520,
        },
        usage(input=52, cached=448, output=20),
    ),
    "as in platform.moonshot.ai (cached tokens beside the others)": (
        {"prompt_tokens": 100, "completion_tokens": 7, "total_tokens": 107, "cached_tokens": 64},
        usage(input=36, cached=64, output=7),
    ),
    "openrouter.ai/docs/use-cases/usage-accounting (cache writes are part of the prompt)": (
        {
            "prompt_tokens": 194,
            "completion_tokens": 2,
            "total_tokens": 196,
            "prompt_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 100},
            "completion_tokens_details": {"reasoning_tokens": 0},
        },
        usage(input=94, written=100, output=2),
    ),
    "a total that says less than its parts": (
        {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 3},
        usage(input=10, output=5),
    ),
    "more cached and reasoned than there was": (
        {
            "prompt_tokens": 10,
            "completion_tokens": 5,
            "prompt_tokens_details": {"cached_tokens": 11, "cache_write_tokens": 3},
            "completion_tokens_details": {"reasoning_tokens": 6},
        },
        usage(cached=10, reasoning=5),
    ),
    "details that are null": (
        {"prompt_tokens": 3, "completion_tokens": 4, "prompt_tokens_details": None, "completion_tokens_details": None},
        usage(input=3, output=4),
    ),
}
ANTHROPIC = {
    "platform.claude.com/docs/en/build-with-claude/prompt-caching (all read from the cache but the message)": (
        {"input_tokens": 50, "cache_read_input_tokens": 100_000, "cache_creation_input_tokens": 0, "output_tokens": 9},
        usage(input=50, cached=100_000, output=9),
    ),
    # The page's example says 248 written in all, and below it that this is the sum of both: it is made so here.
    "platform.claude.com/docs/en/build-with-claude/prompt-caching (both times to live)": (
        {
            "input_tokens": 2048,
            "cache_read_input_tokens": 1800,
            "cache_creation_input_tokens": 556,
            "output_tokens": 503,
            "cache_creation": {"ephemeral_5m_input_tokens": 456, "ephemeral_1h_input_tokens": 100},
        },
        usage(input=2048, cached=1800, written=456, for_an_hour=100, output=503),
    ),
    "as in anthropic.types.OutputTokensDetails (thinking is part of the output)": (
        {"input_tokens": 60, "output_tokens": 500, "output_tokens_details": {"thinking_tokens": 380}},
        usage(input=60, output=120, reasoning=380),
    ),
    "more kept for an hour than written": (
        {
            "input_tokens": 1,
            "output_tokens": 1,
            "cache_creation_input_tokens": 5,
            "cache_creation": {"ephemeral_1h_input_tokens": 9},
        },
        usage(input=1, for_an_hour=5, output=1),
    ),
}


@pytest.mark.parametrize(("reported", "buckets"), OPENAI.values(), ids=OPENAI)
def test_openais_way(reported, buckets):
    found = openai._usage(reported)
    assert found == buckets
    told = max(reported.get("total_tokens", 0), reported["prompt_tokens"] + reported["completion_tokens"])
    assert found.whole_input + found.output_tokens + found.reasoning_tokens == told


@pytest.mark.parametrize(("reported", "buckets"), ANTHROPIC.values(), ids=ANTHROPIC)
def test_anthropics_way(reported, buckets):
    assert anthropic._usage(reported) == buckets


@pytest.mark.parametrize(
    "last",
    [{"output_tokens": 15}, {"output_tokens": 15, "cache_creation_input_tokens": 12, "cache_read_input_tokens": 7}],
    ids=["output only", "all again without the times to live"],
)
def test_the_counts_of_a_streams_end_keep_those_of_its_start(last):
    start = {
        "input_tokens": 25,
        "output_tokens": 1,
        "cache_creation_input_tokens": 12,
        "cache_read_input_tokens": 7,
        "cache_creation": {"ephemeral_5m_input_tokens": 2, "ephemeral_1h_input_tokens": 10},
    }
    found = anthropic._usage(last, before=anthropic._usage(start))
    assert found == usage(input=25, cached=7, written=2, for_an_hour=10, output=15)


def prices(*numbers):
    names = ("input", "cached_input", "cache_write", "output", "reasoning", "cache_write_1h")
    values = dict(zip(names, (Decimal(number) for number in numbers), strict=True))
    return Prices("catalog", **values)


# Opus 5 and Sonnet of platform.claude.com/docs/en/about-claude/pricing; openai.com/index/api-prompt-caching.
OPUS = prices("5", "0.5", "6.25", "25", "25", "10")
SONNET = prices("3", "0.3", "3.75", "15", "15", "6")
GPT_4O = prices("2.5", "1.25", "2.5", "10", "10", "2.5")
COSTS = {
    "platform.claude.com/docs/en/about-claude/pricing: a session of 50,000 in and 15,000 out": (
        usage(input=50_000, output=15_000),
        OPUS,
        "0.625",
    ),
    "platform.claude.com/docs/en/about-claude/pricing: 40,000 of them read from the cache": (
        usage(input=10_000, cached=40_000, output=15_000),
        OPUS,
        "0.445",
    ),
    "platform.claude.com/docs/en/about-claude/pricing: writes for 5 minutes 1.25, for an hour 2 times the input": (
        usage(written=1_000_000, for_an_hour=1_000_000),
        SONNET,
        "9.75",
    ),
    "openai.com/index/api-prompt-caching: 2006 in, of them 1920 cached at half the price": (
        usage(input=86, cached=1920, output=300),
        GPT_4O,
        "0.005615",
    ),
}


@pytest.mark.parametrize(("used", "row", "expected"), COSTS.values(), ids=COSTS)
def test_costs(used, row, expected):
    assert cost(used, row) == Decimal(expected)
    assert Prices.from_row(row.as_row()) == row
