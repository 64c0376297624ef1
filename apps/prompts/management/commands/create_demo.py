"""`manage.py create_demo`: something to look at on a new machine."""

import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand
from django.db import connection, transaction

from apps.models.models import LLMModel
from apps.models.services import create_default_models
from apps.organizations.models import Organization
from apps.prompts.demo import ADDITIONS, DEMO_PROMPTS, DemoPrompt
from apps.prompts.labelling import move_label
from apps.prompts.models import PRODUCTION, PromptVersion
from apps.prompts.services import create_prompt, create_version
from apps.users.models import Membership, User
from apps.users.permissions import Role

SLUG = "demo"
PEOPLE = ((Role.ADMIN, "admin@example.com"), (Role.EDITOR, "editor@example.com"), (Role.VIEWER, "viewer@example.com"))
LOCK = 0x65714445  # any number that nobody else locks


class Command(BaseCommand):
    help = "Create the demo organization with its people, models, prompts and workflows, once."

    def handle(self, *_args: Any, verbosity: int = 1, **_options: Any) -> None:
        password = demo_password()
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK])
            created = not Organization.objects.filter(slug=SLUG).exists()
            if created:
                create_demo(password)
        if verbosity >= 2:
            self.stdout.write("The demo organization was made." if created else "The demo organization is there.")


def password_file() -> Path:
    return Path(settings.DATA_DIR) / "demo-password"


def demo_password() -> str:
    """DEMO_PASSWORD, or a random one that is kept beside the data (mode 0600)."""
    if settings.DEMO_PASSWORD:
        return str(settings.DEMO_PASSWORD)
    path = password_file()
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_text(secrets.token_urlsafe(12) + "\n")
    return path.read_text().strip()


def create_demo(password: str) -> None:
    organization = Organization.objects.create(name="Demo", slug=SLUG, protected_labels=[PRODUCTION])
    admin, *_ = [_create_person(organization, role, email, password) for role, email in PEOPLE]
    create_default_models(organization)
    echo = LLMModel.objects.for_organization(organization.pk).get(slug="echo")
    for prompt in DEMO_PROMPTS:
        _create_prompt(organization, admin, prompt, echo)
    for add in ADDITIONS:
        add(organization, admin)


def _create_person(organization: Organization, role: Role, email: str, password: str) -> User:
    user = User.objects.filter(email=email).first()
    if user is None:
        is_operator = role == Role.ADMIN
        user = User.objects.create_user(
            email, password, name=role.label, is_staff=is_operator, is_superuser=is_operator
        )
    Membership.objects.create(organization=organization, user=user, role=role)
    return user


def _create_prompt(organization: Organization, author: User, demo: DemoPrompt, model: LLMModel) -> None:
    (first, message), *others = demo.versions
    prompt = create_prompt(
        organization_id=organization.pk,
        slug=demo.slug,
        name=demo.name,
        description=demo.description,
        tags=demo.tags,
        definition={**first, "model": model},
        message=message,
        created_by=author,
    )
    for changes, why in others:
        create_version(prompt=prompt, changes=changes, message=why, created_by=author)
    _label(prompt, author, demo.labels)


def _label(prompt: Any, author: User, labels: Sequence[tuple[str, int]]) -> None:
    versions = {version.version_number: version for version in PromptVersion.objects.filter(prompt=prompt)}
    for name, number in labels:
        move_label(
            owner=prompt,
            name=name,
            version=versions[number],
            moved_by=author,
            may_move_protected=True,
            reason="First release" if name == PRODUCTION else "",
        )
