import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from apps.evaluations.evaluators.judge import COMMON, Bill, Judge, Vote, caller_of, question, vote
from apps.evaluations.evaluators.reading import config
from apps.evaluations.evaluators.scales import SCALE_SCHEMA, Scale, Verdict, scale_of, scale_problems
from apps.workflows.evaluating import Context, Score, ScoreKind

_TASK = "You are an impartial judge. Judge the output by the rubric, and by nothing else."


class LLMJudge(Judge):
    """A model's judgement of the output by a rubric: yes or no, a number, or one of several labels.

    Several votes are possible. An answer that does not fit is asked for again; without a valid one there is no score.
    """

    kind = "llm_judge"
    score_type: ClassVar[ScoreKind] = "boolean"
    config_schema: ClassVar[dict[str, Any]] = config(
        {
            **COMMON,
            "scale": SCALE_SCHEMA,
            "threshold": {
                "type": "number",
                "minimum": -1_000_000,
                "maximum": 1_000_000,
                "description": "The lowest score that passes; without it there is no verdict.",
            },
            "repeats": {"type": "integer", "minimum": 1, "maximum": 9, "default": 1, "description": "Votes."},
            "aggregate": {
                "enum": ["majority", "mean", "median"],
                "description": "What several votes come to: majority of labels, mean (or median) of numbers.",
            },
        },
        "model_id",
        "rubric",
        "scale",
    )

    def scale(self, config: Mapping[str, Any]) -> Scale:
        return scale_of(config["scale"])

    def score_type_of(self, config: Mapping[str, Any]) -> ScoreKind:
        return self.scale(config).score_type

    def check(self, config: Mapping[str, Any]) -> list[tuple[str, str]]:
        problems = super().check(config)
        problems += [(why, f"scale/{where}") for why, where in scale_problems(config["scale"])]
        return problems or _vote_problems(self.scale(config), config)

    def evaluate(self, config: Mapping[str, Any], context: Context) -> Score:
        scale, bill = self.scale(config), Bill()
        asked = question(
            config,
            context,
            task=f"{_TASK}\n{scale.describe()}",
            material={"output": context.output},
            scale=scale.schema,
        )
        votes = [vote(caller_of(context), asked, f"vote-{number}", bill) for number in range(config.get("repeats", 1))]
        return _score(scale, config, votes, bill)


def _vote_problems(scale: Scale, config: Mapping[str, Any]) -> list[tuple[str, str]]:
    if config.get("aggregate", scale.aggregates[0]) not in scale.aggregates:
        return [(f"One of {', '.join(scale.aggregates)} is for this scale.", "aggregate")]
    if "majority" in scale.aggregates and config.get("repeats", 1) % 2 == 0:
        return [("An odd number, so that there is a majority.", "repeats")]
    if "threshold" not in config:
        return []
    if scale.score_type == "boolean":
        return [("A yes or no needs none.", "threshold")]
    lowest, highest = scale.range
    return [] if lowest <= config["threshold"] <= highest else [("It is beyond the scale.", "threshold")]


def _score(scale: Scale, config: Mapping[str, Any], votes: Sequence[Vote], bill: Bill) -> Score:
    aggregate = config.get("aggregate", scale.aggregates[0])
    verdicts = [one.verdict for one in votes]
    if aggregate == "majority":
        outcome = _majority(verdicts, bill)
    else:
        numbers = [float(verdict) for verdict in verdicts]
        outcome = statistics.fmean(numbers) if aggregate == "mean" else statistics.median(numbers)
    value = scale.value_of(outcome)
    nearest = min(votes, key=lambda one: abs(scale.value_of(one.verdict) - value))
    return Score(
        value,
        _passed(scale, value, config.get("threshold")),
        scale.label_of(outcome),
        nearest.reason,
        bill.cost_usd,
        tuple(bill.execution_ids),
        {"aggregate": aggregate, "votes": [one.as_json() for one in votes]},
    )


def _majority(verdicts: Sequence[Verdict], bill: Bill) -> Verdict:
    """The most frequent one. Raises EvaluationError when two are."""
    (first, most), *others = Counter(verdicts).most_common(2)
    if others and others[0][1] == most:
        raise bill.error("NO_MAJORITY", f"The votes are divided: {', '.join(map(str, verdicts))}.")
    return first


def _passed(scale: Scale, value: float, threshold: float | None) -> bool | None:
    if scale.score_type == "boolean":
        return bool(value)
    return None if threshold is None else value >= threshold
