"""Tours of documents: what a reader is told to type, made to work against a server of the tests."""

import os
import re
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.core.management import call_command

PASSWORD = "a tour of documents, long"
DOCS = Path(__file__).parents[1] / "docs"


def walk(document: str, live_server_url: str, settings: Any, folder: Path) -> str:
    """Make the demo, do all that the document's tour says, in this folder, and give what it prints."""
    settings.DEMO_PASSWORD = PASSWORD
    call_command("create_demo")
    done = subprocess.run(
        ["bash", "-euo", "pipefail"], input=tour(document, live_server_url, PASSWORD), cwd=folder, timeout=60,
        env={"PATH": os.environ["PATH"], "NO_PROXY": "*"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert '"success":false' not in done.stdout, done.stdout
    return done.stdout


def tour(document: str, live_server_url: str, password: str) -> str:
    """The shell script of the document's tour, with the server and the password that it is to be tried with."""
    code = "".join(re.findall(r"<!-- tour: curl -->\n```sh\n(.*?)```", (DOCS / document).read_text(), re.DOTALL))
    base = f"http://localhost:{urlsplit(live_server_url).port}"
    for written, real in (("http://localhost:8080", base), ("the password that make up printed", password)):
        assert written in code
        code = code.replace(written, real)
    return code
