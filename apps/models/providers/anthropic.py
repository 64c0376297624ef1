"""Anthropic's messages API."""

from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from apps.models.providers.anthropic_request import anthropic_payload
from apps.models.providers.base import (
    Completion,
    Delta,
    ErrorCode,
    FinishReason,
    Json,
    ModelRequest,
    ProviderAdapter,
    ProviderError,
    ToolCallFragment,
    Usage,
)
from apps.models.providers.http import Deadline, Endpoint, EventStream, parse_json_object, short_text, token_count
from apps.models.providers.streaming import StreamedCompletion, tool_call

DEFAULT_BASE_URL = "https://api.anthropic.com"
API_VERSION = "2026-10-21"
# The newer version refuses sampling parameters, which prompts may well hold; the older one is still served.
SAMPLING_API_VERSION = "2023-06-01"
SAMPLING_PARAMETERS = frozenset({"temperature", "top_p", "top_k"})
_FINISH_REASONS = {
    "end_turn": FinishReason.STOP,
    "stop_sequence": FinishReason.STOP,
    "max_tokens": FinishReason.LENGTH,
    "model_context_window_exceeded": FinishReason.LENGTH,
    "tool_use": FinishReason.TOOL_CALLS,
    "refusal": FinishReason.CONTENT_FILTER,
}
# An error within a stream has a type and no status: https://docs.claude.com/en/api/errors
_STREAMED_ERRORS = {
    "overloaded_error": (ErrorCode.HTTP_5XX, 529),
    "rate_limit_error": (ErrorCode.RATE_LIMITED, 429),
    "timeout_error": (ErrorCode.HTTP_5XX, 504),
    "api_error": (ErrorCode.HTTP_5XX, 500),
}


class AnthropicAdapter(ProviderAdapter):
    kind = "anthropic"

    def __init__(self, *, base_url: str = "", api_key: str = "", allow_private: bool = False) -> None:
        """Raises ValueError for a bad URL or key."""
        headers = {"x-api-key": api_key} if api_key else {}
        base_url = (base_url or DEFAULT_BASE_URL).rstrip("/").removesuffix("/v1")
        self._endpoint = Endpoint(base_url, headers, secret=api_key, allow_private=allow_private)

    def complete(self, request: ModelRequest) -> Completion:
        deadline = Deadline(request.timeouts, streamed=False, cancellation=request.cancellation)
        payload = anthropic_payload(request)
        answer, headers = self._endpoint.post_json("/v1/messages", payload, deadline, _call_headers(request))
        return _completion(answer, headers)

    def stream(self, request: ModelRequest) -> Iterator[Delta]:
        payload = {**anthropic_payload(request), "stream": True}
        deadline = Deadline(request.timeouts, streamed=True, cancellation=request.cancellation)
        collected = StreamedCompletion(deadline)
        events = self._endpoint.post_events("/v1/messages", payload, collected.deadline, _call_headers(request))
        try:
            yield from self._deltas(events, collected)
            events.drain()
        except ProviderError as error:
            raise collected.failure(error) from None
        finally:
            events.close()
        yield Delta(completion=collected.completion())

    def _deltas(self, events: EventStream, collected: StreamedCompletion) -> Iterator[Delta]:
        collected.request_id = short_text(events.headers.get("request-id")) or None
        for event in events:
            data = parse_json_object(event.data)
            kind = data.get("type")
            if kind == "message_stop":
                return
            if kind == "error":
                raise self._streamed_error(data.get("error"))
            try:
                delta = _take_event(kind, data, collected)
            except (KeyError, TypeError, ValueError, AttributeError):
                raise _unexpected_shape() from None
            if delta is not None:
                yield delta
        raise collected.cut()

    def _streamed_error(self, error: Any) -> ProviderError:
        kind, message = (error.get("type"), error.get("message")) if isinstance(error, dict) else (None, None)
        code, status = _STREAMED_ERRORS.get(str(kind), (ErrorCode.INVALID_REQUEST, None))
        text = self._endpoint.redact(str(message or "The provider reported an error."))
        return ProviderError(code, text, status=status, retryable=status is not None)


def _call_headers(request: ModelRequest) -> Json:
    is_sampled = not SAMPLING_PARAMETERS.isdisjoint(request.parameters)
    headers = {"anthropic-version": SAMPLING_API_VERSION if is_sampled else API_VERSION}
    if request.idempotency_key:
        headers["Idempotency-Key"] = request.idempotency_key
    return headers


def _completion(answer: Json, headers: Mapping[str, str]) -> Completion:
    try:
        blocks = answer["content"]
        text = "".join(str(block["text"]) for block in blocks if block["type"] == "text")
        calls = [
            tool_call(str(block["id"]), str(block["name"]), orjson.dumps(block["input"]).decode())
            for block in blocks
            if block["type"] == "tool_use"
        ]
    except (KeyError, TypeError):
        raise _unexpected_shape() from None
    return Completion(
        text=text,
        tool_calls=calls,
        finish_reason=_FINISH_REASONS.get(str(answer.get("stop_reason")), FinishReason.OTHER),
        usage=_usage(answer.get("usage")),
        provider_request_id=short_text(headers.get("request-id") or answer.get("id")) or None,
        model=short_text(answer.get("model")),
    )


def _take_event(kind: Any, data: Json, collected: StreamedCompletion) -> Delta | None:
    if kind == "message_start":
        message = data["message"]
        collected.model = short_text(message.get("model"))
        collected.request_id = collected.request_id or short_text(message.get("id")) or None
        collected.usage = _usage(message.get("usage"))
    elif kind == "content_block_start" and data["content_block"]["type"] == "tool_use":
        block = data["content_block"]
        return collected.add("", (ToolCallFragment(int(data["index"]), str(block["id"]), str(block["name"])),))
    elif kind == "content_block_delta":
        return _take_block_delta(int(data["index"]), data["delta"], collected)
    elif kind == "message_delta":
        reason = data["delta"].get("stop_reason")
        collected.finish_reason = _FINISH_REASONS.get(str(reason), FinishReason.OTHER)
        collected.usage = _usage(data.get("usage"), before=collected.usage)
    return None


def _take_block_delta(index: int, delta: Json, collected: StreamedCompletion) -> Delta | None:
    if delta["type"] == "text_delta":
        return collected.add(str(delta["text"]))
    if delta["type"] == "input_json_delta":
        return collected.add("", (ToolCallFragment(index, arguments=str(delta["partial_json"])),))
    collected.token_arrived()
    return None


def _usage(usage: Any, before: Usage | None = None) -> Usage | None:
    """Anthropic's `input_tokens` exclude both kinds of cached tokens; thinking is part of `output_tokens`.

    Written ones may be kept for five minutes or for an hour. The counts at a stream's end are cumulative, and may leave
    out those of the input given at its start.
    """
    if not isinstance(usage, dict):
        return before
    output = token_count(usage, "output_tokens")
    thinking = min(output, token_count(usage.get("output_tokens_details"), "thinking_tokens"))
    first = before or Usage()
    written = token_count(usage, "cache_creation_input_tokens")
    for_an_hour = min(written, token_count(usage.get("cache_creation"), "ephemeral_1h_input_tokens"))
    if not for_an_hour and written == first.cache_write_tokens + first.cache_write_1h_tokens:
        for_an_hour = first.cache_write_1h_tokens
    return Usage(
        input_tokens=token_count(usage, "input_tokens") or first.input_tokens,
        cached_input_tokens=token_count(usage, "cache_read_input_tokens") or first.cached_input_tokens,
        cache_write_tokens=written - for_an_hour if written else first.cache_write_tokens,
        cache_write_1h_tokens=for_an_hour if written else first.cache_write_1h_tokens,
        output_tokens=output - thinking,
        reasoning_tokens=thinking,
    )


def _unexpected_shape() -> ProviderError:
    return ProviderError(ErrorCode.INVALID_RESPONSE, "The provider's answer has an unexpected shape.")
