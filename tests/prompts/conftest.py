import pytest
from django.db import connection

URL = "/api/v1/prompts"
GREETING = {"slug": "greetings/hello", "name": "Hello", "content": "Hello, {{name}}!"}
CHAT = {
    "slug": "support/reply",
    "name": "Reply",
    "messages": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "{{question}}"}],
}


@pytest.fixture(scope="session", autouse=True)
def _no_stray_audit_table(django_db_setup, django_db_blocker):
    """auditlog's own table, unused as its model is swapped, refers to users and keeps Django from emptying them."""
    with django_db_blocker.unblock(), connection.cursor() as cursor:
        cursor.execute("DROP TABLE IF EXISTS auditlog_logentry")


@pytest.fixture
def create(editor):
    """Create a prompt over HTTP and answer its data; fields override those of a greeting."""

    def make(client=None, **fields):
        response = (client or editor.client).post(URL, {**GREETING, **fields})
        assert response.status_code == 201, response.content
        return response.json()["data"]

    return make
