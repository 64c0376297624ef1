"""Values in a configuration: JSON in which `{"$ref": …}` and `{{…}}` stand for what the run has come to."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Json = Any


@dataclass(frozen=True, slots=True)
class Scope:
    """What a value may refer to, by root name.

    `inputs` of the run; `nodes`: id → {status, handle, output, error} of those that have ended; `run`: {id}. In the
    body of a map also `item` and `index`, of a loop `iteration` (from 0) and `last` (the pass before's output, null
    at first).
    """

    roots: Mapping[str, Json]

    def with_roots(self, **roots: Json) -> "Scope":
        return Scope({**self.roots, **roots})
