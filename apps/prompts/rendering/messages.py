"""The messages of a chat prompt: `[{"role": ..., "content": text or parts}]`.

A part is `{"type": "text", "text": ...}` or `{"type": "image_url", "image_url": {"url": ..., "detail": ...}}`. Texts
are templates; addresses of images are not.
"""

from collections.abc import Callable, Iterator
from typing import Any

from apps.prompts.rendering.errors import TemplateError
from apps.prompts.rendering.limits import MAX_MESSAGES, MAX_PARTS, MAX_TEMPLATE_CHARS
from apps.prompts.rendering.values import find_problem

ROLES = ("system", "user", "assistant", "tool")
IMAGE_DETAILS = ("auto", "low", "high")
IMAGE_SCHEMES = ("https://", "http://", "data:image/")

Message = dict[str, Any]


def check_messages(messages: Any) -> None:
    """Raise TemplateError naming the first wrong place, as in `messages.0.role`."""
    if not isinstance(messages, list) or not messages:
        raise TemplateError("A list with at least one message is expected.").at("messages")
    if len(messages) > MAX_MESSAGES:
        raise TemplateError(f"There are more than {MAX_MESSAGES} messages.").at("messages")
    problem = find_problem(messages, "messages")
    if problem is not None:
        raise TemplateError(problem[1]).at(problem[0])
    for index, message in enumerate(messages):
        _check_message(f"messages.{index}", message)


def _check_message(path: str, message: Any) -> None:
    _check_fields(path, message, required={"role", "content"})
    _check_choice(f"{path}.role", message["role"], ROLES)
    content = message["content"]
    if isinstance(content, str):
        return
    if not isinstance(content, list) or not content:
        raise TemplateError("A text or a list of parts is expected.").at(f"{path}.content")
    if len(content) > MAX_PARTS:
        raise TemplateError(f"There are more than {MAX_PARTS} parts.").at(f"{path}.content")
    for index, part in enumerate(content):
        _check_part(f"{path}.content.{index}", part)


def _check_part(path: str, part: Any) -> None:
    kind = part.get("type") if isinstance(part, dict) else None
    _check_choice(f"{path}.type", kind, ("text", "image_url"))
    _check_fields(path, part, required={"type", str(kind)})
    if kind == "text":
        _check_text(f"{path}.text", part["text"])
        return
    image = part["image_url"]
    _check_fields(f"{path}.image_url", image, required={"url"}, optional={"detail"})
    _check_text(f"{path}.image_url.url", image["url"])
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


def _check_text(path: str, value: Any) -> None:
    if not isinstance(value, str):
        raise TemplateError("A text is expected.").at(path)
    if len(value) > MAX_TEMPLATE_CHARS:
        raise TemplateError(f"Longer than {MAX_TEMPLATE_CHARS} characters.").at(path)


def texts_of(messages: list[Message]) -> Iterator[tuple[str, str]]:
    """Every template of checked messages with its dotted path, in order."""
    for index, message in enumerate(messages):
        path, content = f"messages.{index}.content", message["content"]
        if isinstance(content, str):
            yield path, content
            continue
        for number, part in enumerate(content):
            if part["type"] == "text":
                yield f"{path}.{number}.text", part["text"]


def with_texts(messages: list[Message], render: Callable[[str], str]) -> list[Message]:
    """The same messages with `render(path)` in the place of each template."""
    return [
        {**message, "content": _content(f"messages.{index}.content", message["content"], render)}
        for index, message in enumerate(messages)
    ]


def _content(path: str, content: Any, render: Callable[[str], str]) -> Any:
    if isinstance(content, str):
        return render(path)
    return [
        {**part, "text": render(f"{path}.{number}.text")} if part["type"] == "text" else part
        for number, part in enumerate(content)
    ]
