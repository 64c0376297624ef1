"""Inputs and outputs as people read them."""

from typing import Any

import orjson
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from apps.workflows.admin.showing import LONGEST_SHOWN, pretty

Json = Any


def readable(value: Json) -> SafeString:
    """Escaped: text as text, JSON indented (also that of a text), messages one by one."""
    if isinstance(value, str):
        parsed = _parsed(value)
        return pretty(parsed) if parsed is not None else _text(value)
    if isinstance(value, dict) and set(value) == {"messages"} and _are_messages(value["messages"]):
        return format_html_join(
            "",
            '<div class="an-message"><span class="an-role">{}</span>{}</div>',
            ((one["role"], readable(one["content"])) for one in value["messages"]),
        )
    return pretty(value)


def _text(text: str) -> SafeString:
    left_out = len(text) - LONGEST_SHOWN
    rest = f"\n… {left_out:,} more characters" if left_out > 0 else ""
    shown = text[:LONGEST_SHOWN] + rest
    return format_html('<div class="an-text" tabindex="0">{}</div>', shown or "(nothing)")


def _parsed(text: str) -> Json:
    """The object or list that the text is as JSON; None for other texts."""
    if not text.lstrip().startswith(("{", "[")) or len(text) > LONGEST_SHOWN:
        return None
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None


def _are_messages(value: Json) -> bool:
    return isinstance(value, list) and all(
        isinstance(one, dict) and isinstance(one.get("role"), str) and "content" in one and len(one) == 2
        for one in value
    )
