"""The `simple` format: `{{ name }}` and `{{ user.name }}` are replaced, everything else is text.

A segment of a dotted name is a key of an object or the index of a list. Single braces, `}}` alone and the outer
braces of `{{{ name }}}` are text, so JSON needs no escaping. `\\{{` is a literal `{{`; `\\\\{{ name }}` is a
backslash before a variable.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from apps.prompts.rendering.errors import RenderError, TemplateError
from apps.prompts.rendering.limits import MAX_OUTPUT_CHARS, MAX_TEMPLATE_CHARS, MAX_VARIABLES
from apps.prompts.rendering.values import measure, to_text

OPENING = re.compile(r"\{{2,}")
EXPRESSION = re.compile(r"\s*([^\W\d]\w*(?:\.\w+)*)\s*\}\}")


@dataclass(frozen=True, slots=True)
class Path:
    """A dotted name as it stands in a template."""

    name: str
    segments: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SimpleTemplate:
    parts: tuple[str | Path, ...]
    names: tuple[str, ...]
    required: frozenset[str]

    def missing(self, values: dict[str, Any]) -> dict[str, str]:
        """Reasons by dotted name for every name that `values` does not answer."""
        paths = [part for part in self.parts if isinstance(part, Path)]
        return {path.name: "This variable is missing." for path in paths if not _has(values, path.segments)}

    def render(self, values: dict[str, Any]) -> str:
        """Replace every name by its text, once: braces in a value stay text."""
        texts: list[str] = []
        left = MAX_OUTPUT_CHARS
        for part in self.parts:
            text = part if isinstance(part, str) else self._text_of(values, part)
            left -= len(text)
            if left < 0:
                raise RenderError(f"The rendered text is longer than {MAX_OUTPUT_CHARS} characters.")
            texts.append(text)
        return "".join(texts)

    def _text_of(self, values: dict[str, Any], path: Path) -> str:
        value: Any = values
        for segment in path.segments:
            value = _step(value, segment)
        if not isinstance(value, str):
            measure(value, MAX_OUTPUT_CHARS)
        return to_text(value)


@lru_cache(maxsize=1024)
def compile_simple(source: str) -> SimpleTemplate:
    """Parse a template; raises TemplateError with line and column."""
    if len(source) > MAX_TEMPLATE_CHARS:
        raise TemplateError(f"The template is longer than {MAX_TEMPLATE_CHARS} characters.")
    parts: list[str | Path] = []
    position = 0
    while opening := OPENING.search(source, position):
        before = source[position : opening.start()]
        slashes = len(before) - len(before.rstrip("\\"))
        position = opening.end()
        parts.append(before[: len(before) - slashes] + "\\" * (slashes // 2))
        if slashes % 2:
            parts.append(opening.group())
        else:
            parts.append(opening.group()[2:])
            path, position = _parse_expression(source, position)
            parts.append(path)
    parts.append(source[position:])
    roots = tuple(dict.fromkeys(part.segments[0] for part in parts if isinstance(part, Path)))
    if len(roots) > MAX_VARIABLES:
        raise TemplateError(f"The template has more than {MAX_VARIABLES} variables.")
    return SimpleTemplate(tuple(part for part in parts if part), roots, frozenset(roots))


def _parse_expression(source: str, position: int) -> tuple[Path, int]:
    match = EXPRESSION.match(source, position)
    if match is None:
        where = position - 2
        line, column = source.count("\n", 0, where) + 1, where - source.rfind("\n", 0, where)
        raise TemplateError(
            f"Line {line}, column {column}: {{{{ must be followed by a variable name and }}}}; "
            "write \\{{ for literal braces."
        )
    name = match.group(1)
    return Path(name, tuple(name.split("."))), match.end()


def _has(values: dict[str, Any], segments: tuple[str, ...]) -> bool:
    value: Any = values
    try:
        for segment in segments:
            value = _step(value, segment)
    except LookupError:
        return False
    return True


def _step(value: Any, segment: str) -> Any:
    if isinstance(value, dict):
        return value[segment]
    if isinstance(value, list | tuple) and segment.isdecimal() and segment.isascii() and len(segment) < 10:
        return value[int(segment)]
    raise LookupError(segment)
