"""How large values are, counted in time that grows with their distinct parts, however often these are repeated."""

from collections.abc import Mapping
from typing import Any

import orjson

Json = Any

MAX_SIZE = 5_000_000
MAX_DEPTH = 64
PART = 8
"""Characters that a part counts as, besides those of texts and keys: punctuation, a number's digits."""


class ValueProblem(Exception):
    """A value or an expression cannot be read, or not be resolved. `code` is UPPER_CASE.

    `pointer` is where in the value that was looked at: a JSON pointer, empty for all of it.
    """

    def __init__(self, code: str, message: str, pointer: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.pointer = pointer


class Room:
    """For what is gathered of many results, each of which may be as large as a value: MAX_BYTES of JSON in all."""

    MAX_BYTES = 20_000_000

    def __init__(self) -> None:
        self._taken: list[int] = []

    def take(self, value: Json) -> None:
        """Raises ValueProblem VALUE_TOO_LARGE."""
        self._taken.append(len(orjson.dumps(value, default=str)))
        if sum(self._taken) > self.MAX_BYTES:
            raise ValueProblem("VALUE_TOO_LARGE", f"All of it comes to more than {self.MAX_BYTES} bytes of JSON.")


class Weights:
    """Sizes in characters, about as in JSON; a part that is there twice counts twice. Parts are kept and remembered."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[int, int, Json]] = {}

    def of(self, value: Json) -> int:
        """Raises ValueProblem VALUE_TOO_LARGE above MAX_SIZE or MAX_DEPTH."""
        return self._measure(value, 0)[0]

    def _measure(self, value: Json, depth: int) -> tuple[int, int]:
        """Size and height."""
        if isinstance(value, str):
            return self._checked(PART + len(value), 0)
        if not isinstance(value, Mapping | list):
            return PART, 0
        known = self._known.get(id(value))
        if known is None:
            known = (*self._measure_parts(value, depth), value)
            self._known[id(value)] = known
        return self._checked(known[0], known[1] + depth)[0], known[1]

    def _measure_parts(self, value: Mapping[str, Json] | list[Json], depth: int) -> tuple[int, int]:
        self._checked(PART * len(value), depth)
        size, height = PART, 0
        parts = value
        if isinstance(value, Mapping):
            size += sum(map(len, value))
            parts = list(value.values())
        for part in parts:
            own, below = self._measure(part, depth + 1)
            size += own
            height = max(height, below + 1)
            if size > MAX_SIZE:
                break
        return self._checked(size, height)

    def _checked(self, size: int, height: int) -> tuple[int, int]:
        if size > MAX_SIZE:
            raise ValueProblem("VALUE_TOO_LARGE", f"A value comes to more than {MAX_SIZE} characters.")
        if height > MAX_DEPTH:
            raise ValueProblem("VALUE_TOO_LARGE", f"A value is nested deeper than {MAX_DEPTH} levels.")
        return size, height
