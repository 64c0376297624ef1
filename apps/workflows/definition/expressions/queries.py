"""JMESPath: JSON from JSON. What a query makes is weighed as it is made, for `[@,@]|[@,@]|…` doubles at every step."""

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import orjson
from jmespath.exceptions import JMESPathError
from jmespath.functions import Functions
from jmespath.parser import Parser
from jmespath.visitor import TreeInterpreter

from apps.prompts.rendering.values import find_problem
from apps.workflows.definition.expressions.reading import MAX_CHARS
from apps.workflows.definition.values import Reference, ValueProblem, check_size
from apps.workflows.definition.weights import MAX_SIZE, Weights

Json = Any

MAX_STEPS = 500_000
MAX_WEIGHED = 4 * MAX_SIZE
_PROJECTIONS = frozenset({"projection", "value_projection", "filter_projection"})


def check_jmespath(expression: str) -> None:
    """Raises ValueProblem INVALID_EXPRESSION, EXPRESSION_TOO_LARGE."""
    _parsed(expression)


def search(expression: str, data: Json) -> Json:
    """What the expression finds in the data; null when there is nothing. Raises ValueProblem."""
    try:
        found = _Interpreter().visit(_parsed(expression), data)
    except (JMESPathError, TypeError, ValueError, ArithmeticError, AttributeError, KeyError) as error:
        raise ValueProblem("INVALID_EXPRESSION", str(error)[:300]) from error
    except RecursionError as error:
        raise ValueProblem("EXPRESSION_TOO_LARGE", "The expression or the data is nested too deeply.") from error
    check_size(found)
    problem = find_problem(found)
    if problem is not None:
        raise ValueProblem("INVALID_EXPRESSION", f"The result is not JSON: {problem[1]}")
    try:
        orjson.dumps(found)
    except orjson.JSONEncodeError as error:
        raise ValueProblem("INVALID_EXPRESSION", "Whole numbers have 64 bits at most.") from error
    return found


def jmespath_references(expression: str) -> list[Reference]:
    """What an expression over all roots refers to. They have a default: what is missing is null in JMESPath."""
    paths = dict.fromkeys(".".join(path) for path in _used(_parsed(expression)) if path)
    return [Reference(path, has_default=True, pointer="") for path in paths]


@lru_cache(maxsize=1024)
def _parsed(expression: str) -> Any:
    if len(expression) > MAX_CHARS:
        raise ValueProblem("EXPRESSION_TOO_LARGE", f"At most {MAX_CHARS} characters.")
    try:
        return Parser().parse(expression).parsed
    except (JMESPathError, ValueError) as error:
        raise ValueProblem("INVALID_EXPRESSION", str(error).splitlines()[0][:300]) from error
    except RecursionError as error:
        raise ValueProblem("EXPRESSION_TOO_LARGE", "The expression is nested too deeply.") from error


def _too_costly() -> ValueProblem:
    return ValueProblem("EXPRESSION_TOO_COSTLY", "The expression does more than is allowed for one node.")


class _Interpreter(TreeInterpreter):
    """Counts its steps and weighs what functions, comparisons and new lists take and give."""

    def __init__(self) -> None:
        super().__init__()
        self._functions: Any = Functions()
        self._steps = 0
        self._weighed_in_all = 0
        self._weights = Weights()

    def visit(self, node: Any, *args: Any, **kwargs: Any) -> Any:
        self._steps += 1
        if self._steps > MAX_STEPS:
            raise _too_costly()
        return super().visit(node, *args, **kwargs)

    def visit_function_expression(self, node: Any, value: Any) -> Any:
        arguments = [self.visit(child, value) for child in node["children"]]
        self._spend(arguments)
        return self._weighed(self._functions.call_function(node["value"], arguments))

    def visit_comparator(self, node: Any, value: Any) -> Any:
        return super().visit_comparator(self._with_results(node, value), value)

    def visit_flatten(self, node: Any, value: Any) -> Any:
        return self._weighed(super().visit_flatten(self._with_results(node, value), value))

    def _with_results(self, node: Any, value: Any) -> Any:
        """The node over what its children come to, once that has been weighed."""
        results = [self.visit(child, value) for child in node["children"]]
        self._spend(results)
        return {**node, "children": [{"type": "literal", "value": result, "children": []} for result in results]}

    def visit_multi_select_list(self, node: Any, value: Any) -> Any:
        return self._weighed(super().visit_multi_select_list(node, value))

    def visit_multi_select_dict(self, node: Any, value: Any) -> Any:
        return self._weighed(super().visit_multi_select_dict(node, value))

    def _spend(self, values: list[Any]) -> None:
        self._weighed_in_all += sum(map(self._weights.of, values))
        if self._weighed_in_all > MAX_WEIGHED:
            raise _too_costly()

    def _weighed(self, value: Any) -> Any:
        self._weights.of(value)
        return value


Path = tuple[str, ...] | None


def _used(node: Any) -> Iterator[Path]:
    found: list[Path] = []
    found.append(_follow(node, (), found))
    return iter(found)


def _follow(node: Any, at: Path, found: list[Path]) -> Path:
    """The path of what a node gives when it stands at `at`; None is a part of something that was noted as used."""
    kind, children = node["type"], node["children"]
    if kind == "field":
        return None if at is None else (*at, node["value"])
    if kind in {"current", "identity"}:
        return at
    if kind in {"subexpression", "index_expression", "pipe"}:
        for child in children:
            at = _follow(child, at, found)
        return at
    if kind == "index":
        return None if at is None else (*at, str(node["value"]))
    if kind in _PROJECTIONS:
        found.append(_follow(children[0], at, found))
        found.extend(_follow(child, None, found) for child in children[1:])
        return None
    if kind == "expref":
        at = None
    if kind not in {"slice", "literal"}:
        found.extend(_follow(child, at, found) for child in children)
    elif kind == "slice":
        found.append(at)
    return None
