"""The environment is read once, typed, and every problem is told at the same time."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from django.core.exceptions import ImproperlyConfigured

from everquant.environment import Environment, development_secrets, is_weak, read_environment
from everquant.settings import database_settings

ROOT = Path(__file__).parents[2]
STRONG = "kX9vQ2mB7wL4pR8tY1uZ6nC3sD5fG0hJ-aE7iO2xM4zT9qW6yV"
PRODUCTION = {
    "ENVIRONMENT": "production",
    "DATABASE_URL": "postgresql://u:p@db:5432/everquant",
    "REDIS_URL": "redis://cache:6379/0",
    "SECRET_KEY": STRONG,
    "JWT_SECRET": STRONG[::-1],
    "ENCRYPTION_KEYS": Fernet.generate_key().decode(),
    "ALLOWED_HOSTS": "everquant.example",
}


@pytest.fixture
def environment(monkeypatch):
    def read(**variables: str) -> Environment:
        for name in Environment.model_fields:
            monkeypatch.delenv(name.upper(), raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        return read_environment()

    return read


def test_the_designs_defaults_hold(environment):
    env = environment()
    assert (env.port, env.environment, env.read_timeout, env.write_timeout) == (8080, "development", 30, 30)
    assert (env.db_max_open_conns, env.db_max_idle_conns, env.db_conn_max_lifetime) == (25, 5, 300)
    assert (env.jwt_access_ttl, env.jwt_refresh_ttl) == (900, 604800)


def test_every_problem_is_told_at_once(environment):
    with pytest.raises(ImproperlyConfigured) as caught:
        environment(PORT="ninety", WEB_WAITING_SHARE="2", LOG_LEVEL="LOUD")
    assert all(name in str(caught.value) for name in ("PORT", "WEB_WAITING_SHARE", "LOG_LEVEL"))


def test_semantic_problems_are_told_at_once(environment):
    with pytest.raises(ImproperlyConfigured) as caught:
        environment(RATE_LIMIT_KEY="many", ENCRYPTION_KEYS="short", DATABASE_URL="mysql://x", REDIS_URL="http://x")
    text = str(caught.value)
    assert all(name in text for name in ("RATE_LIMIT_KEY", "ENCRYPTION_KEYS", "DATABASE_URL", "REDIS_URL"))


def test_production_names_each_missing_secret(environment):
    with pytest.raises(ImproperlyConfigured) as caught:
        environment(ENVIRONMENT="production")
    missing = ("DATABASE_URL", "REDIS_URL", "SECRET_KEY", "JWT_SECRET", "ENCRYPTION_KEYS", "ALLOWED_HOSTS")
    assert all(f"{name}: is required" in str(caught.value) for name in missing)


@pytest.mark.parametrize("weak", ["hunter2", "a" * 64, "please-change-me-please-change-me-now-ok-please-change-me"])
def test_production_refuses_weak_secrets_and_does_not_print_them(environment, weak):
    with pytest.raises(ImproperlyConfigured) as caught:
        environment(**{**PRODUCTION, "SECRET_KEY": weak, "JWT_SECRET": f"{STRONG},{weak}"})
    assert "SECRET_KEY: is weak" in str(caught.value)
    assert "JWT_SECRET: secret 2 is weak" in str(caught.value)
    assert weak not in str(caught.value)


def test_production_accepts_what_is_right_and_lists(environment):
    env = environment(**{**PRODUCTION, "JWT_SECRET": f"{STRONG}, {STRONG[::-1]}"})
    assert env.jwt_secret == [STRONG, STRONG[::-1]]
    assert not is_weak(STRONG)


def test_a_wild_host_is_refused_in_production(environment):
    with pytest.raises(ImproperlyConfigured, match="ALLOWED_HOSTS"):
        environment(**{**PRODUCTION, "ALLOWED_HOSTS": "*"})


def test_database_url_gives_the_pool(environment):
    env = environment(DB_MAX_OPEN_CONNS="24", WEB_PROCESSES="2")
    entry = database_settings("postgresql://us%40er:pa%3Ass@db:6432/ever%20quant?sslmode=require", env)
    assert (entry["USER"], entry["PASSWORD"], entry["HOST"], entry["PORT"]) == ("us@er", "pa:ss", "db", "6432")
    assert entry["NAME"] == "ever quant"
    assert entry["OPTIONS"]["sslmode"] == "require"
    assert entry["OPTIONS"]["pool"]["max_size"] == 12


def test_development_secrets_are_made_once_and_private(tmp_path):
    path = tmp_path / "data" / "secrets.json"
    first = development_secrets(path)
    assert development_secrets(path) == first
    assert path.stat().st_mode & 0o777 == 0o600
    assert not is_weak(first["secret_key"])


def test_no_setting_is_read_elsewhere():
    """`everquant/environment.py` is the only reader of the environment."""
    readers = [
        str(path.relative_to(ROOT))
        for folder in ("everquant", "apps")
        for path in (ROOT / folder).rglob("*.py")
        if re.search(r"os\.getenv|os\.environ(\.get\(|\[)\"(?!PATH|PROMETHEUS_MULTIPROC_DIR)", path.read_text())
    ]
    assert readers == []


def test_deploy_check_is_clean_in_production():
    done = subprocess.run(
        [sys.executable, "manage.py", "check", "--deploy", "--fail-level", "WARNING"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **PRODUCTION},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
