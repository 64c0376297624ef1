"""JSON from JSON, by JMESPath."""

from collections.abc import Mapping
from typing import Any, ClassVar

from apps.workflows.definition.expressions import check_jmespath, search
from apps.workflows.definition.values import ValueProblem
from apps.workflows.nodes import fields
from apps.workflows.nodes.base import NodeCall, NodeFailure, NodeKind, Result
from apps.workflows.nodes.resolving import resolved


class Transform(NodeKind):
    kind = "transform"
    is_instant = True
    literals = frozenset({"expression"})
    config_schema: ClassVar[dict[str, Any]] = fields.config(
        "JSON from JSON, by a JMESPath expression.",
        {
            "expression": fields.text(
                "JMESPath over `input` where that is given, else over {inputs, nodes, …}:"
                " `nodes.search.output.hits[?score > `0.5`].title`.",
                fields.MAX_EXPRESSION,
                1,
            ),
            "input": fields.value("What the expression is applied to; without it all roots."),
        },
        "expression",
    )

    def check(self, config: Mapping[str, Any]) -> list[tuple[str, str, str]]:
        try:
            check_jmespath(config["expression"])
        except ValueProblem as problem:
            return [(problem.code, problem.message, "expression")]
        return []

    def run(self, call: NodeCall) -> Result:
        data = resolved(call, "input") if "input" in call.config else dict(call.scope.roots)
        try:
            return Result(search(call.config["expression"], data))
        except ValueProblem as problem:
            raise NodeFailure(problem.code, problem.message) from problem
