"""Who and what seeded executions are about: models with prices, prompts with versions and tags, people and keys."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from uuid import UUID

from django.db import transaction

from apps.models.models import Capability, LLMModel, Provider, ProviderKind
from apps.models.prices import Prices
from apps.models.services import create_model, create_provider
from apps.organizations.models import Organization
from apps.prompts.models import Prompt
from apps.prompts.services import create_prompt, create_version
from apps.users.models import ApiKey, Membership, User
from apps.users.permissions import Role

VERSIONS = 3
_TAGS: tuple[list[str], ...] = (["support", "chat"], ["support"], ["search"], ["internal", "batch"], [])


@dataclass(frozen=True, slots=True)
class SeedModel:
    """Prices are in USD for a million tokens; the latency is the median of a short answer, in ms."""

    slug: str
    provider: str
    input_price_usd: Decimal
    cached_input_price_usd: Decimal
    output_price_usd: Decimal
    latency_ms: int


MODELS = (
    SeedModel("seed/small", "Seed cloud", Decimal("0.15"), Decimal("0.075"), Decimal("0.6"), 420),
    SeedModel("seed/large", "Seed cloud", Decimal("2.5"), Decimal("1.25"), Decimal(10), 1900),
    SeedModel("seed/medium", "Seed labs", Decimal(1), Decimal("0.1"), Decimal(5), 1100),
    SeedModel("seed/thinker", "Seed labs", Decimal(3), Decimal("0.3"), Decimal(15), 5200),
)


@dataclass(frozen=True, slots=True)
class Cast:
    """`versions` has those of each prompt in order; every key belongs to the user at the same place of `key_users`."""

    organization_id: UUID
    models: list[LLMModel]
    versions: list[list[UUID]]
    prompts: list[UUID]
    users: list[UUID]
    keys: list[UUID]
    key_users: list[UUID]


@transaction.atomic
def gather_cast(organization: Organization, *, prompts: int, users: int) -> Cast:
    """What is missing is made; a second call finds the same."""
    models = _models(organization)
    found = [_prompt(organization, number, models) for number in range(1, prompts + 1)]
    people = [_user(organization, number) for number in range(1, users + 1)]
    keys = [_key(organization, user) for user in people[: max(1, users // 3)]]
    return Cast(
        organization_id=organization.id,
        models=models,
        versions=[[v.id for v in sorted(prompt.versions.all(), key=lambda v: v.version_number)] for prompt in found],
        prompts=[prompt.id for prompt in found],
        users=[user.id for user in people],
        keys=[key.id for key in keys],
        key_users=[key.user_id for key in keys],
    )


def price_row(model: LLMModel) -> dict[str, str | None]:
    return Prices(
        source="model",
        input=model.input_price_usd,
        cached_input=model.cached_input_price_usd,
        output=model.output_price_usd,
    ).as_row()


def _models(organization: Organization) -> list[LLMModel]:
    """Of the offline provider, so that they can be called."""
    found = {model.slug: model for model in LLMModel.objects.alive().filter(organization=organization)}
    for seed in MODELS:
        if seed.slug not in found:
            values = asdict(seed)
            name = values.pop("provider")
            values.pop("latency_ms")
            provider = Provider.objects.alive().filter(organization=organization, name=name).first()
            provider = provider or create_provider(organization_id=organization.id, kind=ProviderKind.ECHO, name=name)
            capabilities = [Capability.CHAT, Capability.STREAMING]
            found[seed.slug] = create_model(
                organization_id=organization.id, provider=provider, provider_model_name=seed.slug,
                capabilities=capabilities, **values,
            )  # fmt: skip
    return [found[seed.slug] for seed in MODELS]


def _prompt(organization: Organization, number: int, models: Sequence[LLMModel]) -> Prompt:
    slug = f"seed/prompt-{number:02}"
    prompt = Prompt.objects.alive().filter(organization=organization, slug=slug).first()
    if prompt is None:
        prompt = create_prompt(
            organization_id=organization.id, slug=slug, name=f"Seeded prompt {number:02}", created_by=None,
            tags=_TAGS[number % len(_TAGS)],
            definition={"content": "{{question}}", "model": models[number % len(models)]},
        )  # fmt: skip
    for version in range(prompt.versions.count() + 1, VERSIONS + 1):
        create_version(prompt=prompt, changes={"content": f"Take {version}: {{{{question}}}}"}, created_by=None)
    return prompt


def _user(organization: Organization, number: int) -> User:
    """Without a password: nobody can sign in."""
    email = f"seed-{number}@{organization.slug}.example"
    user = User.objects.filter(email=email).first()
    if user is None:
        user = User(email=email, name=f"Seeded person {number}")
        user.set_unusable_password()
        user.save(force_insert=True)
    Membership.objects.get_or_create(organization=organization, user=user, defaults={"role": Role.VIEWER})
    return user


def _key(organization: Organization, user: User) -> ApiKey:
    """Its secret is thrown away: it is a name in lists."""
    key = ApiKey.objects.filter(organization=organization, user=user).first()
    if key is None:
        key = ApiKey(organization=organization, user=user, name=f"Seeded key of {user.name}", scopes=["prompts:read"])
        key.give_secret()
        key.save(force_insert=True)
    return key
