"""manage.py evaluate: what ends it with which code, and what it writes."""

import json
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from xml.etree import ElementTree as ET

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.evaluations.ci.configuration import read_configuration
from apps.evaluations.ci.failures import UsageFailure
from apps.evaluations.ci.reporting import Outcome, rule_text, write_json, write_junit
from apps.evaluations.management.commands.evaluate import Command

ROOT = Path(__file__).parents[3]
EVALUATION = "018f0000-0000-7000-8000-000000000001"
METRIC = {"metric": "accuracy", "mean": 1.0, "n": 5, "n_errors": 0, "n_missing": 0}


def ruling(verdict="pass", reason="", **rule):
    figures = {"estimate": 0.5, "low": 0.4, "high": 0.6, "n": 30}
    return {"rule": {"type": "absolute", "metric": "accuracy", **rule}, "verdict": verdict, "reason": reason, **figures}


def outcome_of(*rulings, name="Greeting", subject="new", verdict="pass"):
    evaluation = {"id": EVALUATION, "name": name, "subjects": []}
    summary = {"subjects": [{"subject": subject, "metrics": [METRIC, {**METRIC, "metric": "tone", "n": 0}]}]}
    return Outcome(evaluation, summary, gate={"verdict": verdict, "report": list(rulings)})


class Server:
    """Answers what it is told to, in order; the last answer again and again."""

    def __init__(self):
        self.answers, self.requests = [], []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *args):
                pass

            def respond(self):
                length = int(self.headers.get("Content-Length") or 0)
                outer.requests.append((self.command, self.path, dict(self.headers), self.rfile.read(length)))
                status, body, headers = outer.answers.pop(0) if len(outer.answers) > 1 else outer.answers[0]
                content = body if isinstance(body, bytes) else orjson.dumps(body)
                self.send_response(status)
                for name, value in {"Content-Length": str(len(content)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = respond  # noqa: N815 (names of http.server)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def says(self, status, data=None, *, raw=None, **headers):
        self.answers.append((status, raw if raw is not None else {"success": True, "data": data}, headers))

    def refuses(self, status, code, details=None):
        error = {"code": code, "message": "No.", "details": details or {}}
        self.answers.append((status, {"success": False, "error": error}, {}))

    def close(self):
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def server():
    made = Server()
    yield made
    made.close()


@pytest.fixture
def evaluate(server, tmp_path, monkeypatch, settings, capsys):
    """Runs the command; its exit code and what it said on standard error."""
    monkeypatch.chdir(tmp_path)
    settings.EVERQUANT_API_KEY = "eq_test"
    Path("evaluation.yaml").write_text("dataset: d\nsubjects: []\ngate: {rules: [{type: absolute}]}\n")

    def run(*arguments, url=server.url):
        with pytest.raises(SystemExit) as ended:
            Command().run_from_argv(["manage.py", "evaluate", *arguments, "--url", url])
        return ended.value.code, capsys.readouterr().err

    return run


def evaluation(status="running", **more):
    progress = {"cases": 4, "succeeded": 1, "failed": 0, "share": 0.25}
    return {
        "id": EVALUATION,
        "name": "",
        "status": status,
        "progress": progress,
        "error": None,
        "subjects": [{}],
        **more,
    }


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "--nope"],
        ["evaluate"],
        ["run", "--file", "missing.yaml"],
        ["run", "--set", "subjects.7.version=1"],
        ["run", "--set", "name"],
        ["run", "--timeout", "0"],
        ["run", "--policy", EVALUATION],
        ["compare"],
        ["gate", "no-id"],
        ["gate", EVALUATION, "--policy", EVALUATION, "--version", "1", "--against", EVALUATION],
    ],
)
def test_what_cannot_be_asked_is_no_verdict(evaluate, server, arguments):
    assert evaluate(*arguments)[0] == 3
    assert server.requests == []


def test_a_key_is_needed(evaluate, settings):
    settings.EVERQUANT_API_KEY = ""
    code, said = evaluate("run")
    assert (code, "EVERQUANT_API_KEY" in said) == (3, True)


def test_a_key_is_taken_without_the_line_that_ends_it(evaluate, settings, server):
    """As files of secrets have it; what can be no key is not sent."""
    settings.EVERQUANT_API_KEY = "a\nb"
    assert evaluate("compare", EVALUATION)[0] == 3
    assert server.requests == []
    settings.EVERQUANT_API_KEY = "eq_key\n"
    server.refuses(403, "FORBIDDEN", {})
    assert evaluate("compare", EVALUATION)[0] == 3
    assert len(server.requests) == 1


def test_what_the_server_refuses_is_told_with_its_places(evaluate, server):
    server.refuses(400, "BAD_REQUEST", {"subjects.1.prompt": "No such object."})
    code, said = evaluate("run")
    assert code == 3
    assert "subjects.1.prompt: No such object." in said


@pytest.mark.parametrize("raw", [b"<html>", b"[]", b'{"data"', b"null"])
def test_another_server_is_no_verdict(evaluate, server, raw):
    server.says(200, raw=raw)
    assert evaluate("compare", EVALUATION)[0] == 3


def test_what_passes_is_tried_again_and_makes_nothing_twice(evaluate, server):
    server.refuses(503, "SERVICE_UNAVAILABLE")
    server.says(201, evaluation())
    server.refuses(502, "PROVIDER_ERROR")
    server.says(200, evaluation("failed", error={"code": "BUDGET_EXCEEDED", "message": "It cost too much."}))
    code, said = evaluate("run")
    assert code == 4
    assert "BUDGET_EXCEEDED It cost too much." in said
    first, second = (headers for method, _, headers, _ in server.requests if method == "POST")
    assert first["Idempotency-Key"] == second["Idempotency-Key"]
    assert first["Authorization"] == "Bearer eq_test"


def test_a_wait_has_an_end(evaluate, server):
    server.says(201, evaluation())
    code, said = evaluate("run", "--timeout", "0.1")
    assert (code, "it goes on" in said) == (4, True)


def test_one_that_was_cancelled_goes_on(evaluate, server):
    server.says(200, evaluation("cancelled"))
    server.says(200, evaluation("queued"))
    server.says(200, evaluation("cancelled"))
    assert evaluate("run", "--resume", EVALUATION)[0] == 4
    assert [(method, path.rpartition("/")[2]) for method, path, *_ in server.requests][:2] == [
        ("GET", EVALUATION),
        ("POST", "resume"),
    ]


@pytest.mark.parametrize(("verdict", "code"), [("pass", 0), ("fail", 1), ("inconclusive", 2)])
@pytest.mark.parametrize("alias", ["gate", "--gate"])
def test_a_verdict_is_the_exit_code(evaluate, server, verdict, code, alias):
    server.says(200, evaluation("succeeded"))
    server.says(200, {"verdict": verdict, "report": [ruling(verdict)]})
    server.says(200, {"subjects": []})
    assert evaluate(alias, EVALUATION)[0] == code


@pytest.mark.parametrize(("arguments", "said"), [((), "--resume"), (("--cancel-on-interrupt",), "cancelled")])
def test_an_interruption_says_what_becomes_of_it(server, tmp_path, arguments, said):
    """By a process of its own, as CI interrupts one."""
    server.says(201, evaluation())
    (tmp_path / "evaluation.yaml").write_text("dataset: d\n")
    command = [sys.executable, str(ROOT / "manage.py"), "evaluate", "run", "--url", server.url, *arguments]
    environment = {"EVERQUANT_API_KEY": "eq_test", "PATH": "", "EVERQUANT_DATA_DIR": str(tmp_path / "data")}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, cwd=tmp_path, env=environment, **pipes) as run:
        deadline = time.monotonic() + 60
        while not any(method == "GET" for method, *_ in server.requests):
            assert run.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        run.send_signal(signal.SIGTERM)
        _, told = run.communicate(timeout=30)
    assert (run.returncode, said in told.decode()) == (130, True), told
    assert ("cancel" in server.requests[-1][1]) is bool(arguments)


def test_reports_say_what_failed_and_what_is_open(tmp_path):
    path = tmp_path / "deep" / "report.xml"
    rulings = [ruling(), ruling("fail", "Too low."), ruling("inconclusive", "More items.", min=0.8)]
    write_junit(path, outcome_of(*rulings, verdict="fail"))
    suite = ET.parse(path).find("testsuite")  # noqa: S314 (just written)
    assert {name: suite.get(name) for name in ("tests", "failures", "skipped", "errors")} == {
        "tests": "5", "failures": "1", "skipped": "2", "errors": "0",
    }  # fmt: skip
    rules = suite.findall("testcase[@classname='gate']")
    assert rules[1].find("failure").get("message") == "0.5 [0.4, 0.6], n 30 Too low."
    assert rules[2].find("skipped").get("message").startswith("inconclusive")
    assert rules[2].get("name") == "3. absolute accuracy, min 0.8"


@given(st.text(), st.text())
def test_any_text_is_in_a_report(tmp_path_factory, name, reason):
    path = tmp_path_factory.mktemp("reports") / "report.xml"
    write_junit(path, outcome_of(ruling("fail", reason), name=name, subject=name, verdict="fail"))
    assert ET.parse(path).find("*/testcase/failure") is not None  # noqa: S314 (just written)


def test_everything_is_in_the_json(tmp_path):
    path = tmp_path / "report.json"
    write_json(path, outcome_of(ruling("fail"), verdict="fail"))
    said = json.loads(path.read_text())
    assert (said["verdict"], said["exit_code"], said["evaluation"]["id"]) == ("fail", 1, EVALUATION)


@pytest.mark.parametrize(
    "text",
    ["[]", "dataset: [", "name: a\nextra: 1", "gate: []", "gate: {rule: []}", "a: &a [*a]", "\x00", "!!python/none x",
     "gate: {}", "gate: {rules: }", "gate: {candidate: new, rules: []}"],
)  # fmt: skip
def test_a_file_that_makes_no_sense_is_refused(tmp_path, text):
    path = tmp_path / "evaluation.yaml"
    path.write_text(text)
    with pytest.raises(UsageFailure):
        read_configuration(path)


def test_dollars_may_be_written_as_numbers(tmp_path):
    path = tmp_path / "evaluation.yaml"
    for written, asked in (("0.1", "0.1"), ("5", "5"), ("0.0000001", "0.0000001"), ('"2.50"', "2.50")):
        path.write_text(f"budget_usd: {written}")
        assert read_configuration(path)[0]["budget_usd"] == asked


def test_a_rule_is_told_in_one_line():
    rule = {"type": "no_worse_than", "metric": "m", "margin": 0.1, "margin_type": "relative", "confidence": 0.95}
    assert rule_text(rule) == "no_worse_than m, margin 0.1, confidence 0.95, relative"
