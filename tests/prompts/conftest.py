import pytest

URL = "/api/v1/prompts"
GREETING = {"slug": "greetings/hello", "name": "Hello", "content": "Hello, {{name}}!"}
CHAT = {
    "slug": "support/reply",
    "name": "Reply",
    "messages": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "{{question}}"}],
}


@pytest.fixture
def create(editor):
    """Create a prompt over HTTP and answer its data; fields override those of a greeting."""

    def make(client=None, **fields):
        response = (client or editor.client).post(URL, {**GREETING, **fields})
        assert response.status_code == 201, response.content
        return response.json()["data"]

    return make
