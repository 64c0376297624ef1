"""Embeddings go the way of every other call: their texts are its messages, and their vectors its output."""

from collections.abc import Iterator, Sequence
from typing import Any

import orjson

from apps.models.providers.base import Completion, Delta, FinishReason, ModelRequest, ProviderAdapter

Json = dict[str, Any]


class EmbeddingAdapter(ProviderAdapter):
    """A provider whose answer to messages is a JSON list with the vector of each."""

    def __init__(self, provider: ProviderAdapter) -> None:
        self._provider = provider
        self.kind = provider.kind

    def complete(self, request: ModelRequest) -> Completion:
        texts = [message["content"] for message in request.messages]
        result = self._provider.embed(request.model, texts, request.timeouts)
        return Completion(
            text=orjson.dumps(result.vectors).decode(),
            finish_reason=FinishReason.STOP,
            usage=result.usage,
            provider_request_id=result.provider_request_id,
            model=result.model,
        )

    def stream(self, request: ModelRequest) -> Iterator[Delta]:
        yield Delta(completion=self.complete(request))


def embedding_messages(texts: Sequence[str]) -> list[Json]:
    return [{"role": "user", "content": text} for text in texts]


def vectors_of(output: str) -> list[list[float]]:
    """Of the output of a call that was an embedding."""
    vectors: list[list[float]] = orjson.loads(output)
    return vectors
