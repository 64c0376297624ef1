"""Workflows as YAML: plain JSON values in a form that people like to read, and back without a difference.

The reader takes a part of YAML: mappings with text keys, lists, and scalars of JSON. No anchors and aliases (a few of
them unfold to gigabytes), no tags, no duplicate keys, no second document.
"""

import math
import re
from collections.abc import Callable
from typing import Any

import yaml
from yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

Json = Any

KIND = "everquant.workflow"
MAX_CHARS = 2_000_000
MAX_DEPTH = 64
MAX_PARTS = 100_000

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?", re.ASCII)
_WORDS = {"null": None, "true": True, "false": False, "~": None, "": None}
_INT_DIGITS = 1_200


class TransferProblem(Exception):
    """The text is not the YAML that is taken; the message begins with line and column where these are known."""


def dump_yaml(document: Json) -> str:
    """Any JSON value. Texts of several lines are blocks; keys keep their order."""
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=MAX_CHARS)


def load_yaml(text: str) -> Json:
    """Raises TransferProblem. Words such as yes and 2024-01-01 are texts, as they are not JSON's."""
    if len(text) > MAX_CHARS:
        raise TransferProblem(f"The text is longer than {MAX_CHARS} characters.")
    try:
        return _Reader(_Loader(text).get_event).document()
    except yaml.MarkedYAMLError as error:
        raise _problem(error.problem or "not YAML", error.problem_mark) from error
    except (yaml.YAMLError, ValueError) as error:
        raise TransferProblem(str(error).splitlines()[0][:300]) from error


def _problem(reason: str, mark: Any) -> TransferProblem:
    where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark is not None else ""
    return TransferProblem(f"{where}{reason}")


class _Reader:
    """Builds the value from the parser's events, so that nothing is unfolded or constructed beyond JSON."""

    def __init__(self, next_event: Callable[[], Event]) -> None:
        self._next = next_event
        self._parts = 0

    def document(self) -> Json:
        self._next()  # the stream's start
        start = self._next()
        if not isinstance(start, DocumentStartEvent):
            raise _problem("the document is empty", start.start_mark)
        value = self._value(self._next(), 0)
        self._next()  # the document's end
        after = self._next()
        if isinstance(after, DocumentStartEvent):
            raise _problem("there is more than one document", after.start_mark)
        return value

    def _value(self, event: Event, depth: int) -> Json:
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise _problem(f"there are more than {MAX_PARTS} values", event.start_mark)
        if depth > MAX_DEPTH:
            raise _problem(f"nested deeper than {MAX_DEPTH} levels", event.start_mark)
        if isinstance(event, AliasEvent) or getattr(event, "anchor", None) is not None:
            raise _problem("anchors and aliases are not taken", event.start_mark)
        if getattr(event, "tag", None) is not None:
            raise _problem("tags are not taken", event.start_mark)
        if isinstance(event, MappingStartEvent):
            return self._mapping(depth)
        if isinstance(event, SequenceStartEvent):
            return self._sequence(depth)
        if isinstance(event, ScalarEvent):
            return _scalar(event)
        raise _problem("a value is expected", event.start_mark)

    def _mapping(self, depth: int) -> dict[str, Json]:
        found: dict[str, Json] = {}
        while not isinstance(event := self._next(), MappingEndEvent):
            if not isinstance(event, ScalarEvent):
                self._value(event, depth + 1)
                raise _problem("a key is a text", event.start_mark)
            key = event.value
            if event.tag is not None or event.anchor is not None:
                raise _problem("tags and anchors are not taken", event.start_mark)
            if event.implicit[0] and key == "<<":
                raise _problem("merge keys are not taken", event.start_mark)
            if key in found:
                raise _problem(f"the key {key[:64]!r} is there twice", event.start_mark)
            found[key] = self._value(self._next(), depth + 1)
        return found

    def _sequence(self, depth: int) -> list[Json]:
        found: list[Json] = []
        while not isinstance(event := self._next(), SequenceEndEvent):
            found.append(self._value(event, depth + 1))
        return found


def _scalar(event: ScalarEvent) -> Json:
    """Plain scalars are JSON's words and numbers, else texts; all others are texts."""
    text: str = event.value
    if not event.implicit[0]:
        return text
    if text in _WORDS:
        return _WORDS[text]
    number = _NUMBER.fullmatch(text)
    if number is None:
        return text
    if number.group(1) is None and number.group(2) is None:
        if len(text) > _INT_DIGITS:
            raise _problem("the number is too large", event.start_mark)
        return int(text)
    value = float(text)
    if math.isinf(value):
        raise _problem("the number is too large", event.start_mark)
    return value


class _Dumper(yaml.SafeDumper):
    """Writes no anchors, and quotes what a reader of YAML, ours or another, could take for something else."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        """Lists are indented under their key."""
        super().increase_indent(flow, False)


def _write_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    if _fits_block(text):
        return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|")
    if _is_ambiguous(text):
        return dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"')
    return dumper.represent_scalar("tag:yaml.org,2002:str", text)


def _fits_block(text: str) -> bool:
    """Several lines that a block keeps as they are: the emitter falls back by itself for what it cannot write so."""
    lines = text.split("\n")
    is_plain = text.isprintable() or all(line.isprintable() for line in lines)
    return len(lines) > 1 and is_plain and bool(lines[0].strip()) and not lines[0].startswith(" ")


def _is_ambiguous(text: str) -> bool:
    return text in _WORDS or _NUMBER.fullmatch(text) is not None or not all(map(str.isprintable, text))


_Dumper.add_representer(str, _write_text)
