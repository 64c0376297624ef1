"""Where branches come together again."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from apps.workflows.definition.weights import Room
from apps.workflows.nodes import fields
from apps.workflows.nodes.base import Incoming, NodeCall, NodeKind, Result

ALL, ANY, FIRST = "all", "any", "first"


class Join(NodeKind):
    kind = "join"
    is_instant = True
    config_schema: ClassVar[dict[str, Any]] = fields.config(
        "Brings branches together.",
        {
            "mode": fields.choice(
                ALL,
                ANY,
                FIRST,
                description="all: runs when every edge that leads here is active; any: when one is; first: when one is,"
                " and gives the output of the first active one in the order of the edges.",
                default=ALL,
            )
        },
    )

    def is_ready(self, config: Mapping[str, Any], incoming: Sequence[Incoming]) -> bool:
        if _mode(config) == ALL:
            return all(one.is_active for one in incoming)
        return any(one.is_active for one in incoming)

    def run(self, call: NodeCall) -> Result:
        outputs = {one.edge.source: one.output for one in reversed(call.incoming) if one.is_active}
        outputs = dict(reversed(outputs.items()))
        if _mode(call.config) != FIRST:
            return Result(_with_room(outputs))
        return Result(next(iter(outputs.values()), None))


def _with_room(outputs: dict[str, Any]) -> dict[str, Any]:
    """Raises ValueProblem when all of them are too much for one output."""
    room = Room()
    for output in outputs.values():
        room.take(output)
    return outputs


def _mode(config: Mapping[str, Any]) -> str:
    mode: str = config.get("mode", ALL)
    return mode
