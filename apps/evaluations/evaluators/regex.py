"""Regular expressions of Rust's `regex`, whose time is linear in the text: they know no look-around and no \\1."""

import re
from collections.abc import Mapping
from functools import cache
from typing import Any, ClassVar

from apps.evaluations.evaluators.reading import config, to_text
from apps.workflows.evaluating import Context, EvaluationError, Evaluator, Score, verdict

# Time is the weight times the text: [01]*1[01]{2000}x on 50,000 random digits, twice what is allowed, took a second.
MAX_PATTERN, MAX_WEIGHT, MAX_TEXT = 500, 1_000, 50_000
_VERBOSE = re.compile(r"\(\?[a-zA-Z-]*x")
_PIECE = re.compile(r"\\.|\[(?:\\.|[^\\\]])*\]|\{(\d+)(?:,(\d*))?\}|[()]|.", re.DOTALL)


class Regex(Evaluator):
    """Whether the output matches a regular expression, or has a part that does.

    In the syntax of Rust's regex, whose time is linear in the text: without look-around and back-references. At most
    50,000 characters of output.
    """

    kind = "regex"
    config_schema: ClassVar[dict[str, Any]] = config(
        {
            "pattern": {"type": "string", "minLength": 1, "maxLength": MAX_PATTERN},
            "mode": {"enum": ["search", "full"], "default": "search", "description": "full: the whole output."},
            "ignore_case": {"type": "boolean", "default": False},
        },
        "pattern",
    )

    def check(self, config: Mapping[str, Any]) -> list[tuple[str, str]]:
        try:
            matches(_pattern(config), "")
        except EvaluationError as error:
            return [(error.message, "pattern")]
        return []

    def evaluate(self, config: Mapping[str, Any], context: Context) -> Score:
        text = to_text(context.output)
        if len(text) > MAX_TEXT:
            raise EvaluationError("TOO_LARGE", f"The output has more than {MAX_TEXT} characters.")
        passed = matches(_pattern(config), text)
        return verdict(passed=passed, reason="" if passed else "The pattern is not in the output.")


def matches(pattern: str, text: str) -> bool:
    """Raises EvaluationError for a pattern that is none, or too large."""
    if _VERBOSE.search(pattern):
        raise EvaluationError("INVALID_PATTERN", "The flag x is not offered.")
    if weight_of(pattern) > MAX_WEIGHT:
        raise EvaluationError("INVALID_PATTERN", f"Written out, it has more than {MAX_WEIGHT} characters.")
    try:
        return bool(_program().execute({"text": text, "pattern": pattern}))
    except RuntimeError as error:
        reason = str(error).rpartition("error: ")[2] or str(error)
        raise EvaluationError("INVALID_PATTERN", reason.splitlines()[0].strip()[:300]) from error


def weight_of(pattern: str) -> int:
    """Characters of a pattern whose counted repetitions are written out; never less."""
    groups, last = [0], 0
    for piece in _PIECE.finditer(pattern):
        text, least, most = piece.group(0, 1, 2)
        if least is not None:
            size = last * max(1, int((most or least)[:9]))
            groups[-1] += size - last
            last = size
        elif text == "(":
            groups.append(0)
            last = 0
        else:
            closes = text == ")" and len(groups) > 1
            size = groups.pop() if closes else 1
            groups[-1] += size
            last = last if text in {"*", "+", "?"} else size
    return sum(groups)


def _pattern(config: Mapping[str, Any]) -> str:
    pattern: str = config["pattern"]
    if config.get("mode", "search") == "full":
        pattern = rf"\A(?:{pattern})\z"
    return f"(?i){pattern}" if config.get("ignore_case", False) else pattern


@cache
def _program() -> Any:
    import cel  # noqa: PLC0415 (it costs half a second, which processes that evaluate nothing save)

    return cel.compile("text.matches(pattern)")
