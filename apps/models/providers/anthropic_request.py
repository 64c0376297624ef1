"""A request in OpenAI's form, written in Anthropic's."""

import re
from typing import Any

import orjson

from apps.models.providers.anthropic_schema import accepted_schema
from apps.models.providers.base import ErrorCode, Json, ModelRequest, ProviderError

DEFAULT_MAX_TOKENS = 4096
_DATA_URL = re.compile(r"data:(?P<media_type>[\w.+-]+/[\w.+-]+);base64,(?P<data>.*)", re.DOTALL)
# A prompt written for OpenAI, or a fallback from it, must not fail for a setting that has no counterpart here.
_ONLY_OPENAI = frozenset(
    {
        "frequency_penalty",
        "logit_bias",
        "logprobs",
        "max_completion_tokens",
        "max_tokens",
        "n",
        "parallel_tool_calls",
        "presence_penalty",
        "reasoning_effort",
        "response_format",
        "seed",
        "stop",
        "store",
        "stream_options",
        "tool_choice",
        "top_logprobs",
        "user",
        "verbosity",
    }
)
_OWN_PARAMETERS = frozenset({"model", "messages", "system", "stream", "tools"})
_EFFORTS = frozenset({"low", "medium", "high", "xhigh", "max"})


def anthropic_payload(request: ModelRequest) -> Json:
    """Raises ProviderError for messages that cannot be written in this form."""
    given = request.parameters
    payload = {name: value for name, value in given.items() if name not in _ONLY_OPENAI | _OWN_PARAMETERS}
    payload["model"] = request.model
    payload["max_tokens"] = (
        given.get("max_tokens") or given.get("max_completion_tokens") or request.max_output_tokens or DEFAULT_MAX_TOKENS
    )
    try:
        payload["messages"] = _messages(request.messages)
        payload.update(_system(request.messages))
        if request.tools:
            payload["tools"] = [_tool(tool) for tool in request.tools]
    except (KeyError, TypeError, AttributeError, orjson.JSONDecodeError):
        raise ProviderError(ErrorCode.INVALID_REQUEST, "The messages or tools have an unexpected shape.") from None
    payload.update(_translated(given))
    if output_config := _output_config(request):
        payload["output_config"] = output_config
    return payload


def _translated(given: Json) -> Json:
    translated: Json = {}
    if stop := given.get("stop"):
        translated["stop_sequences"] = [stop] if isinstance(stop, str) else stop
    if user := given.get("user"):
        translated["metadata"] = {"user_id": user}
    if tool_choice := _tool_choice(given):
        translated["tool_choice"] = tool_choice
    return translated


def _tool_choice(given: Json) -> Json | None:
    choice = given.get("tool_choice")
    if isinstance(choice, dict):
        function = choice.get("function")
        written = {"type": "tool", "name": function["name"]} if isinstance(function, dict) else dict(choice)
    elif choice is None and given.get("parallel_tool_calls") is not False:
        return None
    else:
        written = {"type": {"required": "any", "none": "none"}.get(str(choice), "auto")}
    if given.get("parallel_tool_calls") is False and written["type"] != "none":
        written["disable_parallel_tool_use"] = True
    return written


def _output_config(request: ModelRequest) -> Json:
    config = dict(request.parameters.get("output_config") or {})
    if request.parameters.get("reasoning_effort") in _EFFORTS:
        config["effort"] = request.parameters["reasoning_effort"]
    if request.response_schema is not None:
        config["format"] = {"type": "json_schema", "schema": accepted_schema(request.response_schema)}
    return config


def _system(messages: list[Json]) -> Json:
    texts = [_plain_text(message["content"]) for message in messages if message["role"] in {"system", "developer"}]
    return {"system": "\n\n".join(texts)} if any(texts) else {}


def _plain_text(content: Any) -> str:
    return content if isinstance(content, str) else "".join(part["text"] for part in content if part["type"] == "text")


def _messages(messages: list[Json]) -> list[Json]:
    written: list[Json] = []
    answers_tools = False
    for message in messages:
        role = message["role"]
        if role in {"system", "developer"}:
            continue
        if role == "tool":
            content = message["content"]
            blocks = content if isinstance(content, str) else [_block(part) for part in content]
            result = {"type": "tool_result", "tool_use_id": message["tool_call_id"], "content": blocks}
            if answers_tools:
                written[-1]["content"].append(result)
            else:
                written.append({"role": "user", "content": [result]})
        else:
            written.append({"role": role, "content": _content(message)})
        answers_tools = role == "tool"
    return written


def _content(message: Json) -> str | list[Json]:
    content, calls = message.get("content") or "", message.get("tool_calls")
    if isinstance(content, str) and not calls:
        return content
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    blocks = [_block(part) for part in parts if part.get("text") != ""]
    return blocks + [_tool_use(call) for call in calls or []]


def _block(part: Json) -> Json:
    if part["type"] != "image_url":
        return part
    url = part["image_url"]["url"]
    if match := _DATA_URL.fullmatch(url):
        return {"type": "image", "source": {"type": "base64", **match.groupdict()}}
    return {"type": "image", "source": {"type": "url", "url": url}}


def _tool_use(call: Json) -> Json:
    function = call["function"]
    return {
        "type": "tool_use",
        "id": call["id"],
        "name": function["name"],
        "input": orjson.loads(function["arguments"] or "{}"),
    }


def _tool(tool: Json) -> Json:
    function = tool.get("function")
    if function is None:
        return tool
    written = {"name": function["name"], "input_schema": function.get("parameters") or {"type": "object"}}
    if function.get("description"):
        written["description"] = function["description"]
    return written
