"""docs/promotion.md works as written: against a real server, with real evaluations."""

import json
import os
import re
import shlex
import subprocess
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
import yaml

from apps.evaluations.ci.configuration import FIELDS, GATE_FIELDS, read_configuration
from apps.evaluations.management.commands.evaluate import Command
from apps.evaluations.models import Evaluation, PromotionPolicy
from apps.users.models import ApiKey
from tests.conftest import make_person

DOCS = Path(__file__).parents[3] / "docs"
TEXT = (DOCS / "promotion.md").read_text()
CONFIGURATION = re.search(r"```yaml\n(name: Greeting\n.*?)```", TEXT, re.DOTALL)[1]
NAMES = [f"Person {number}" for number in range(30)]
SCOPES = ["evaluations:read", "evaluations:execute", "prompts:execute"]


def commands(*words):
    """The lines of the document that call the command with these words, without `python`."""
    lines = re.findall(r"^python (manage\.py evaluate .*)$", TEXT, re.MULTILINE)
    return [line for line in lines if all(word in line for word in words)]


@pytest.fixture
def greeting(editor, make_model, make_dataset, make_evaluator):
    """What the document names: version 2 says the same as version 1, version 3 something else."""
    make_model(kind="echo", is_default=True)
    make_evaluator().evaluator.__class__.objects.update(slug="exact")
    make_dataset([{"input": {"name": one}, "expected": f"Hello, {one}!"} for one in NAMES], slug="greetings")
    made = editor.client.post("/api/v1/prompts", {"slug": "greeting", "name": "G", "content": "Hello, {{name}}!"})
    path = f"/api/v1/prompts/{made.json()['data']['id']}"
    for content in ("Hello, {{ name }}!", "Bye, {{name}}!"):
        assert editor.client.post(f"{path}/versions", {"content": content}).status_code == 201
    assert editor.client.put(f"{path}/labels/production", {"version": 1}).status_code == 200
    return path


@pytest.fixture
def evaluate(editor, live_server, monkeypatch, settings, tmp_path):
    """Runs a line of the document where evaluation.yaml is; its exit code."""
    key = ApiKey(organization=editor.organization, user=editor.user, name="ci", scopes=SCOPES)
    secret = key.give_secret()
    key.save()
    (tmp_path / "evaluation.yaml").write_text(CONFIGURATION)
    monkeypatch.chdir(tmp_path)
    settings.EVERQUANT_API_KEY = secret

    def run(line, **variables):
        for name, value in variables.items():
            line = line.replace(f'"${name}"', str(value))
        command = Command()
        with pytest.raises(SystemExit) as ended:
            command.run_from_argv([*shlex.split(line), "--url", live_server.url])
        return ended.value.code

    return run


@pytest.mark.django_db(transaction=True)
def test_the_commands_end_with_the_verdict(greeting, evaluate, worker, tmp_path, capsys):
    assert [evaluate(line) for line in commands(" run ") if "--policy" not in line] == [0, 1, 2]
    report = ET.parse(tmp_path / "report.xml").find("testsuite")  # noqa: S314 (the command has written it)
    assert (report.get("tests"), report.get("failures"), report.get("skipped")) == ("5", "0", "0")
    written = json.loads((tmp_path / "report.json").read_text())
    assert (written["verdict"], written["exit_code"], len(written["gate"]["report"])) == ("pass", 0, 3)
    [compare], [gate] = commands("compare"), commands(" gate ")
    assert evaluate(compare, EVALUATION=written["evaluation"]["id"]) == 0
    assert "Compared with production" in capsys.readouterr().out
    failed = Evaluation.objects.order_by("id")[1]
    assert evaluate(gate, EVALUATION=failed.id) == 1


@pytest.mark.django_db(transaction=True)
def test_a_version_is_promoted_as_written(greeting, evaluate, worker, editor, admin, live_server, sign_in):
    colleague = make_person(editor.organization, "bob@acme.example", "editor", sign_in)
    tour = re.findall(r"<!-- tour -->\n```sh\n(.*?)```", TEXT, re.DOTALL)
    people = {"ADMIN": admin, "EDITOR": editor, "COLLEAGUE": colleague}
    tokens = {name: one.client.defaults["HTTP_AUTHORIZATION"].split()[1] for name, one in people.items()}
    environment = {
        "PATH": os.environ["PATH"], "NO_PROXY": "*", "EVERQUANT": f"{live_server.url}/api/v1", **tokens,
        "PROMPT": greeting.rpartition("/")[2],
    }  # fmt: skip

    def curl(script):
        done = subprocess.run(
            ["bash", "-eu"], input=script, env=environment, capture_output=True, text=True, timeout=60, check=True
        )
        assert '"success":false' not in done.stdout, done.stdout
        return done.stdout

    make, status, approve_and_move = tour
    curl(make)
    environment["POLICY"] = policy = str(PromotionPolicy.objects.get().id)
    assert '"GATE_MISSING"' in curl(status)
    [command] = commands("--policy")
    assert evaluate(command, POLICY=policy) == 0
    assert '"version":2' in curl(approve_and_move)
    assert editor.client.get(greeting).json()["data"]["labels"] == {"production": 2}


def test_the_file_of_the_document_is_whole(tmp_path):
    path = tmp_path / "evaluation.yaml"
    path.write_text(CONFIGURATION)
    body, gate = read_configuration(path, ["subjects.1.version=7"])
    assert set(body) <= FIELDS
    assert set(gate) <= GATE_FIELDS
    assert body["subjects"][1]["version"] == 7


@pytest.mark.parametrize("where", ["github", "gitlab"])
def test_the_examples_of_ci_call_the_command(where):
    example = yaml.safe_load(re.search(rf"<!-- ci: {where} -->\n```yaml\n(.*?)```", TEXT, re.DOTALL)[1])
    job = example.get("jobs", example)["evaluate"]
    lines = job.get("script") or [step["run"] for step in job["steps"] if "run" in step]
    [line] = lines
    arguments = shlex.split(line)
    assert arguments[:3] == ["python", "/app/manage.py", "evaluate"]
    parsed = Command().create_parser("manage.py", "evaluate").parse_args(arguments[3:])
    assert (parsed.action, str(parsed.junit), parsed.cancel_on_interrupt) == ("run", "report.xml", True)


@pytest.mark.parametrize("path", re.findall(r"\]\((?!http)([^)#]+)\)", TEXT))
def test_every_link_leads_somewhere(path):
    assert (DOCS / path).exists()
