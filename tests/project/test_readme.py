"""The README's tour works as written: both halves are run against a real server."""

import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from django.core.management import call_command

from apps.executions.models import Execution, Status
from apps.prompts.models import PromptLabel

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
PASSWORD = "tour of the readme"


def block(name: str, base: str) -> str:
    """The code under `<!-- tour: name -->`, with this server and password in it."""
    found = re.search(rf"<!-- tour: {name} -->\n```\w+\n(.*?)```", README, re.DOTALL)
    assert found, f"the README has no tour in {name}"
    code = found[1]
    for written, real in (("http://localhost:8080", base), ("the password that make up printed", PASSWORD)):
        assert written in code
        code = code.replace(written, real)
    return code


@pytest.fixture
def base(live_server, settings):
    settings.DEMO_PASSWORD = PASSWORD
    call_command("create_demo")
    return f"http://localhost:{urlsplit(live_server.url).port}"


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("name", "command"), [("curl", ["bash", "-eu"]), ("python", [sys.executable, "-W", "error"])])
def test_the_tour_works_as_written(base, name, command):
    environment = {"PATH": os.environ["PATH"], "NO_PROXY": "*"}
    done = subprocess.run(
        command, input=block(name, base), env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Hello, Ada!" in done.stdout
    assert "Hello, {{name}}!" in done.stdout
    assert '"success":false' not in done.stdout
    execution = Execution.objects.get()
    assert execution.status == Status.SUCCEEDED
    assert None not in {execution.input_tokens, execution.output_tokens, execution.cost_usd, execution.latency_ms}
    assert PromptLabel.objects.filter(name="production", prompt__slug__startswith="greetings/hello").exists()


@pytest.mark.parametrize("path", re.findall(r"\]\((?!http)([^)#]+)\)", README))
def test_every_link_leads_somewhere(path):
    assert (ROOT / path).exists()


def test_the_two_commands_are_make_targets():
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    commands = re.findall(r"^make (\w+)", README, re.MULTILINE)
    assert commands == ["up", "test"]
    assert set(commands) <= set(targets)
