"""OpenAI's chat completions and embeddings, and every server that speaks them."""

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from apps.models.providers.base import (
    Completion,
    Delta,
    EmbeddingResult,
    ErrorCode,
    FinishReason,
    Json,
    ModelRequest,
    ProviderAdapter,
    ProviderError,
    Timeouts,
    ToolCallFragment,
    Usage,
)
from apps.models.providers.http import Deadline, Endpoint, EventStream, parse_json_object, short_text, token_count
from apps.models.providers.streaming import StreamedCompletion, tool_call

# Two thousand vectors of three thousand numbers.
MAX_EMBEDDINGS_BYTES = 128 * 1024 * 1024
DEFAULT_BASE_URL = "https://api.openai.com/v1"
# Also by region (eu.api.openai.com), and Azure's.
_OPENAI_HOSTS = (".api.openai.com", ".openai.azure.com")
_FINISH_REASONS = {
    "stop": FinishReason.STOP,
    "length": FinishReason.LENGTH,
    "tool_calls": FinishReason.TOOL_CALLS,
    "function_call": FinishReason.TOOL_CALLS,
    "content_filter": FinishReason.CONTENT_FILTER,
}
# https://platform.openai.com/docs/guides/structured-outputs (supported schemas)
_REFUSED_WHEN_STRICT = frozenset(
    {
        "allOf",
        "dependentRequired",
        "dependentSchemas",
        "else",
        "if",
        "not",
        "oneOf",
        "patternProperties",
        "then",
        "unevaluatedProperties",
    }
)
# One answer is recorded for one call, and how it is transported is the adapter's affair.
_OWN_PARAMETERS = frozenset({"model", "messages", "stream", "stream_options", "n"})


class OpenAIAdapter(ProviderAdapter):
    kind = "openai"

    def __init__(self, *, base_url: str = "", api_key: str = "", allow_private: bool = False) -> None:
        """Local servers often need no key. Raises ValueError for a bad URL or key."""
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._is_openai = f".{urlsplit(base_url or DEFAULT_BASE_URL).hostname}".endswith(_OPENAI_HOSTS)
        self._endpoint = Endpoint(base_url or DEFAULT_BASE_URL, headers, secret=api_key, allow_private=allow_private)

    def complete(self, request: ModelRequest) -> Completion:
        deadline = Deadline(request.timeouts, streamed=False, cancellation=request.cancellation)
        answer, headers = self._endpoint.post_json(
            "/chat/completions", self._payload(request), deadline, _call_headers(request)
        )
        return _completion(answer, headers)

    def stream(self, request: ModelRequest) -> Iterator[Delta]:
        payload = {**self._payload(request), "stream": True, "stream_options": {"include_usage": True}}
        deadline = Deadline(request.timeouts, streamed=True, cancellation=request.cancellation)
        collected = StreamedCompletion(deadline)
        events = self._endpoint.post_events("/chat/completions", payload, collected.deadline, _call_headers(request))
        try:
            yield from self._deltas(events, collected)
            events.drain()
        except ProviderError as error:
            raise collected.failure(error) from None
        finally:
            events.close()
        yield Delta(completion=collected.completion())

    def embed(self, model: str, texts: list[str], timeouts: Timeouts | None = None) -> EmbeddingResult:
        deadline = Deadline(timeouts or Timeouts(), streamed=False)
        payload = {"model": model, "input": texts, "encoding_format": "float"}
        answer, headers = self._endpoint.post_json("/embeddings", payload, deadline, {}, MAX_EMBEDDINGS_BYTES)
        try:
            items = sorted(answer["data"], key=lambda item: item["index"])
            vectors = [[float(number) for number in item["embedding"]] for item in items]
        except (KeyError, TypeError, ValueError):
            raise _unexpected_shape() from None
        if len(vectors) != len(texts):
            raise _unexpected_shape()
        return EmbeddingResult(vectors, _usage(answer.get("usage")), _request_id(answer, headers), _model(answer))

    def _payload(self, request: ModelRequest) -> Json:
        payload = {name: value for name, value in request.parameters.items() if name not in _OWN_PARAMETERS}
        if self._is_openai and "max_tokens" in payload:
            # OpenAI's reasoning models refuse the old name; other servers may know only this one.
            payload.setdefault("max_completion_tokens", payload.pop("max_tokens"))
        payload["model"] = request.model
        payload["messages"] = request.messages
        if request.tools:
            payload["tools"] = request.tools
        if request.response_schema is not None:
            schema = {
                "name": "response",
                "schema": request.response_schema,
                "strict": _is_strict(request.response_schema),
            }
            payload["response_format"] = {"type": "json_schema", "json_schema": schema}
        return payload

    def _deltas(self, events: EventStream, collected: StreamedCompletion) -> Iterator[Delta]:
        collected.request_id = _request_id({}, events.headers)
        for event in events:
            if event.data == "[DONE]":
                return
            chunk = parse_json_object(event.data)
            if chunk.get("error"):
                raise _streamed_error(self._endpoint, chunk["error"])
            delta = _take_chunk(chunk, collected)
            if delta is not None:
                yield delta
        if collected.finish_reason is None:
            raise collected.cut()


def _call_headers(request: ModelRequest) -> Json:
    return {"Idempotency-Key": request.idempotency_key} if request.idempotency_key else {}


def _completion(answer: Json, headers: Mapping[str, str]) -> Completion:
    try:
        choice = answer["choices"][0]
        message = choice["message"]
        calls = [
            tool_call(str(call["id"]), str(call["function"]["name"]), str(call["function"]["arguments"]))
            for call in message.get("tool_calls") or []
        ]
        text = message.get("content") or message.get("refusal") or ""
        finish_reason = choice.get("finish_reason")
    except (KeyError, IndexError, TypeError, AttributeError):
        raise _unexpected_shape() from None
    return Completion(
        text=_text(text),
        tool_calls=calls,
        finish_reason=_finish_reason(finish_reason),
        usage=_usage(answer.get("usage")),
        provider_request_id=_request_id(answer, headers),
        model=_model(answer),
    )


def _take_chunk(chunk: Json, collected: StreamedCompletion) -> Delta | None:
    collected.model = collected.model or _model(chunk)
    collected.request_id = collected.request_id or _request_id(chunk, {})
    collected.usage = _usage(chunk.get("usage")) or collected.usage
    try:
        choices = chunk.get("choices") or []
        if not choices:
            return None
        choice = choices[0]
        delta = choice.get("delta") or {}
        if choice.get("finish_reason"):
            collected.finish_reason = _finish_reason(choice["finish_reason"])
        fragments = tuple(_fragment(piece) for piece in delta.get("tool_calls") or [])
        text = _text(delta.get("content") or delta.get("refusal") or "")
        if delta.get("reasoning_content") or delta.get("reasoning"):
            collected.token_arrived()
    except (KeyError, TypeError, AttributeError):
        raise _unexpected_shape() from None
    return collected.add(text, fragments) if text or fragments else None


def _fragment(piece: Json) -> ToolCallFragment:
    function = piece.get("function") or {}
    return ToolCallFragment(
        index=int(piece.get("index") or 0),
        id=piece.get("id") or None,
        name=function.get("name") or None,
        arguments=str(function.get("arguments") or ""),
    )


def _text(content: Any) -> str:
    """Some compatible servers answer with parts instead of a string."""
    if isinstance(content, list):
        return "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return str(content)


def _finish_reason(value: Any) -> FinishReason:
    return _FINISH_REASONS.get(value, FinishReason.OTHER) if isinstance(value, str) else FinishReason.OTHER


def _usage(usage: Any) -> Usage | None:
    """Cached and written tokens are part of `prompt_tokens` there, reasoning is part of `completion_tokens`.

    Some compatible servers (xAI, Gemini) leave reasoning out of `completion_tokens`: then it is what the total has
    beyond. DeepSeek and Moonshot tell of cached tokens beside the others.
    """
    if not isinstance(usage, dict):
        return None
    prompt = token_count(usage, "prompt_tokens")
    completion = token_count(usage, "completion_tokens")
    cached = min(prompt, _cached(usage))
    written = min(prompt - cached, token_count(usage.get("prompt_tokens_details"), "cache_write_tokens"))
    reasoning = token_count(usage.get("completion_tokens_details"), "reasoning_tokens")
    beyond = max(0, token_count(usage, "total_tokens") - prompt - completion)
    if beyond and reasoning in {0, beyond}:
        completion, reasoning = completion + beyond, beyond
    reasoning = min(completion, reasoning)
    return Usage(
        input_tokens=prompt - cached - written,
        cached_input_tokens=cached,
        cache_write_tokens=written,
        output_tokens=completion - reasoning,
        reasoning_tokens=reasoning,
    )


def _cached(usage: Json) -> int:
    return (
        token_count(usage.get("prompt_tokens_details"), "cached_tokens")
        or token_count(usage, "prompt_cache_hit_tokens")
        or token_count(usage, "cached_tokens")
    )


def _model(answer: Json) -> str:
    return short_text(answer.get("model"))


def _request_id(answer: Json, headers: Mapping[str, str]) -> str | None:
    return short_text(headers.get("x-request-id") or answer.get("id")) or None


def _is_strict(schema: Any) -> bool:
    """Whether OpenAI's strict mode takes the schema: an object, every object closed, every property required."""
    return isinstance(schema, dict) and schema.get("type") == "object" and _is_closed(schema)


def _is_closed(schema: Any) -> bool:
    if isinstance(schema, list):
        return all(_is_closed(item) for item in schema)
    if not isinstance(schema, dict):
        return True
    if not _REFUSED_WHEN_STRICT.isdisjoint(schema):
        return False
    properties = schema.get("properties")
    if schema.get("type") == "object" or isinstance(properties, dict):
        required = schema.get("required")
        if schema.get("additionalProperties") is not False or not isinstance(required, list):
            return False
        if {name for name in required if isinstance(name, str)} != set(properties or {}):
            return False
    parts = {**schema, "properties": list((properties or {}).values())}
    return all(_is_closed(value) for value in parts.values())


def _streamed_error(endpoint: Endpoint, error: Any) -> ProviderError:
    message = error.get("message") if isinstance(error, dict) else error
    kind = error.get("type") if isinstance(error, dict) else None
    text = endpoint.redact(str(message or "The provider reported an error."))
    if kind == "invalid_request_error":
        return ProviderError(ErrorCode.INVALID_REQUEST, text)
    code = ErrorCode.RATE_LIMITED if kind == "rate_limit_error" else ErrorCode.HTTP_5XX
    return ProviderError(code, text, retryable=True)


def _unexpected_shape() -> ProviderError:
    return ProviderError(ErrorCode.INVALID_RESPONSE, "The provider's answer has an unexpected shape.")
