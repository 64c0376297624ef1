from collections.abc import Mapping
from typing import Any, ClassVar

from apps.evaluations.evaluators.reading import config, to_text
from apps.workflows.evaluating import ABSENT, Context, EvaluationError, Evaluator, Score

ALL, ANY, NONE = "all", "any", "none"


class Contains(Evaluator):
    """Whether the output has these texts, or the expected one where none are named.

    The score with `all` is the share of those found, with `any` and `none` 1 or 0.
    """

    kind = "contains"
    score_type = "numeric"
    config_schema: ClassVar[dict[str, Any]] = config(
        {
            "texts": {
                "type": "array",
                "items": {"type": "string", "minLength": 1, "maxLength": 2000},
                "minItems": 1,
                "maxItems": 100,
            },
            "mode": {"enum": [ALL, ANY, NONE], "default": ALL},
            "ignore_case": {"type": "boolean", "default": False},
        }
    )

    def evaluate(self, config: Mapping[str, Any], context: Context) -> Score:
        ignores_case = config.get("ignore_case", False)
        texts = [_folded(text, ignores_case) for text in _wanted(config, context)]
        output = _folded(to_text(context.output), ignores_case)
        found = [text for text in texts if text in output]
        mode = config.get("mode", ALL)
        if mode == ALL:
            missing = [text for text in texts if text not in found]
            reason = f"Missing: {', '.join(missing)}"[:500] if missing else ""
            return Score(len(found) / len(texts), not missing, reason=reason)
        passed = bool(found) == (mode == ANY)
        reason = f"Found: {', '.join(found)}"[:500] if found else "None of the texts is in the output."
        return Score(float(passed), passed, reason="" if passed else reason)


def _wanted(config: Mapping[str, Any], context: Context) -> list[str]:
    if "texts" in config:
        texts: list[str] = config["texts"]
        return texts
    if context.expected is ABSENT:
        raise EvaluationError("NOTHING_EXPECTED", "Neither texts nor an expected one are given.")
    found = [to_text(one) for one in (context.expected if isinstance(context.expected, list) else [context.expected])]
    if not all(found) or not found:
        raise EvaluationError("NOTHING_EXPECTED", "The expected text is empty.")
    return found


def _folded(text: str, ignores_case: bool) -> str:
    return text.casefold() if ignores_case else text
