"""CEL: whether something is true. Its library is native code that holds Python's lock, so what it is given is bounded.

It is given only the parts that the expression names. Whole numbers beyond 64 bits are given as floats.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from apps.workflows.definition.expressions.reading import Reading, read
from apps.workflows.definition.values import Reference, Scope, ValueProblem, has_ended_well

Json = Any

MAX_WEIGHT = 1_000_000
"""Characters, numbers and keys that one expression may look at."""
MAX_STEPS = 1_000_000
MAX_MOVED = 100_000_000
MAX_LOOKED_AT = 5_000_000
"""Parts of lists and objects, which are copied whole at every mention and compared one by one: 100 ns each."""
CHARS_PER_STEP = 100
MAX_DEPTH = 64
_LARGEST = 2**63


def check_expression(expression: str) -> None:
    """Raises ValueProblem unless it compiles, names only roots, and is not too costly."""
    read(expression)
    _compiled(expression)


def expression_references(expression: str) -> list[Reference]:
    """Raises ValueProblem as `check_expression`. What `has(…)` asks for counts as having a default."""
    check_expression(expression)
    return read(expression).references()


def is_true(expression: str, scope: Scope) -> bool:
    """Raises ValueProblem: MISSING_VALUE naming the key, NOT_A_BOOLEAN, EXPRESSION_TOO_COSTLY, INVALID_EXPRESSION."""
    reading = read(expression)
    program = _compiled(expression)
    given = _Given()
    roots = given.copy(_named_parts(reading, scope), 0)
    _check_cost(reading, given)
    _check_looks(reading, given, roots)
    try:
        return bool(program.execute(roots))
    except Exception as error:
        raise _problem(error) from error
    except BaseException as panic:
        raise _unless_ending(panic) from panic


@lru_cache(maxsize=1024)
def _compiled(expression: str) -> Any:
    """Refuses what is neither true nor false in CEL itself: a large result would have to be copied to be looked at."""
    import cel  # noqa: PLC0415 (it costs half a second, which processes that evaluate nothing save)

    try:
        cel.compile(expression)
        return cel.compile(f"(\n{expression}\n) ? true : false")
    except Exception as error:
        raise ValueProblem("INVALID_EXPRESSION", _first_line(str(error))) from error
    except BaseException as panic:
        raise _unless_ending(panic) from panic


def _unless_ending(panic: BaseException) -> BaseException:
    """A panic of the library is no Exception; it must not end the worker as the end of a process does."""
    if isinstance(panic, KeyboardInterrupt | SystemExit | GeneratorExit):
        return panic
    return ValueProblem("INVALID_EXPRESSION", "The expression cannot be evaluated.")


def _problem(error: Exception) -> ValueProblem:
    said = _first_line(str(error))
    if isinstance(error, KeyError):
        return ValueProblem("MISSING_VALUE", f"There is no {said}; has(…) asks whether there is one.")
    if isinstance(error, IndexError):
        return ValueProblem("MISSING_VALUE", said)
    if isinstance(error, TypeError):
        return ValueProblem("INVALID_TYPES", said)
    return ValueProblem("INVALID_EXPRESSION", said)


def _first_line(text: str) -> str:
    _, _, reason = text.partition("ERROR: ")
    return (reason or text).splitlines()[0][:300] if text else "The expression cannot be evaluated."


def _named_parts(reading: Reading, scope: Scope) -> dict[str, Json]:
    """The roots, with nothing in them but what the paths name."""
    parts: dict[str, Json] = {}
    for path in sorted(reading.paths, key=len, reverse=True):
        segments = path.split(".")
        if segments[0] not in scope.roots:
            raise ValueProblem("MISSING_VALUE", f"There is no {segments[0]} here.")
        _put(parts, segments, scope.roots)
    return parts


def _put(parts: dict[str, Json], segments: Sequence[str], source: Mapping[str, Json]) -> None:
    """Shorter paths come later and replace what longer ones put."""
    for place, segment in enumerate(segments):
        if segment not in source:
            return
        value = source[segment]
        if place == 1 and segments[0] == "nodes":
            value = _visible(value)
        if place == len(segments) - 1 or not isinstance(value, Mapping):
            parts[segment] = value
            return
        parts = parts.setdefault(segment, {})
        source = value


def _visible(node: Json) -> Json:
    """A node's state without the output of one that has none."""
    return node if has_ended_well(node) else {key: part for key, part in node.items() if key != "output"}


@dataclass(slots=True)
class _Given:
    """What is copied for the library, and how much it is: the longest list, object and text in it.

    `largest_item` is the number of parts of the largest item of a list.
    """

    weight: int = 0
    parts: int = 0
    largest_item: int = 1
    longest_list: int = 1
    longest_text: int = 1

    def copy(self, value: Json, depth: int) -> Json:
        self._count(1, depth)
        self.parts += 1
        if isinstance(value, str):
            self.longest_text = max(self.longest_text, len(value))
            self._count(len(value), depth)
        elif isinstance(value, Mapping):
            self.longest_list = max(self.longest_list, len(value))
            self._count(sum(map(len, value)), depth)
            return {key: self.copy(part, depth + 1) for key, part in value.items()}
        elif isinstance(value, list):
            self.longest_list = max(self.longest_list, len(value))
            return [self._copy_item(part, depth + 1) for part in value]
        elif isinstance(value, int) and not -_LARGEST <= value < _LARGEST:
            return _float(value)
        return value

    def _copy_item(self, item: Json, depth: int) -> Json:
        before = self.parts
        copied = self.copy(item, depth)
        self.largest_item = max(self.largest_item, self.parts - before)
        return copied

    def _count(self, weight: int, depth: int) -> None:
        self.weight += weight
        if self.weight > MAX_WEIGHT or depth > MAX_DEPTH:
            raise ValueProblem(
                "EXPRESSION_TOO_COSTLY",
                f"An expression looks at no more than {MAX_WEIGHT} characters in {MAX_DEPTH} levels.",
            )


def _float(value: int) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.copysign(math.inf, value)


def _check_cost(reading: Reading, given: _Given) -> None:
    """Lists and texts may have grown by every `+`, and a list that is written down has an item for each comma."""
    length = max(given.longest_list, reading.commas + 1) * (reading.plus_signs + 1)
    steps = sum(length ** (macro.depth + macro.is_copying) for macro in reading.macros)
    depth = max((macro.depth for macro in reading.macros), default=0)
    moved = length**depth * given.longest_text * (reading.plus_signs + 1)
    joined = (given.longest_list + given.longest_text // CHARS_PER_STEP) * reading.plus_signs**2
    if steps > MAX_STEPS or joined > MAX_STEPS or moved > MAX_MOVED:
        raise ValueProblem("EXPRESSION_TOO_COSTLY", f"The lists are too long for this expression: {length} items.")


def _check_looks(reading: Reading, given: _Given, roots: Mapping[str, Json]) -> None:
    """Every pass of a macro looks at all of what is mentioned in it, and may look at all of its own item."""
    length = max(given.longest_list, reading.commas + 1) * (reading.plus_signs + 1)
    sizes = {path: _parts_at(path, roots) for path, _ in reading.mentions}
    looked_at = sum(length**depth * sizes[path] for path, depth in reading.mentions)
    looked_at += sum(length**macro.depth * given.largest_item for macro in reading.macros)
    if looked_at > MAX_LOOKED_AT:
        raise ValueProblem("EXPRESSION_TOO_COSTLY", f"The lists are too long for this expression: {length} items.")


def _parts_at(path: str, roots: Mapping[str, Json]) -> int:
    """How many parts there are at a path; an index in a list counts as all of the list."""
    found: Any = roots
    for segment in path.split("."):
        if not isinstance(found, Mapping) or segment not in found:
            break
        found = found[segment]
    count, stack = 0, [found]
    while stack:
        value = stack.pop()
        count += 1
        if isinstance(value, Mapping | list):
            stack.extend(value.values() if isinstance(value, Mapping) else value)
    return count
