import pytest
from django.test import Client

from apps.prompts.models import Prompt, PromptLabelEvent, PromptVersion
from apps.users.models import User
from tests.prompts.conftest import URL

pytestmark = pytest.mark.django_db


@pytest.fixture
def operator():
    client = Client()
    client.force_login(User.objects.create_superuser("root@example.com", "correct horse battery"))
    return client


def test_pages_of_prompts_open_and_history_is_read_only(operator, create, editor):
    prompt = create(tags=["x"])
    editor.client.put(f"{URL}/{prompt['id']}/labels/beta", {"version": 1})
    version, event = PromptVersion.objects.get(), PromptLabelEvent.objects.get()
    for kind, pk in (("prompt", prompt["id"]), ("promptversion", version.pk), ("promptlabelevent", event.pk)):
        listed = operator.get(f"/admin/prompts/{kind}/?q=hello")
        assert listed.status_code == 200
        assert "greetings/hello" in listed.text
        assert operator.get(f"/admin/prompts/{kind}/{pk}/change/").status_code == 200
        assert operator.get(f"/admin/prompts/{kind}/add/").status_code == 403
        assert operator.post(f"/admin/prompts/{kind}/{pk}/delete/", {"post": "yes"}).status_code == 403
    assert operator.post(f"/admin/prompts/promptversion/{version.pk}/change/", {"content": "x"}).status_code == 403
    assert PromptVersion.objects.get().content == "Hello, {{name}}!"


@pytest.mark.django_db(transaction=True)
def test_a_change_by_an_operator_is_served_at_once(operator, create, viewer):
    prompt = create()
    read = f"{URL}/by-slug/greetings/hello"
    assert viewer.client.get(read).json()["data"]["name"] == "Hello"
    inlines = {
        f"{prefix}-{name}": "0"
        for prefix in ("label_set", "versions")
        for name in ("TOTAL_FORMS", "INITIAL_FORMS", "MIN_NUM_FORMS", "MAX_NUM_FORMS")
    }
    body = {"name": "Renamed", "description": "", "tags": "a,b", "is_active": "on", **inlines}
    response = operator.post(f"/admin/prompts/prompt/{prompt['id']}/change/", body)
    assert response.status_code == 302, response.text
    assert Prompt.objects.get().tags == ["a", "b"]
    assert viewer.client.get(read).json()["data"]["name"] == "Renamed"
