"""One attempt at a node, as the engine gives it to its kind."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from django.utils import timezone

from apps.models.providers.cancellation import Cancellation
from apps.workflows.definition.model import Edge, Node
from apps.workflows.definition.values import Scope
from apps.workflows.nodes.base import Incoming, NodeCall, Result, RunInfo
from apps.workflows.nodes.registry import kinds

Json = Any


@dataclass
class Attempts:
    """Of nodes of one run. `deltas` are the pieces that were streamed."""

    info: RunInfo
    deltas: list[str] = field(default_factory=list)

    def call(
        self,
        kind: str,
        config: Json,
        *,
        roots: Json = None,
        pin: Json = None,
        attempt: int = 1,
        path: str = "it",
        seconds: float = 10,
        age_s: float = 0,
        incoming: Sequence[Incoming] = (),
        cancellation: Cancellation | None = None,
    ) -> NodeCall:
        return NodeCall(
            run=self.info,
            node=Node(id="it", kind=kind, config=config, pointer="/nodes/0"),
            path=path,
            attempt=attempt,
            scope=Scope({"inputs": {}, "nodes": {}, **(roots or {})}),
            pin=pin or {},
            incoming=incoming,
            first_started_at=timezone.now() - timedelta(seconds=age_s),
            deadline=time.monotonic() + seconds,
            cancellation=cancellation or Cancellation(),
            emit=lambda delta: self.deltas.append(delta.text),
        )

    def run(self, kind: str, config: Json, **more: Json) -> Result:
        return kinds()[kind].run(self.call(kind, config, **more))


def came(source: str, output: Json, *, is_active: bool = True) -> Incoming:
    return Incoming(Edge(source, "it"), is_active, output)


class Pinner:
    """Keeps the problems: (code, where)."""

    def __init__(self, organization_id: Any) -> None:
        self.organization_id = organization_id
        self.problems: list[tuple[str, str]] = []

    def problem(self, code: str, message: str, field: str) -> None:
        assert message
        self.problems.append((code, field))


def ended(output: Json, status: str = "ok") -> Json:
    """A node's state, as scopes have it."""
    return {"status": status, "handle": "ok", "output": output, "error": None}
