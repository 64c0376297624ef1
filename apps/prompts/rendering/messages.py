"""The messages of a chat prompt: `[{"role": ..., "content": text or parts}]`.

A message of the assistant may have `tool_calls` (and then no content), and one of a tool has the `tool_call_id` that it
answers, as in OpenAI's chat completions.

A part is `{"type": "text", "text": ...}` or `{"type": "image_url", "image_url": {"url": ..., "detail": ...}}`. Texts
are templates; addresses of images are not.
"""

from collections.abc import Callable, Iterator
from typing import Any

from apps.prompts.rendering.errors import TemplateError
from apps.prompts.rendering.limits import (
    MAX_CALL_ID,
    MAX_IMAGE_CHARS,
    MAX_MESSAGES,
    MAX_PARTS,
    MAX_TEMPLATE_CHARS,
    MAX_TOOL_CALLS,
)
from apps.prompts.rendering.values import find_problem

ROLES = ("system", "user", "assistant", "tool")
IMAGE_DETAILS = ("auto", "low", "high")
IMAGE_SCHEMES = ("https://", "http://", "data:image/")

Message = dict[str, Any]


def check_messages(messages: Any, at: str = "messages") -> None:
    """Raise TemplateError naming the first wrong place, as in `messages.0.role`."""
    if not isinstance(messages, list) or not messages:
        raise TemplateError("A list with at least one message is expected.").at(at)
    if len(messages) > MAX_MESSAGES:
        raise TemplateError(f"There are more than {MAX_MESSAGES} messages.").at(at)
    problem = find_problem(messages, at)
    if problem is not None:
        raise TemplateError(problem[1]).at(problem[0])
    for index, message in enumerate(messages):
        _check_message(f"{at}.{index}", message)


def _check_message(path: str, message: Any) -> None:
    role = message.get("role") if isinstance(message, dict) else None
    calls_tools = role == "assistant" and "tool_calls" in message
    required = {"role", "tool_call_id"} if role == "tool" else {"role"}
    if calls_tools:
        _check_fields(path, message, required={"role", "tool_calls"}, optional={"content"})
        _check_calls(f"{path}.tool_calls", message["tool_calls"])
    elif isinstance(message, dict) and "role" in message:
        _check_choice(f"{path}.role", role, ROLES)
        _check_fields(path, message, required=required | {"content"})
    else:
        _check_fields(path, message, required={"role", "content"})
    if role == "tool":
        _check_name(f"{path}.tool_call_id", message["tool_call_id"], MAX_CALL_ID)
    if not (calls_tools and message.get("content") is None):
        _check_content(f"{path}.content", message["content"])


def _check_content(path: str, content: Any) -> None:
    if isinstance(content, str):
        _check_text(path, content)
        return
    if not isinstance(content, list) or not content:
        raise TemplateError("A text or a list of parts is expected.").at(path)
    if len(content) > MAX_PARTS:
        raise TemplateError(f"There are more than {MAX_PARTS} parts.").at(path)
    for index, part in enumerate(content):
        _check_part(f"{path}.{index}", part)


def _check_calls(path: str, calls: Any) -> None:
    if not isinstance(calls, list) or not calls or len(calls) > MAX_TOOL_CALLS:
        raise TemplateError(f"A list of 1 to {MAX_TOOL_CALLS} calls is expected.").at(path)
    for index, call in enumerate(calls):
        at = f"{path}.{index}"
        _check_fields(at, call, required={"id", "type", "function"})
        _check_name(f"{at}.id", call["id"], MAX_CALL_ID)
        _check_choice(f"{at}.type", call["type"], ("function",))
        _check_fields(f"{at}.function", call["function"], required={"name", "arguments"})
        _check_name(f"{at}.function.name", call["function"]["name"], MAX_CALL_ID)
        _check_text(f"{at}.function.arguments", call["function"]["arguments"])


def _check_name(path: str, value: Any, longest: int) -> None:
    if not isinstance(value, str) or not 1 <= len(value) <= longest:
        raise TemplateError(f"A text of 1 to {longest} characters is expected.").at(path)


def _check_part(path: str, part: Any) -> None:
    kind = part.get("type") if isinstance(part, dict) else None
    _check_choice(f"{path}.type", kind, ("text", "image_url"))
    _check_fields(path, part, required={"type", str(kind)})
    if kind == "text":
        _check_text(f"{path}.text", part["text"])
        return
    image = part["image_url"]
    _check_fields(f"{path}.image_url", image, required={"url"}, optional={"detail"})
    _check_text(f"{path}.image_url.url", image["url"], MAX_IMAGE_CHARS)
    if not image["url"].startswith(IMAGE_SCHEMES):
        raise TemplateError("An http, https or data:image address is expected.").at(f"{path}.image_url.url")
    _check_choice(f"{path}.image_url.detail", image.get("detail", "auto"), IMAGE_DETAILS)


def _check_fields(
    path: str, value: Any, *, required: set[str], optional: frozenset[str] | set[str] = frozenset()
) -> None:
    if not isinstance(value, dict):
        raise TemplateError("An object is expected.").at(path)
    for name in sorted(required - value.keys()):
        raise TemplateError("This field is required.").at(f"{path}.{name}")
    for name in sorted(value.keys() - required - optional):
        raise TemplateError("Unknown field.").at(f"{path}.{name}")


def _check_choice(path: str, value: Any, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise TemplateError(f"One of {', '.join(choices)} is expected.").at(path)


def _check_text(path: str, value: Any, longest: int = MAX_TEMPLATE_CHARS) -> None:
    if not isinstance(value, str):
        raise TemplateError("A text is expected.").at(path)
    if len(value) > longest:
        raise TemplateError(f"Longer than {longest} characters.").at(path)


def texts_of(messages: list[Message]) -> Iterator[tuple[str, str]]:
    """Every template of checked messages with its dotted path, in order."""
    for index, message in enumerate(messages):
        path, content = f"messages.{index}.content", message.get("content")
        if isinstance(content, str):
            yield path, content
            continue
        for number, part in enumerate(content or ()):
            if part["type"] == "text":
                yield f"{path}.{number}.text", part["text"]


def with_texts(messages: list[Message], render: Callable[[str], str]) -> list[Message]:
    """The same messages with `render(path)` in the place of each template."""
    return [
        {**message, "content": _content(f"messages.{index}.content", message.get("content"), render)}
        for index, message in enumerate(messages)
    ]


def _content(path: str, content: Any, render: Callable[[str], str]) -> Any:
    if content is None or isinstance(content, str):
        return None if content is None else render(path)
    return [
        {**part, "text": render(f"{path}.{number}.text")} if part["type"] == "text" else part
        for number, part in enumerate(content)
    ]
