"""JSON from JSON, by JMESPath."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

from apps.workflows.definition.expressions import check_jmespath, jmespath_references, search
from apps.workflows.definition.values import Reference, ValueProblem
from apps.workflows.nodes import fields
from apps.workflows.nodes.base import NodeCall, NodeFailure, NodeKind, Result
from apps.workflows.nodes.resolving import resolved, visible_roots


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

    def references(self, config: Mapping[str, Any]) -> list[Reference]:
        if "input" in config:
            return super().references(config)
        return [replace(one, pointer="/expression") for one in jmespath_references(config["expression"])]

    def run(self, call: NodeCall) -> Result:
        data = resolved(call, "input") if "input" in call.config else visible_roots(call.scope)
        try:
            return Result(search(call.config["expression"], data))
        except ValueProblem as problem:
            raise NodeFailure(problem.code, problem.message) from problem
