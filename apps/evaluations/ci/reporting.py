"""What came of an evaluation: as tables for people, as JSON and as JUnit's XML for CI."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import orjson

from apps.evaluations.ci.failures import EXIT_CODES, PASSED, UsageFailure

Json = Any
# What XML 1.0 cannot say, not even escaped.
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, slots=True)
class Outcome:
    """`gate` is the API's answer, None where nothing decides; `comparison` None where there is one subject."""

    evaluation: Json
    summary: Json
    comparison: Json = None
    gate: Json = None

    @property
    def verdict(self) -> str | None:
        return self.gate["verdict"] if self.gate else None

    @property
    def exit_code(self) -> int:
        return EXIT_CODES[self.gate["verdict"]] if self.gate else PASSED


def write_json(path: Path, outcome: Outcome) -> None:
    said = {
        "verdict": outcome.verdict,
        "exit_code": outcome.exit_code,
        "evaluation": outcome.evaluation,
        "summary": outcome.summary,
        "comparison": outcome.comparison,
        "gate": outcome.gate,
    }
    _write(path, orjson.dumps(said, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))


def write_junit(path: Path, outcome: Outcome) -> None:
    """A test case for each rule, which fails or is skipped where it is inconclusive, and one for each metric."""
    name = outcome.evaluation["name"] or outcome.evaluation["id"]
    suite = ET.Element("testsuite", name=_xml(f"evaluation {name}"))
    cases = [*_cases_of_rules(outcome), *_cases_of_metrics(outcome)]
    suite.extend(cases)
    suite.set("tests", str(len(cases)))
    suite.set("failures", str(len(suite.findall("*/failure"))))
    suite.set("skipped", str(len(suite.findall("*/skipped"))))
    suite.set("errors", "0")
    root = ET.Element("testsuites")
    root.append(suite)
    _write(path, ET.tostring(root, encoding="utf-8", xml_declaration=True))


def _write(path: Path, content: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    except OSError as error:
        raise UsageFailure(f"{path} cannot be written: {error}") from error


def _cases_of_rules(outcome: Outcome) -> Iterator[ET.Element]:
    for number, ruling in enumerate(outcome.gate["report"] if outcome.gate else [], 1):
        case = ET.Element("testcase", classname="gate", name=_xml(f"{number}. {rule_text(ruling['rule'])}"))
        said = f"{figures_text(ruling)} {ruling['reason']}".strip()
        if ruling["verdict"] == "fail":
            ET.SubElement(case, "failure", message=_xml(said), type="fail").text = _xml(said)
        elif ruling["verdict"] == "inconclusive":
            ET.SubElement(case, "skipped", message=_xml(f"inconclusive: {said}"))
        ET.SubElement(case, "system-out").text = _xml(said)
        yield case


def _cases_of_metrics(outcome: Outcome) -> Iterator[ET.Element]:
    for subject in outcome.summary["subjects"]:
        for metric in subject["metrics"]:
            case = ET.Element("testcase", classname=_xml(f"metrics.{subject['subject']}"), name=_xml(metric["metric"]))
            if not metric["n"]:
                ET.SubElement(case, "skipped", message="nothing was scored")
            ET.SubElement(case, "system-out").text = _xml(_metric_text(metric))
            yield case


def _metric_text(metric: Json) -> str:
    return (
        f"mean {number_text(metric['mean'])}, n {metric['n']}, errors {metric['n_errors']}, "
        f"missing {metric['n_missing']}"
    )


def rule_text(rule: Json) -> str:
    """In one line: `no_worse_than accuracy, margin 0.02, confidence 0.95`."""
    shown = ("min", "max", "margin", "confidence")
    limits = [f"{name} {rule[name]:g}" for name in shown if isinstance(rule.get(name), int | float)]
    if rule.get("margin_type") == "relative":
        limits.append("relative")
    return ", ".join([" ".join(filter(None, [rule["type"], rule.get("metric")])), *limits])


def figures_text(ruling: Json) -> str:
    """`0.93 [0.86, 0.97], n 40`; without what is not known."""
    return f"{number_text(ruling['estimate'])}{interval_text(ruling)}, n {ruling['n']}"


def interval_text(figures: Json) -> str:
    return "" if figures["low"] is None else f" [{number_text(figures['low'])}, {number_text(figures['high'])}]"


def number_text(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _xml(text: str) -> str:
    return _NOT_XML.sub("\ufffd", text)
