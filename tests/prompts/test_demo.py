import pytest
from django.core.management import call_command

from apps.models.models import LLMModel
from apps.organizations.models import Organization
from apps.prompts.models import Prompt, PromptVersion
from apps.users.models import Membership, User

pytestmark = pytest.mark.django_db


@pytest.fixture
def data_dir(settings, tmp_path):
    settings.DATA_DIR = tmp_path / "data"
    settings.DEMO_PASSWORD = ""
    return settings.DATA_DIR


def counts():
    return [kind.objects.count() for kind in (Organization, User, Membership, LLMModel, Prompt, PromptVersion)]


def test_the_demo_is_made_once_and_says_nothing(data_dir, capsys):
    call_command("create_demo")
    first = counts()
    call_command("create_demo")
    assert counts() == first
    assert first[:3] == [1, 3, 3]
    assert capsys.readouterr().out == ""
    assert (data_dir / "demo-password").stat().st_mode & 0o777 == 0o600


def test_its_people_sign_in_with_the_kept_password_or_the_given_one(data_dir, settings):
    call_command("create_demo")
    password = (data_dir / "demo-password").read_text().strip()
    roles = {row.user.email: row.role for row in Membership.objects.select_related("user")}
    assert roles == {f"{role}@example.com": role for role in ("admin", "editor", "viewer")}
    assert all(user.check_password(password) for user in User.objects.all())
    assert User.objects.get(is_superuser=True).email == "admin@example.com"


def test_a_given_password_is_used_and_not_written(data_dir, settings):
    settings.DEMO_PASSWORD = "correct horse battery"
    call_command("create_demo", verbosity=2)
    assert User.objects.get(email="viewer@example.com").check_password("correct horse battery")
    assert not (data_dir / "demo-password").exists()


SAMPLES = {
    "hello": {"name": "Ann"},
    "support/reply": {"question": "Why?", "article": "Because.", "customer": {"language": "French"}},
    "support/classify-ticket": {"ticket": {"subject": "S", "body": "B"}},
    "marketing/release-digest": {"changes": [{"kind": "fix", "title": "Faster", "breaking": True}]},
    "engineering/review-change": {"rules": ["Be brief", "Be kind"], "title": "T", "diff": "+x"},
}


def test_its_prompts_render_and_run_on_the_echo_model(data_dir):
    call_command("create_demo")
    prompts = {prompt.slug: prompt for prompt in Prompt.objects.with_current()}
    assert set(prompts) == set(SAMPLES)
    for slug, variables in SAMPLES.items():
        version = prompts[slug].current_version
        assert version.compiled().render_messages(variables)
        assert version.model.slug == "echo"
    digest = prompts["marketing/release-digest"].current_version.compiled()
    assert "- FIX: Faster (breaking)" in digest.render(SAMPLES["marketing/release-digest"])
    assert {prompt.type for prompt in prompts.values()} == {"text", "chat"}
    assert prompts["support/reply"].labels == {"production": 2, "staging": 3}
