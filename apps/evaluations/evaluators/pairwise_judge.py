from collections.abc import Mapping
from typing import Any, ClassVar

from apps.evaluations.evaluators.judge import COMMON, Bill, Judge, Vote, caller_of, question, vote
from apps.evaluations.evaluators.reading import config, is_same
from apps.evaluations.evaluators.scales import CategoricalScale, Scale
from apps.workflows.evaluating import Context, Score, ScoreKind

_TASK = (
    "You are an impartial judge. Two answers to the same input are compared: say by the rubric, and by nothing else, "
    "which is better. Their order says nothing, and neither does their length.\n"
    'The verdict is "first", "second", or "tie" where neither is better.'
)
_VERDICT = {"type": "string", "enum": ["first", "second", "tie"]}
_SCALE = CategoricalScale({"loss": 0.0, "tie": 0.5, "win": 1.0})
# By what was said when the output was first, and when it was second.
_OUTCOMES = {("first", "second"): "win", ("second", "first"): "loss"}


class PairwiseJudge(Judge):
    """Whether the output is better than the baseline's, as a model judges by a rubric: 1 win, 0.5 tie, 0 loss.

    The two are shown in both orders. What wins in one order only is a tie, so that a liking for a place cancels out.
    """

    kind = "pairwise_judge"
    score_type: ClassVar[ScoreKind] = "numeric"
    compares_two = True
    config_schema: ClassVar[dict[str, Any]] = config(COMMON, "model_id", "rubric")

    def scale(self, config: Mapping[str, Any]) -> Scale:
        return _SCALE

    def evaluate(self, config: Mapping[str, Any], context: Context) -> Score:
        if is_same(context.output, context.other_output):
            return Score(_SCALE.values["tie"], None, "tie", "Both outputs are the same.")
        bill = Bill()
        votes = [
            _vote(config, context, "as-first", (context.output, context.other_output), bill),
            _vote(config, context, "as-second", (context.other_output, context.output), bill),
        ]
        first, second = votes
        label = _OUTCOMES.get((first.verdict, second.verdict), "tie")
        return Score(
            _SCALE.values[label],
            None,
            label,
            _reason(label, first, second),
            bill.cost_usd,
            tuple(bill.execution_ids),
            {"as_first": first.as_json(), "as_second": second.as_json()},
        )


def _vote(config: Mapping[str, Any], context: Context, key: str, pair: tuple[Any, Any], bill: Bill) -> Vote:
    asked = question(config, context, task=_TASK, material={"first": pair[0], "second": pair[1]}, scale=_VERDICT)
    return vote(caller_of(context), asked, key, bill)


def _reason(label: str, first: Vote, second: Vote) -> str:
    if label != "tie" or first.verdict == second.verdict == "tie":
        return first.reason
    return f"Not the same in both orders. Shown first: {first.reason} Shown second: {second.reason}"
