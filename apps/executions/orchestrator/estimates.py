"""What a call that was stopped has used, when the provider has not told: about four bytes of text are a token."""

from dataclasses import replace
from typing import Any

import orjson

from apps.executions.budgets.amounts import without_images
from apps.executions.orchestrator.tries import Try
from apps.models.providers.base import Completion, ModelRequest, Usage

BYTES_PER_TOKEN = 4
# What a provider charges for an image of a usual size.
TOKENS_PER_IMAGE = 1000


def usage_of_stopped(last: Try) -> tuple[Usage | None, bool]:
    """The usage of the try that was stopped, and whether it is an estimate; None when nothing was asked.

    A provider that tells of its input at the start of a stream has not told of the output yet.
    """
    if not last.was_asked:
        return None, False
    received = last.received
    told = received.usage if received else None
    output = tokens_received(received) if received else 0
    if told is None:
        return Usage(input_tokens=tokens_sent(last.target.request), output_tokens=output), True
    if told.output_tokens + told.reasoning_tokens >= output:
        return told, False
    return replace(told, output_tokens=output, reasoning_tokens=0), True


def tokens_sent(request: ModelRequest) -> int:
    texts, images = without_images(request.messages)
    sent: list[Any] = [texts, request.tools or [], request.response_schema or {}]
    return _tokens(orjson.dumps(sent)) + images * TOKENS_PER_IMAGE


def tokens_received(completion: Completion) -> int:
    arguments = "".join(str(call["function"]["arguments"]) for call in completion.tool_calls)
    return _tokens((completion.text + arguments).encode())


def _tokens(text: bytes) -> int:
    return -(-len(text) // BYTES_PER_TOKEN)
