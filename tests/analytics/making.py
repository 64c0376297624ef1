"""Executions of all kinds, spread over some time, for those who add them up."""

import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from apps.executions.keys import id_bound
from apps.executions.models import Execution, Score, Source, Status
from apps.models.models import LLMModel, Provider
from apps.models.services import create_default_models
from apps.prompts.models import Prompt
from apps.prompts.services import create_prompt
from tests.conftest import Person

START = datetime(2026, 10, 20, tzinfo=UTC)


@dataclass
class Made:
    """What executions refer to: prompts with tags, the models of two providers, and people."""

    prompts: list[Prompt]
    models: list[LLMModel]
    users: list[UUID]


def make_world(person: Person, *, prompts: int = 3) -> Made:
    if not LLMModel.objects.for_organization(person.organization.id).exists():
        create_default_models(person.organization)
    tags = [["support", "german"], ["support"], []]
    made = [
        create_prompt(
            organization_id=person.organization.id,
            slug=f"prompt-{number}",
            name=f"Prompt {number}",
            tags=tags[number % 3],
            definition={"content": "Hello"},
            created_by=person.user,
        )
        for number in range(prompts)
    ]
    other = Provider.objects.create(organization=person.organization, kind="echo", name="Another")
    for slug in ("large", "small"):
        LLMModel.objects.create(
            organization=person.organization, provider=other, slug=slug, name=slug, provider_model_name=slug
        )
    models = list(LLMModel.objects.filter(organization=person.organization).order_by("slug"))
    return Made(made, models, [person.user.id])


def key_at(moment: datetime, number: int) -> UUID:
    """A UUIDv7 of this time."""
    milliseconds = id_bound(moment.replace(microsecond=moment.microsecond // 1000 * 1000)).int
    return UUID(int=milliseconds | 0x7 << 76 | 0x2 << 62 | number)


def make_executions(
    person: Person, world: Made, *, count: int, start: datetime, length: timedelta, seed: int = 1, **given: Any
) -> list[Execution]:
    """Spread evenly at random over the time: some without a prompt, cancelled, cached, or not priced; all as given."""
    chance = random.Random(seed)
    made = [
        _execution(person, world, start + length * chance.random(), number, chance)
        for number in range(seed * 10**6, seed * 10**6 + count)
    ]
    for execution in made:
        for name, value in given.items():
            setattr(execution, name, value)
    Execution.objects.bulk_create(made)
    return made


def _execution(person: Person, world: Made, moment: datetime, number: int, chance: random.Random) -> Execution:
    status = chance.choices([Status.SUCCEEDED, Status.FAILED, Status.CANCELLED], [85, 10, 5])[0]
    prompt = chance.choice([*world.prompts, None])
    model = chance.choice(world.models)
    is_cached = status == Status.SUCCEEDED and chance.random() < 0.1
    is_priced = not is_cached and chance.random() < 0.9
    took = max(0, round(chance.lognormvariate(6, 1)))
    arm = chance.choice(["", "", "control", "shorter"])
    return Execution(
        id=key_at(moment, number),
        organization_id=person.organization.id,
        source=chance.choice(Source.values),
        status=status,
        prompt_id=prompt and prompt.id,
        prompt_version_id=prompt and prompt.current_version_id,
        version_number=1 if prompt else None,
        model_id=model.id,
        provider_model=model.provider_model_name,
        ab_test_id=UUID(int=77) if arm else None,
        ab_variant=arm,
        workflow_id=chance.choice([None, UUID(int=88)]),
        created_by_id=chance.choice([*world.users, None]),
        api_key_id=chance.choice([None, UUID(int=99)]),
        error_code="PROVIDER_ERROR" if status == Status.FAILED else "",
        input_tokens=chance.randrange(2000),
        cached_input_tokens=chance.choice([None, 0, 500]),
        cache_write_tokens=chance.choice([None, 70]),
        output_tokens=chance.randrange(500),
        reasoning_tokens=chance.choice([None, 30]),
        cost_usd=Decimal(chance.randrange(10**12)).scaleb(-12) if is_priced else None,
        price={} if is_priced else None,
        is_cached=is_cached,
        saved_cost_usd=Decimal("0.25") if is_cached else None,
        latency_ms=took,
        first_token_ms=chance.choice([None, took // 2]),
        created_at=moment,
        started_at=moment,
        finished_at=moment + timedelta(milliseconds=took),
    )


def make_scores(person: Person, executions: list[Execution], **given: Any) -> list[Score]:
    """A number and a yes or no for every second execution."""
    chance = random.Random(5)
    made = []
    for execution in executions[::2]:
        common: dict[str, Any] = {
            "organization": person.organization, "execution_id": execution.id, "source": Score.Source.API, **given,
        }  # fmt: skip
        made.append(Score(name="quality", type="numeric", number=chance.gauss(7, 2), **common))
        made.append(Score(name="helpful", type="boolean", number=float(chance.random() < 0.8), **common))
    return Score.objects.bulk_create(made)
