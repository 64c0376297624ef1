"""Progress and tables on a terminal, and in lines where there is none."""

from typing import Any, Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from apps.evaluations.ci.reporting import Outcome, figures_text, interval_text, number_text, rule_text

Json = Any
_COLOURS = {
    "pass": "green", "fail": "red", "inconclusive": "yellow", "better": "green", "worse": "red",
}  # fmt: skip
_LINE_EVERY = 0.1


class ProgressView:
    """A bar on a terminal; in a log of CI a line for every tenth."""

    def __init__(self, console: Console) -> None:
        self._console, self._next_share = console, 0.0
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._bar = Progress(*columns, console=console, disable=not console.is_terminal)
        self._task = self._bar.add_task("cases", total=None)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()

    def show(self, evaluation: Json) -> None:
        progress = evaluation["progress"]
        done = progress["succeeded"] + progress["failed"]
        self._bar.update(self._task, total=progress["cases"], completed=done, description=evaluation["status"])
        if not self._console.is_terminal and progress["share"] >= self._next_share:
            self._next_share = progress["share"] + _LINE_EVERY
            counts = f"{done} of {progress['cases']} cases, {progress['failed']} failed"
            self._console.print(f"{evaluation['status']}: {counts}")


def show_outcome(console: Console, outcome: Outcome) -> None:
    console.print(_summary_table(outcome.summary) if outcome.comparison is None else _comparison_table(outcome))
    if outcome.gate:
        console.print(_gate_table(outcome.gate))
        console.print(f"Gate: {_coloured(outcome.gate['verdict'])}")


def _table(title: str, *columns: str) -> Table:
    table = Table(title=escape(title))
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _summary_table(summary: Json) -> Table:
    table = _table("Scores", "subject", "metric", "mean", "n", "errors", "missing")
    for subject in summary["subjects"]:
        for metric in subject["metrics"]:
            counts = (str(metric[name]) for name in ("n", "n_errors", "n_missing"))
            table.add_row(escape(subject["subject"]), escape(metric["metric"]), number_text(metric["mean"]), *counts)
    return table


def _comparison_table(outcome: Outcome) -> Table:
    said = outcome.comparison
    columns = ("candidate", "metric", "baseline", "candidate's", "difference", "p (Holm)", "n", "")
    table = _table(f"Compared with {said['baseline']['name']}", *columns)
    for one in said["comparisons"]:
        for metric in one["metrics"]:
            table.add_row(
                escape(one["candidate"]["name"]),
                escape(metric["metric"]),
                number_text(metric["baseline_mean"]),
                number_text(metric["candidate_mean"]),
                escape(number_text(metric["difference"]) + interval_text(metric)),
                number_text(metric["p_adjusted"]),
                str(metric["n"]),
                _coloured(metric["verdict"] or ""),
            )
    return table


def _gate_table(gate: Json) -> Table:
    table = _table("Gate", "rule", "figures", "verdict", "why")
    for ruling in gate["report"]:
        table.add_row(
            escape(rule_text(ruling["rule"])),
            escape(figures_text(ruling)),
            _coloured(ruling["verdict"]),
            escape(ruling["reason"]),
        )
    return table


def _coloured(verdict: str) -> str:
    colour = _COLOURS.get(verdict)
    words = verdict.replace("_", " ")
    return f"[{colour}]{words}[/{colour}]" if colour else words
