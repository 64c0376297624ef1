"""PostgreSQL ends statements of web after WRITE_TIMEOUT, and never those of a command (test_worker.py: the worker)."""

import importlib
import sys
from typing import Any

import psycopg
import pytest
from django.db import connection, connections

pytestmark = pytest.mark.django_db


def test_a_command_is_not_limited() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SHOW statement_timeout")
        assert cursor.fetchone() == ("0",)


def test_web_is_limited(monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    options = connections.settings["default"]["OPTIONS"]
    monkeypatch.setitem(options, "options", "-c application_name=given")
    monkeypatch.delitem(sys.modules, "everquant.wsgi", raising=False)
    settings.WRITE_TIMEOUT = 12.5
    importlib.import_module("everquant.wsgi")
    known = connection.settings_dict
    names = {"host": known["HOST"], "port": known["PORT"] or None, "user": known["USER"], "dbname": known["NAME"]}
    with psycopg.connect(**names, password=known["PASSWORD"] or None, options=options["options"]) as fresh:
        assert fresh.execute("SHOW statement_timeout").fetchone() == ("12500ms",)
        assert fresh.execute("SHOW application_name").fetchone() == ("given",)
