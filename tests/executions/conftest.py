from uuid import uuid4

import pytest

from apps.models.models import Capability, LLMModel, ModelFallback
from apps.models.services import create_model, create_provider
from tests.conftest import Person

PROMPTS = "/api/v1/prompts"
EXECUTIONS = "/api/v1/executions"
API_KEY = "sk-test-0123456789abcdef"


@pytest.fixture
def make_model(organization, upstream):
    """A model of a provider of this kind, on the upstream."""

    def make(name="gpt-5-mini", *, kind="openai", of=organization, fallbacks=(), **values) -> LLMModel:
        base_url = {"openai": upstream.openai_url, "anthropic": upstream.url, "echo": ""}[kind]
        provider = create_provider(
            organization_id=of.id,
            kind=kind,
            name=f"{kind} {uuid4()}",
            base_url=base_url,
            api_key="" if kind == "echo" else API_KEY,
        )
        return create_model(
            organization_id=of.id,
            provider=provider,
            slug=f"m-{uuid4()}",
            provider_model_name=name,
            fallbacks=list(fallbacks),
            **{
                "capabilities": [Capability.CHAT, Capability.STREAMING],
                "input_price_usd": "1.25",
                "cached_input_price_usd": "0.125",
                "output_price_usd": "10",
                **values,
            },
        )

    return make


@pytest.fixture
def make_prompt(editor):
    """Create a prompt over HTTP and answer its data."""

    def make(person: Person = editor, **fields):
        body = {"name": f"Greeting {uuid4()}", "content": "Hello, {{name}}!", **fields}
        response = person.client.post(PROMPTS, body)
        assert response.status_code == 201, response.content
        return response.json()["data"]

    return make


@pytest.fixture
def model(make_model):
    return make_model(is_default=True)


@pytest.fixture
def prompt(make_prompt, model):
    return make_prompt()


@pytest.fixture
def execute(editor):
    """POST an execution of the prompt; `status` is what is expected of the answer."""

    def post(prompt, *, status=200, client=None, headers=None, **body):
        body.setdefault("variables", {"name": "Ada"})
        response = (client or editor.client).post(f"{PROMPTS}/{prompt['id']}/execute", body, headers=headers)
        assert response.status_code == status, response.content
        return response.json()["data" if status == 200 else "error"]

    return post


def stand_in(model: LLMModel, *fallbacks: LLMModel) -> None:
    for position, fallback in enumerate(fallbacks):
        ModelFallback.objects.create(model=model, fallback=fallback, position=position)
