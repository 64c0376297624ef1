"""The environment that runs a hardened Jinja2 template: what it may reach, and what each operation costs.

Only JSON values, loops and macros exist in it. Names of an object's keys win over methods, and of methods only those
below are there; nothing else has attributes.
"""

import operator
from collections.abc import Callable, Iterator
from typing import Any

from jinja2 import StrictUndefined, Undefined
from jinja2.runtime import Context, LoopContext, Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment

from apps.prompts.rendering.budget import current_budget
from apps.prompts.rendering.errors import RenderError
from apps.prompts.rendering.filters import FILTERS, TESTS, replace
from apps.prompts.rendering.limits import MAX_ITERATIONS, MAX_VALUE_SIZE
from apps.prompts.rendering.values import MAX_INT_BITS, measure, to_text

STR_METHODS = frozenset(
    [
        "capitalize",
        "count",
        "endswith",
        "find",
        "isalnum",
        "isalpha",
        "isdigit",
        "islower",
        "isnumeric",
        "isspace",
        "isupper",
        "lower",
        "lstrip",
        "partition",
        "removeprefix",
        "removesuffix",
        "replace",
        "rfind",
        "rstrip",
        "split",
        "splitlines",
        "startswith",
        "strip",
        "swapcase",
        "title",
        "upper",
    ]
)
DICT_METHODS = frozenset({"get", "items", "keys", "values"})
LIST_METHODS = frozenset({"count", "index"})
LOOP_ATTRIBUTES = frozenset(
    [
        "changed",
        "cycle",
        "depth",
        "depth0",
        "first",
        "index",
        "index0",
        "last",
        "length",
        "nextitem",
        "previtem",
        "revindex",
        "revindex0",
    ]
)
OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "-": operator.sub,
    "/": operator.truediv,
    "//": operator.floordiv,
}


class Method:
    """A method of a text, an object or a list, with its result paid for."""

    __slots__ = ("_name", "_owner")

    def __init__(self, owner: Any, name: str) -> None:
        self._owner = owner
        self._name = name

    def __call__(self, *args: Any) -> Any:
        budget = current_budget.get()
        budget.step()
        if self._name == "replace":
            return replace(self._owner, *args)
        result = getattr(self._owner, self._name)(*args)
        return budget.keep(list(result) if isinstance(self._owner, dict) and self._name != "get" else result)


def bounded_range(*args: int) -> list[int]:
    """Python's range as a list of at most MAX_ITERATIONS numbers."""
    numbers = range(*args)
    if len(numbers[: MAX_ITERATIONS + 1]) > MAX_ITERATIONS:
        raise RenderError(f"A range is longer than {MAX_ITERATIONS}.")
    kept: list[int] = current_budget.get().keep(list(numbers))
    return kept


def iterate(value: Any) -> Iterator[Any]:
    """The items of a text, list or object, each one paid for."""
    if not isinstance(value, str | list | tuple | dict):
        raise TypeError(f"a value of type {type(value).__name__} is not iterable")
    return _paid(value)


def _paid(value: Any) -> Iterator[Any]:
    budget = current_budget.get()
    for item in value:
        budget.iterate()
        yield item


def concatenate(values: list[Any]) -> str:
    """The `~` operator."""
    budget = current_budget.get()
    budget.step(sum(measure(value, MAX_VALUE_SIZE) for value in values))
    return "".join(to_text(_printable(value)) for value in values)


def finalize(value: Any) -> str:
    """The text of a printed value."""
    budget = current_budget.get()
    value = _printable(value)
    budget.step(len(value) if isinstance(value, str) else measure(value, MAX_VALUE_SIZE))
    return to_text(value)


def keep(value: Any) -> Any:
    """Pay for a list or an object that was written in the template, or for a comparison."""
    return current_budget.get().keep(value)


def _printable(value: Any) -> Any:
    if isinstance(value, Undefined):
        str(value)
    if not isinstance(value, str | int | float | list | tuple | dict | None):
        raise TypeError(f"a value of type {type(value).__name__} cannot be printed")
    return value


class PromptEnvironment(ImmutableSandboxedEnvironment):
    intercepted_binops = frozenset({"+", "-", "*", "/", "//", "%", "**"})

    def __init__(self) -> None:
        super().__init__(
            undefined=StrictUndefined,
            finalize=finalize,
            optimized=False,
            keep_trailing_newline=True,
            autoescape=False,
            cache_size=0,
        )
        self.filters = {**FILTERS, "!iterate": iterate, "!concatenate": concatenate, "!keep": keep}
        self.tests = dict(TESTS)
        self.globals = {"range": bounded_range}

    def getattr(self, obj: Any, attribute: str) -> Any:
        """A key of an object, else an allowed method, else undefined."""
        if isinstance(obj, Undefined):
            str(obj)
        if isinstance(obj, dict) and attribute in obj:
            return obj[attribute]
        if _is_method(obj, attribute):
            return Method(obj, attribute)
        if isinstance(obj, LoopContext) and attribute in LOOP_ATTRIBUTES:
            return getattr(obj, attribute)
        return self.undefined(obj=obj, name=attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        """An item of a list or a text, else as `getattr`."""
        if isinstance(argument, str):
            return self.getattr(obj, argument)
        if isinstance(obj, Undefined):
            str(obj)
        if isinstance(obj, str | list | tuple) and isinstance(argument, int):
            try:
                return obj[argument]
            except LookupError:
                pass
        return self.undefined(obj=obj, name=argument)

    def call(self, context: Context, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Call a macro, a method, `range`, `loop.cycle` or `loop.changed`; nothing else is callable."""
        if isinstance(obj, Macro):
            return _call_macro(context, obj, args, kwargs)
        is_loop_method = isinstance(getattr(obj, "__self__", None), LoopContext)
        if not (isinstance(obj, Method) or obj is bounded_range or is_loop_method):
            if isinstance(obj, Undefined):
                str(obj)
            raise TypeError(f"a value of type {type(obj).__name__} cannot be called")
        current_budget.get().step()
        return context.call(obj, *args, **kwargs)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Arithmetic on numbers; `+` also joins texts and lists, `*` also repeats them. Sizes are paid beforehand."""
        for value in (left, right):
            if isinstance(value, Undefined):
                str(value)
        if operator == "+":
            return _add(left, right)
        if operator == "*":
            return _multiply(left, right)
        _require_numbers(operator, left, right)
        if operator == "**":
            return _power(left, right)
        return keep(left % right if operator == "%" else OPERATORS[operator](left, right))


def _is_method(obj: Any, name: str) -> bool:
    if isinstance(obj, str):
        return name in STR_METHODS
    if isinstance(obj, dict):
        return name in DICT_METHODS
    return isinstance(obj, list | tuple) and name in LIST_METHODS


def _call_macro(context: Context, macro: Macro, args: Any, kwargs: Any) -> Any:
    budget = current_budget.get()
    budget.enter()
    try:
        return budget.keep(context.call(macro, *args, **kwargs))
    finally:
        budget.depth -= 1


def _require_numbers(sign: str, left: Any, right: Any) -> None:
    if not (isinstance(left, int | float) and isinstance(right, int | float)):
        raise TypeError(f"unsupported operands for {sign}: {type(left).__name__} and {type(right).__name__}")


def _add(left: Any, right: Any) -> Any:
    both_joinable = isinstance(left, str | list | tuple) and type(left) is type(right)
    if not both_joinable:
        _require_numbers("+", left, right)
        return keep(left + right)
    current_budget.get().step(measure([left, right], MAX_VALUE_SIZE))
    return left + right


def _multiply(left: Any, right: Any) -> Any:
    if isinstance(left, int) and isinstance(right, str | list | tuple):
        left, right = right, left
    if not isinstance(left, str | list | tuple):
        _require_numbers("*", left, right)
        return keep(left * right)
    if not isinstance(right, int):
        raise TypeError(f"unsupported operands for *: {type(left).__name__} and {type(right).__name__}")
    size = measure(left, MAX_VALUE_SIZE) * max(right, 0)
    if size > MAX_VALUE_SIZE:
        raise RenderError(f"A value is larger than {MAX_VALUE_SIZE} characters.")
    current_budget.get().step(size)
    return left * right


def _power(left: Any, right: Any) -> Any:
    if isinstance(left, int) and isinstance(right, int) and left.bit_length() * abs(right) > MAX_INT_BITS:
        raise RenderError("A number is too large.")
    if left < 0 and not isinstance(right, int):
        raise ValueError("a negative number has no such power")
    return keep(left**right)
