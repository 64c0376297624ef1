"""The filters and tests of the Jinja2 format: deterministic, without regular expressions, paid before they work."""

import json
from collections.abc import Callable, Iterator
from functools import wraps
from itertools import islice
from typing import Any, cast

from jinja2 import Environment, Undefined
from jinja2 import filters as stock
from jinja2 import tests as stock_tests
from jinja2.filters import make_attrgetter
from jinja2.utils import pass_environment

from apps.prompts.rendering.budget import current_budget
from apps.prompts.rendering.errors import RenderError
from apps.prompts.rendering.limits import MAX_VALUE_SIZE
from apps.prompts.rendering.values import MAX_INT_BITS, measure, to_text

MAX_DIGITS = 15
MAX_WIDTH = 1_000


def guarded(function: Callable[..., Any]) -> Callable[..., Any]:
    """Pay for the call and its result; a lazy result becomes a list; an undefined input is an error."""

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        budget = current_budget.get()
        budget.step()
        result = function(*args, **kwargs)
        if isinstance(result, Iterator):
            result = list(islice(result, MAX_VALUE_SIZE + 1))
        return budget.keep(result)

    return call


def require_text(value: Any) -> str:
    """Text as it is; anything else by its text."""
    if isinstance(value, Undefined):
        str(value)
    if isinstance(value, str):
        return value
    if not isinstance(value, int | float | list | tuple | dict | None):
        raise TypeError(f"a value of type {type(value).__name__} is not text")
    current_budget.get().step(measure(value, MAX_VALUE_SIZE))
    return to_text(value)


def require_size(value: Any, largest: int) -> int:
    if not isinstance(value, int) or not 0 <= value <= largest:
        raise RenderError(f"A width or a count must be between 0 and {largest}.")
    return value


def center(value: Any, width: int = 80) -> str:
    return require_text(value).center(require_size(width, MAX_WIDTH))


def indent(value: Any, width: int = 4, first: bool = False, blank: bool = False) -> str:  # noqa: FBT001, FBT002, RUF100 (Jinja2's own signature)
    """Indent every line but the first (unless `first`); blank lines stay (unless `blank`)."""
    text = require_text(value)
    prefix = " " * require_size(width, MAX_WIDTH)
    pay(len(text) + (text.count("\n") + 1) * len(prefix))
    lines = [prefix + line if line or blank else line for line in text.split("\n")]
    indented = "\n".join(lines)
    return indented if first else indented[len(lines[0]) - len(text.split("\n", 1)[0]) :]


def pay(size: int) -> None:
    """Pay for `size` characters that are about to be made."""
    if size > MAX_VALUE_SIZE:
        raise RenderError(f"A value is larger than {MAX_VALUE_SIZE} characters.")
    current_budget.get().step(size)


def replace(value: Any, old: str, new: str, count: int = -1) -> str:
    """Replace `old` by `new`, at most `count` times when it is not negative."""
    text, old, new = require_text(value), require_text(old), require_text(new)
    found = len(text) + 1 if not old else text.count(old)
    times = found if count is None or count < 0 else min(found, count)
    pay(len(text) + times * max(len(new) - len(old), 0))
    return text.replace(old, new, times)


@pass_environment
def join(environment: Environment, value: Any, d: Any = "", attribute: str | int | None = None) -> str:
    """The texts of a list, with `d` between them."""
    items = require_items(value)
    if attribute is not None:
        items = list(map(make_attrgetter(environment, attribute), items))
    separator = require_text(d)
    pay(len(separator) * len(items) + measure(items, MAX_VALUE_SIZE))
    return separator.join(require_text(item) for item in items)


def require_items(value: Any) -> list[Any]:
    if isinstance(value, Undefined):
        str(value)
    if not isinstance(value, str | list | tuple | dict):
        raise TypeError(f"a value of type {type(value).__name__} is not a list")
    return list(value)


@pass_environment
def total(environment: Environment, value: Any, attribute: str | int | None = None, start: float = 0) -> Any:
    """The sum of numbers."""
    items = require_items(value)
    if attribute is not None:
        items = list(map(make_attrgetter(environment, attribute), items))
    if not all(isinstance(item, int | float) for item in [*items, start]):
        raise TypeError("only numbers can be summed")
    return sum(items, start)


def rounded(value: float, precision: int = 0, method: str = "common") -> float:
    if not isinstance(value, int | float) or abs(precision) > MAX_DIGITS:
        raise RenderError(f"round works on numbers, with a precision of at most {MAX_DIGITS}.")
    return stock.do_round(value, precision, method)  # type: ignore[arg-type]  # the method is checked by the filter


def to_integer(value: Any, default: int = 0, base: int = 10) -> int:
    if isinstance(value, str) and len(value) * 6 > MAX_INT_BITS:
        return default
    return stock.do_int(value, default, base)


def to_json(value: Any, indent: int | None = None) -> str:
    """JSON as it is written in a prompt: keys in order, characters as they are, no HTML escapes."""
    if isinstance(value, Undefined):
        str(value)
    if not isinstance(value, str | int | float | list | tuple | dict | None):
        raise TypeError(f"a value of type {type(value).__name__} is not JSON")
    width = None if indent is None else require_size(indent, 8)
    size = measure(value, MAX_VALUE_SIZE)
    pay(size * (2 if width is None else 2 + width))
    return json.dumps(value, ensure_ascii=False, indent=width)


def word_count(value: Any) -> int:
    return len(require_text(value).split())


def text_filter(method: str) -> Callable[[Any], str]:
    """A filter that calls a method of the text without arguments."""

    def apply(value: Any) -> str:
        changed: str = getattr(require_text(value), method)()
        return changed

    return apply


def trim(value: Any, chars: str | None = None) -> str:
    return require_text(value).strip(chars)


def items(value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, Undefined):
        str(value)
    return list(value.items()) if isinstance(value, dict) else _no_items(value)


def _no_items(value: Any) -> list[tuple[str, Any]]:
    raise TypeError(f"a value of type {type(value).__name__} has no items")


def truncate(value: Any, length: int = 255, killwords: bool = False, end: str = "...") -> str:  # noqa: FBT001, FBT002, RUF100 (Jinja2's own signature)
    """At most `length` characters, cut at a word unless `killwords`, with `end` after the cut."""
    text, end = require_text(value), require_text(end)
    if len(text) <= length:
        return text
    cut = text[: max(require_size(length, MAX_VALUE_SIZE) - len(end), 0)]
    return (cut if killwords else cut.rsplit(" ", 1)[0]) + end


def reverse(value: Any) -> Any:
    return value[::-1] if isinstance(value, str) else require_items(value)[::-1]


def as_list(value: Any) -> list[Any]:
    return require_items(value)


def length(value: Any) -> int:
    return len(value) if isinstance(value, str | dict) else len(require_items(value))


_OWN: dict[str, Callable[..., Any]] = {
    "abs": abs,
    "capitalize": text_filter("capitalize"),
    "center": center,
    "count": length,
    "d": stock.do_default,
    "default": stock.do_default,
    "dictsort": stock.do_dictsort,
    "first": stock.do_first,
    "float": stock.do_float,
    "indent": indent,
    "int": to_integer,
    "items": items,
    "join": join,
    "last": stock.do_last,
    "length": length,
    "list": as_list,
    "lower": text_filter("lower"),
    "map": stock.do_map,
    "max": stock.do_max,
    "min": stock.do_min,
    "reject": stock.do_reject,
    "rejectattr": stock.do_rejectattr,
    "replace": replace,
    "reverse": reverse,
    "round": rounded,
    "select": stock.do_select,
    "selectattr": stock.do_selectattr,
    "sort": stock.do_sort,
    "string": require_text,
    "sum": total,
    "title": text_filter("title"),
    "tojson": to_json,
    "trim": trim,
    "truncate": truncate,
    "unique": stock.do_unique,
    "upper": text_filter("upper"),
    "wordcount": word_count,
}
_TEST_NAMES = [
    "!=",
    "<",
    "<=",
    "==",
    ">",
    ">=",
    "boolean",
    "defined",
    "divisibleby",
    "eq",
    "equalto",
    "even",
    "false",
    "float",
    "ge",
    "greaterthan",
    "gt",
    "in",
    "integer",
    "le",
    "lessthan",
    "lower",
    "lt",
    "mapping",
    "ne",
    "none",
    "number",
    "odd",
    "sequence",
    "string",
    "true",
    "undefined",
    "upper",
]

FILTERS = {name: guarded(function) for name, function in _OWN.items()}
_STOCK_TESTS = cast("dict[str, Callable[..., Any]]", stock_tests.TESTS)
TESTS = {name: guarded(_STOCK_TESTS[name]) for name in _TEST_NAMES}
