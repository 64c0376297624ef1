"""The description of the API is what the code says, and the API does what its description says."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from apps.models.services import create_default_models
from apps.prompts.services import create_prompt
from tests.conftest import PASSWORD
from tests.contract import OPENAPI, described

ROOT = OPENAPI.parent
METHODS = {"get", "put", "post", "patch", "delete"}
FEW = ["--phases", "fuzzing", "--max-examples", "2", "--seed", "1", "--generation-deterministic"]


def operations() -> list[tuple[str, str, dict]]:
    return [
        (method, path, operation)
        for path, item in described()["paths"].items()
        for method, operation in item.items()
        if method in METHODS
    ]


def test_every_operation_has_a_name_of_its_own_a_tag_and_a_summary():
    names = [operation["operationId"] for _, _, operation in operations()]
    assert len(set(names)) == len(names) > 70
    assert {"prompts_list", "prompts_execute", "auth_login", "models_catalog"} <= set(names)
    assert all(operation["summary"] and operation["tags"] for _, _, operation in operations())
    assert all(path.startswith("/api/v1/") for _, path, _ in operations())


def test_request_bodies_are_closed():
    schemas = described()["components"]["schemas"]
    open_bodies = [
        name
        for name, schema in schemas.items()
        if name.endswith("Request") and schema.get("additionalProperties") is not False
    ]
    assert open_bodies == []


def test_what_needs_no_sign_in_says_so():
    public = {operation["operationId"] for _, _, operation in operations() if operation["security"] == []}
    assert public == {
        "auth_login",
        "auth_refresh",
        "auth_register",
        "auth_password_reset",
        "auth_password_reset_confirm",
        "workflow_triggers_fire",
    }


@pytest.fixture
def server(settings, transactional_db, admin, live_server):
    """The API over HTTP with something of everything; limits that are not what is tried here."""
    settings.RATE_LIMITS = dict.fromkeys(settings.RATE_LIMITS, "1000000/s")
    create_default_models(admin.organization)
    create_prompt(
        organization_id=admin.organization.id,
        name="Greeting",
        definition={"content": "Hello"},
        created_by=admin.user,
    )
    return live_server.url


@pytest.mark.timeout(600)
def test_schemathesis_finds_nothing(server, admin, tmp_path):
    """A few deterministic examples of every operation with every check; `make fuzz` is the long run."""
    program = Path(sys.executable).with_name("schemathesis")
    command = [program, "--config-file", ROOT / "schemathesis.toml", "run", "--url", server, "--no-color"]
    caller = {"EVERQUANT_EMAIL": admin.user.email, "EVERQUANT_PASSWORD": PASSWORD}
    # Hypothesis keeps its tables of Unicode there: two seconds to make.
    kept = {"HYPOTHESIS_STORAGE_DIRECTORY": str(ROOT / ".hypothesis")}
    done = subprocess.run(
        [*map(str, command), "--checks", "all", *FEW, str(OPENAPI)],
        env={**os.environ, **caller, **kept},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-12000:] + done.stderr[-2000:]
    assert f"Tested: {len(operations())}" in done.stdout, done.stdout[-3000:]
