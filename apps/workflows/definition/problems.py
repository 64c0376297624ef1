from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """`code` is UPPER_CASE; `pointer` is a JSON pointer in the definition, empty for all of it."""

    code: str
    pointer: str
    message: str
