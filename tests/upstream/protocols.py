"""The bodies of OpenAI's and Anthropic's answers. Tokens are the same in both: see `USAGE`."""

import base64
import struct
from collections.abc import Callable, Iterator
from typing import Any

import orjson

from tests.upstream.behaviour import Behaviour

# In disjoint buckets.
INPUT_TOKENS, CACHED_TOKENS, WRITTEN_TOKENS, OUTPUT_TOKENS, REASONING_TOKENS = 13, 5, 2, 7, 3
CREATED = 1_700_000_000

OPENAI_USAGE = {
    "prompt_tokens": INPUT_TOKENS + CACHED_TOKENS + WRITTEN_TOKENS,
    "completion_tokens": OUTPUT_TOKENS + REASONING_TOKENS,
    "total_tokens": INPUT_TOKENS + CACHED_TOKENS + WRITTEN_TOKENS + OUTPUT_TOKENS + REASONING_TOKENS,
    "prompt_tokens_details": {"cached_tokens": CACHED_TOKENS, "cache_write_tokens": WRITTEN_TOKENS},
    "completion_tokens_details": {"reasoning_tokens": REASONING_TOKENS},
}
ANTHROPIC_INPUT_USAGE = {
    "input_tokens": INPUT_TOKENS,
    "cache_read_input_tokens": CACHED_TOKENS,
    "cache_creation_input_tokens": WRITTEN_TOKENS,
}
ANTHROPIC_OUTPUT_USAGE = {
    "output_tokens": OUTPUT_TOKENS + REASONING_TOKENS,
    "output_tokens_details": {"thinking_tokens": REASONING_TOKENS},
}
_ANTHROPIC_REASONS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal"}

Json = dict[str, Any]


class Answer:
    """What is said to one request, before it is written in a protocol."""

    def __init__(self, request: Json, behaviour: Behaviour) -> None:
        self.model: str = request["model"]
        self.behaviour = behaviour
        self.tool_calls = behaviour.tool_calls or _called_tools(request)
        self.words = behaviour.words or _words(behaviour.text, request, silent=bool(self.tool_calls))
        self.finish_reason = behaviour.finish_reason or ("tool_calls" if self.tool_calls else "stop")

    @property
    def text(self) -> str:
        return "".join(self.words)


def _words(text: str | Callable[[Json], str] | None, request: Json, *, silent: bool) -> list[str]:
    if callable(text):
        text = text(request)
    if text is None:
        text = "" if silent else f"You said: {last_user_text(request)}"
    parts = text.split(" ")
    return [part + " " for part in parts[:-1]] + parts[-1:] if text else []


def last_user_text(request: Json) -> str:
    for message in reversed(request["messages"]):
        if message["role"] == "user":
            content = message["content"]
            return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)
    return ""


def _called_tools(request: Json) -> list[Json]:
    """A request with tools is answered by a call of the first, until its result is among the messages."""
    tools, last = request.get("tools"), request["messages"][-1]
    has_result = last["role"] == "tool" or (
        isinstance(last["content"], list) and any(part["type"] == "tool_result" for part in last["content"])
    )
    if not tools or has_result:
        return []
    return [{"id": "call_1", "name": tools[0].get("function", tools[0])["name"], "arguments": '{"city": "Paris"}'}]


def openai_error(status: int, message: str) -> Json:
    kinds = {400: "invalid_request_error", 401: "invalid_request_error", 429: "rate_limit_error"}
    return {"error": {"message": message, "type": kinds.get(status, "server_error"), "param": None, "code": None}}


def anthropic_error(status: int, message: str) -> Json:
    kinds = {
        400: "invalid_request_error",
        401: "authentication_error",
        429: "rate_limit_error",
        529: "overloaded_error",
    }
    return {"type": "error", "error": {"type": kinds.get(status, "api_error"), "message": message}}


def openai_completion(answer: Answer) -> Json:
    message: Json = {"role": "assistant", "content": answer.text or None, "refusal": None}
    if answer.tool_calls:
        message["tool_calls"] = [
            {"id": call["id"], "type": "function", "function": {"name": call["name"], "arguments": call["arguments"]}}
            for call in answer.tool_calls
        ]
    completion = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": CREATED,
        "model": answer.model,
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": answer.finish_reason}],
    }
    return completion | ({"usage": OPENAI_USAGE} if answer.behaviour.has_usage else {})


def openai_events(answer: Answer, *, include_usage: bool) -> Iterator[bytes]:
    yield _openai_chunk(answer, {"role": "assistant", "content": "", "refusal": None})
    for word in answer.words:
        yield _openai_chunk(answer, {"content": word})
    for index, call in enumerate(answer.tool_calls):
        function = {"name": call["name"], "arguments": ""}
        yield _openai_chunk(
            answer, {"tool_calls": [{"index": index, "id": call["id"], "type": "function", "function": function}]}
        )
        half = len(call["arguments"]) // 2
        for piece in (call["arguments"][:half], call["arguments"][half:]):
            yield _openai_chunk(answer, {"tool_calls": [{"index": index, "function": {"arguments": piece}}]})
    if answer.behaviour.streamed_error:
        yield _data({"error": answer.behaviour.streamed_error})
        return
    yield _openai_chunk(answer, {}, answer.finish_reason)
    if include_usage and answer.behaviour.has_usage:
        yield _data({**_openai_head(answer), "choices": [], "usage": OPENAI_USAGE})
    yield b"data: [DONE]\n\n"


def _openai_head(answer: Answer) -> Json:
    return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": CREATED, "model": answer.model}


def _openai_chunk(answer: Answer, delta: Json, finish_reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
    return _data({**_openai_head(answer), "choices": [choice], "usage": None})


def _data(value: Json) -> bytes:
    return b"data: " + orjson.dumps(value) + b"\n\n"


def openai_embeddings(request: Json) -> Json:
    texts = [request["input"]] if isinstance(request["input"], str) else request["input"]
    vectors = [[float(len(text)), *(float(ord(character)) for character in text[:7].ljust(7))] for text in texts]
    as_base64 = request.get("encoding_format") == "base64"
    data = [
        {"object": "embedding", "index": index, "embedding": _base64(vector) if as_base64 else vector}
        for index, vector in enumerate(vectors)
    ]
    usage = {"prompt_tokens": 4 * len(texts), "total_tokens": 4 * len(texts)}
    return {"object": "list", "data": data, "model": request["model"], "usage": usage}


def _base64(vector: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def anthropic_message(answer: Answer) -> Json:
    content: list[Json] = [{"type": "text", "text": answer.text}] if answer.words else []
    content += [
        {"type": "tool_use", "id": call["id"], "name": call["name"], "input": orjson.loads(call["arguments"])}
        for call in answer.tool_calls
    ]
    message = _anthropic_head(answer) | {
        "content": content,
        "stop_reason": _ANTHROPIC_REASONS.get(answer.finish_reason, answer.finish_reason),
    }
    if answer.behaviour.has_usage:
        message["usage"] = ANTHROPIC_INPUT_USAGE | ANTHROPIC_OUTPUT_USAGE
    return message


def _anthropic_head(answer: Answer) -> Json:
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": answer.model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
    }


def anthropic_events(answer: Answer) -> Iterator[bytes]:
    start = _anthropic_head(answer) | {"usage": {**ANTHROPIC_INPUT_USAGE, "output_tokens": 1}}
    yield _event("message_start", {"message": start})
    index = 0
    if answer.words:
        yield _event("content_block_start", {"index": 0, "content_block": {"type": "text", "text": ""}})
        yield _event("ping", {})
        for word in answer.words:
            yield _event("content_block_delta", {"index": 0, "delta": {"type": "text_delta", "text": word}})
        if answer.behaviour.streamed_error:
            yield _event("error", {"error": answer.behaviour.streamed_error})
            return
        yield _event("content_block_stop", {"index": 0})
        index = 1
    for number, call in enumerate(answer.tool_calls, start=index):
        yield from _anthropic_tool_events(number, call)
    reason = _ANTHROPIC_REASONS.get(answer.finish_reason, answer.finish_reason)
    ending = {"delta": {"stop_reason": reason, "stop_sequence": None}, "usage": ANTHROPIC_OUTPUT_USAGE}
    yield _event("message_delta", ending)
    yield _event("message_stop", {})


def _anthropic_tool_events(index: int, call: Json) -> Iterator[bytes]:
    block = {"type": "tool_use", "id": call["id"], "name": call["name"], "input": {}}
    yield _event("content_block_start", {"index": index, "content_block": block})
    half = len(call["arguments"]) // 2
    for piece in ("", call["arguments"][:half], call["arguments"][half:]):
        delta = {"type": "input_json_delta", "partial_json": piece}
        yield _event("content_block_delta", {"index": index, "delta": delta})
    yield _event("content_block_stop", {"index": index})


def _event(kind: str, value: Json) -> bytes:
    return b"event: " + kind.encode() + b"\n" + _data({"type": kind, **value})
