"""The first case that is true says by which handle the run goes on."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

from apps.workflows.definition.expressions import check_expression, expression_references, is_true
from apps.workflows.definition.values import Reference, ValueProblem
from apps.workflows.nodes import fields
from apps.workflows.nodes.base import NodeCall, NodeFailure, NodeKind, Result

MAX_CASES = 50


class Condition(NodeKind):
    """Its output is the handle."""

    kind = "condition"
    is_instant = True
    literals = frozenset({"cases"})
    config_schema: ClassVar[dict[str, Any]] = fields.config(
        "Goes on by the handle of the first case that is true.",
        {
            "cases": {
                "type": "array",
                "description": "In this order.",
                "minItems": 1,
                "maxItems": MAX_CASES,
                "items": fields.config(
                    "One case.",
                    {
                        "handle": fields.handle("By which edges it goes on."),
                        "expr": fields.text(
                            "CEL that gives true or false: `nodes.classify.output.priority == 'high'`.",
                            fields.MAX_EXPRESSION,
                            1,
                        ),
                    },
                    "handle",
                    "expr",
                ),
            },
            "default": fields.handle("By which edges it goes on when no case is true."),
        },
        "cases",
        "default",
    )

    def handles(self, config: Mapping[str, Any]) -> tuple[str, ...]:
        return tuple(dict.fromkeys([*(case["handle"] for case in config["cases"]), config["default"]]))

    def check(self, config: Mapping[str, Any]) -> list[tuple[str, str, str]]:
        problems = []
        for number, case in enumerate(config["cases"]):
            try:
                check_expression(case["expr"])
            except ValueProblem as problem:
                problems.append((problem.code, problem.message, f"cases/{number}/expr"))
        return problems

    def references(self, config: Mapping[str, Any]) -> list[Reference]:
        return [
            replace(one, pointer=f"/cases/{number}/expr")
            for number, case in enumerate(config["cases"])
            for one in expression_references(case["expr"])
        ]

    def run(self, call: NodeCall) -> Result:
        for number, case in enumerate(call.config["cases"]):
            try:
                if is_true(case["expr"], call.scope):
                    return Result(case["handle"], handle=case["handle"])
            except ValueProblem as problem:
                raise NodeFailure(problem.code, f"cases.{number}.expr: {problem.message}") from problem
        return Result(call.config["default"], handle=call.config["default"])
