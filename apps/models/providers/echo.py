"""The offline provider: it makes no network call, and answers with what it was asked."""

import re
import time
from collections.abc import Iterator
from typing import Any

from apps.models.providers.base import (
    Completion,
    Delta,
    EmbeddingResult,
    FinishReason,
    ModelRequest,
    ProviderAdapter,
    Timeouts,
    Usage,
)
from apps.models.providers.instances import instance_text

_WORDS = re.compile(r"\s*\S+\s*")
EMBEDDING_DIMENSIONS = 16


class EchoAdapter(ProviderAdapter):
    """Answers with the text of the last user message, or of the last message when no user speaks.

    Where a response schema is asked for, the answer is a small instance of it (see `instances`). Nothing
    leaves the process, and so it costs 0. Tokens are an estimate: a quarter of the characters, rounded up.
    `max_tokens` cuts the answer as a real model would.
    """

    kind = "echo"

    def __init__(self, *, base_url: str = "", api_key: str = "", allow_private: bool = False) -> None:
        """Takes what every adapter takes, and needs none of it."""

    def complete(self, request: ModelRequest) -> Completion:
        return _answer(request, first_token_ms=None)

    def stream(self, request: ModelRequest) -> Iterator[Delta]:
        started_at = time.monotonic()
        text = _answer(request, first_token_ms=None).text
        first_token_ms = None
        for word in _WORDS.findall(text) or [text]:
            if first_token_ms is None:
                first_token_ms = round((time.monotonic() - started_at) * 1000)
            if word:
                yield Delta(text=word)
        yield Delta(completion=_answer(request, first_token_ms=first_token_ms))

    def embed(self, model: str, texts: list[str], timeouts: Timeouts | None = None) -> EmbeddingResult:
        """Counts of the texts' characters in 16 classes: the same text gives the same vector, and no meaning."""
        usage = Usage(input_tokens=sum(estimate_tokens(text) for text in texts))
        return EmbeddingResult([_character_counts(text) for text in texts], usage, None, model)


def estimate_tokens(text: str) -> int:
    return -(-len(text) // 4)


def _answer(request: ModelRequest, *, first_token_ms: int | None) -> Completion:
    text = _last_text(request.messages)
    if request.response_schema is not None:
        text = instance_text(request.response_schema, text)
    limit = request.parameters.get("max_completion_tokens", request.parameters.get("max_tokens"))
    is_cut = isinstance(limit, int) and limit >= 0 and estimate_tokens(text) > limit
    if is_cut and isinstance(limit, int):
        text = text[: limit * 4]
    asked = sum(estimate_tokens(_content_text(message.get("content"))) for message in request.messages)
    return Completion(
        text=text,
        finish_reason=FinishReason.LENGTH if is_cut else FinishReason.STOP,
        usage=Usage(input_tokens=asked, output_tokens=estimate_tokens(text)),
        first_token_ms=first_token_ms,
        model=request.model,
    )


def _last_text(messages: list[dict[str, Any]]) -> str:
    spoken = [message for message in messages if message.get("role") == "user"] or messages
    return _content_text(spoken[-1].get("content")) if spoken else ""


def _content_text(content: Any) -> str:
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, dict)]
        return "".join(text for text in parts if isinstance(text, str))
    return content if isinstance(content, str) else ""


def _character_counts(text: str) -> list[float]:
    counts = [0.0] * EMBEDDING_DIMENSIONS
    for character in text:
        counts[ord(character) % EMBEDDING_DIMENSIONS] += 1.0
    return counts
