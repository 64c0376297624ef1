"""The faults, in the order in which they are done."""

from collections.abc import Callable
from dataclasses import dataclass

from tests.faults.stack import Stack

Do = Callable[[Stack], str]


@dataclass(frozen=True)
class Fault:
    """`do` does it, asserts what clients saw, and says it in one line."""

    name: str
    do: Do


FAULTS: list[Fault] = []


def fault(name: str) -> Callable[[Do], Do]:
    def register(do: Do) -> Do:
        FAULTS.append(Fault(name, do))
        return do

    return register
