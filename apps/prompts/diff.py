"""The difference between two versions, field by field and line by line. Pure."""

import json
from collections.abc import Iterator, Mapping
from difflib import SequenceMatcher
from typing import Any

CONTEXT_LINES = 3
MAX_COMPARISONS = 1_000_000
"""Lines of one side times lines of the other: above it, what differs is one block."""

Change = dict[str, Any]


def diff_versions(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Change]:
    """One change per differing field, a message's parts each by themselves: `messages.2.content`.

    A change is `{field, change: added|removed|changed, hunks}`, a hunk `{from_line, from_count, to_line, to_count,
    lines: [{op: " "|"-"|"+", text}]}` with three lines of context, as in a unified diff. Lines count from 1.
    """
    old, new = dict(_fields(before)), dict(_fields(after))
    names = [*old, *(name for name in new if name not in old)]
    return [_change(name, old.get(name), new.get(name)) for name in names if old.get(name) != new.get(name)]


def _fields(definition: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in definition.items():
        if name == "messages" and value is not None:
            for index, message in enumerate(value):
                yield f"messages.{index}.role", message["role"]
                yield f"messages.{index}.content", _text(message["content"])
        elif value not in (None, {}, []):
            yield name, _text(value)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=2, default=str)


def _change(name: str, before: str | None, after: str | None) -> Change:
    kind = "added" if before is None else "removed" if after is None else "changed"
    return {"field": name, "change": kind, "hunks": list(_hunks(_lines(before), _lines(after)))}


def _lines(text: str | None) -> list[str]:
    return [] if text is None else text.split("\n")


def _hunks(old: list[str], new: list[str]) -> Iterator[dict[str, Any]]:
    for group in _groups(old, new):
        first, last = group[0], group[-1]
        yield {
            "from_line": first[1] + 1,
            "from_count": last[2] - first[1],
            "to_line": first[3] + 1,
            "to_count": last[4] - first[3],
            "lines": list(_hunk_lines(group, old, new)),
        }


def _hunk_lines(group: list[Any], old: list[str], new: list[str]) -> Iterator[dict[str, str]]:
    for tag, old_start, old_end, new_start, new_end in group:
        if tag == "equal":
            yield from ({"op": " ", "text": line} for line in old[old_start:old_end])
            continue
        yield from ({"op": "-", "text": line} for line in old[old_start:old_end])
        yield from ({"op": "+", "text": line} for line in new[new_start:new_end])


def _groups(old: list[str], new: list[str]) -> list[list[Any]]:
    """Grouped opcodes over what lies between the common beginning and end, with its context."""
    start = _common(old, new)
    end = _common(old[start:][::-1], new[start:][::-1])
    offset = max(0, start - CONTEXT_LINES)
    tail = max(0, end - CONTEXT_LINES)
    left, right = old[offset : len(old) - tail], new[offset : len(new) - tail]
    if len(left) * len(right) > MAX_COMPARISONS:
        groups = [_one_block(len(left), len(right), start - offset, end - tail)]
    else:
        groups = list(SequenceMatcher(None, left, right, autojunk=False).get_grouped_opcodes(CONTEXT_LINES))
    return [[(code[0], *(place + offset for place in code[1:])) for code in group] for group in groups]


def _one_block(left: int, right: int, before: int, after: int) -> list[Any]:
    return [
        ("equal", 0, before, 0, before),
        ("replace", before, left - after, before, right - after),
        ("equal", left - after, left, right - after, right),
    ]


def _common(old: list[str], new: list[str]) -> int:
    count = 0
    for mine, yours in zip(old, new, strict=False):
        if mine != yours:
            break
        count += 1
    return count
