"""The most that a call can cost, known before it is made.

Input: tokens of byte-level and of sentence-piece vocabularies stand for at least one byte each, so that the bytes of
the messages, written as JSON with their roles and names, are more tokens than any model makes of them; what a provider
adds is covered by a constant for each message, tool and call. An image is not its bytes: it is counted as the most
that a provider charges for one.

Output: what the parameters allow, else what the model can, else BUDGET_DEFAULT_OUTPUT_TOKENS. Within a hard budget it
is also sent as the call's limit, so that no answer is longer.

A call is charged once: the ledger has the usage of the try that answered, as no provider tells what a failed one has
used. So the dearest of the candidates counts, and not each of their tries. Only an answer that does not fit its schema
is charged beside the one that mends it.
"""

from collections.abc import Iterable
from datetime import datetime
from decimal import ROUND_UP, Decimal
from typing import Any

import orjson
from django.conf import settings

from apps.executions.models import COST_PLACES
from apps.models.models import LLMModel
from apps.models.prices import PER_TOKENS, prices_of

Json = dict[str, Any]

TOKENS_PER_MESSAGE = 16
TOKENS_PER_CALL = 64
# Anthropic adds a system prompt of up to 804 tokens when there are tools.
TOKENS_FOR_TOOLS = 1024
TOKENS_PER_TOOL = 64
# gpt-4o-mini, the dearest: 2833 and 8 tiles of 5667.
TOKENS_PER_IMAGE = 50_000
TOKENS_OF_COMPLAINT = 2000
_IMAGES = frozenset({"image_url", "image", "input_image"})
_INPUTS = ("input", "cached_input", "cache_write", "cache_write_1h")
_SMALLEST_USD = Decimal(1).scaleb(-COST_PLACES)


def most_input_tokens(messages: list[Json], tools: list[Json] | None, response_schema: Json | None) -> int:
    texts, images = without_images(messages)
    tokens = len(orjson.dumps(texts)) + TOKENS_PER_MESSAGE * len(messages) + TOKENS_PER_CALL
    tokens += TOKENS_PER_IMAGE * images
    if tools:
        tokens += len(orjson.dumps(tools)) + TOKENS_PER_TOOL * len(tools) + TOKENS_FOR_TOOLS
    if response_schema is not None:
        tokens += len(orjson.dumps(response_schema)) + TOKENS_FOR_TOOLS
    return tokens


def without_images(messages: list[Json]) -> tuple[list[Json], int]:
    """The messages without their images, and how many those are."""
    texts = [_without_images(message) for message in messages]
    return texts, sum(_parts(message) - _parts(text) for message, text in zip(messages, texts, strict=True))


def _without_images(message: Json) -> Json:
    parts = message.get("content")
    if not isinstance(parts, list):
        return message
    kept = [part for part in parts if not (isinstance(part, dict) and part.get("type") in _IMAGES)]
    return {**message, "content": kept}


def _parts(message: Json) -> int:
    parts = message.get("content")
    return len(parts) if isinstance(parts, list) else 0


def allowed_output_tokens(parameters: Json) -> int | None:
    """The limit that the parameters name."""
    names = ("max_completion_tokens", "max_tokens")
    return max((value for name in names if isinstance(value := parameters.get(name), int)), default=0) or None


def most_output_tokens(model: LLMModel, parameters: Json) -> int:
    """Reasoning is output too."""
    allowed = allowed_output_tokens(parameters) or model.max_output_tokens
    return allowed or int(settings.BUDGET_DEFAULT_OUTPUT_TOKENS)


def most_cost(model: LLMModel, parameters: Json, input_tokens: int, at: datetime) -> Decimal | None:
    """USD. None when the price of input or of output is not known. Tiers go by the input: the dearer end counts."""
    tiers = [prices_of(model, at=at, input_tokens=tokens) for tokens in (0, input_tokens)]
    outputs = [price for row in tiers if row for price in (row.output, row.reasoning) if price is not None]
    input_cost = most_input_cost(model, input_tokens, at)
    if input_cost is None or not all(row and row.output is not None for row in tiers):
        return None
    output_cost = max(outputs) * most_output_tokens(model, parameters) / PER_TOKENS
    return input_cost + output_cost.quantize(_SMALLEST_USD, rounding=ROUND_UP)


def most_input_cost(model: LLMModel, input_tokens: int, at: datetime) -> Decimal | None:
    """As `most_cost`, of what has no output."""
    tiers = [prices_of(model, at=at, input_tokens=tokens) for tokens in (0, input_tokens)]
    prices = [price for row in tiers if row for bucket in _INPUTS if (price := getattr(row, bucket)) is not None]
    if not all(row and row.input is not None for row in tiers):
        return None
    return (max(prices) * input_tokens / PER_TOKENS).quantize(_SMALLEST_USD, rounding=ROUND_UP)


def most_cost_of_calls(
    model: LLMModel, parameters: Json, input_tokens: int, at: datetime, calls: int
) -> Decimal | None:
    """As `most_cost`, of so many calls in a row, each of which is sent the answer of the one before.

    What is said of that answer holds its schema, which is part of the input, and a text of at most TOKENS_OF_COMPLAINT.
    """
    total = Decimal(0)
    for _ in range(calls):
        one = most_cost(model, parameters, input_tokens, at)
        if one is None:
            return None
        total += one
        input_tokens += input_tokens + most_output_tokens(model, parameters) + TOKENS_OF_COMPLAINT
    return total


def dearest(costs: Iterable[tuple[LLMModel, Decimal | None]]) -> tuple[Decimal, LLMModel | None]:
    """The largest of the candidates' costs, and a candidate whose price is not known, if there is one."""
    amounts, unpriced = [Decimal(0)], None
    for model, cost in costs:
        if cost is None:
            unpriced = unpriced or model
        else:
            amounts.append(cost)
    return max(amounts), unpriced
