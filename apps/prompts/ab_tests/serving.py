"""Which version a program is served: an exact one, or what the prompt's live A/B test chooses."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from apps.prompts import published
from apps.prompts.ab_tests.assignment import choose_each
from apps.prompts.ab_tests.routing import Choice, LiveTest, Served, load_live, serve, with_live_test
from apps.prompts.models import ABTest, Prompt
from everquant.api.errors import Conflict, NotFound
from everquant.memory import EpochMemory

# What a request is served, and the variant that this is.
Place = tuple[Served, Choice | None]


@dataclass(frozen=True, slots=True)
class Serving:
    """A prompt, what it serves without a test, and the live test that goes before that."""

    prompt: Prompt
    served: Served
    test: LiveTest | None

    def places(self, requests: Sequence[tuple[str, Mapping[str, Any]]]) -> list[Place]:
        """Of each unit id (empty: a unit of its own) with its metadata."""
        if self.test is None:
            return [(self.served, None)] * len(requests)
        choices = choose_each(self.test, requests)
        return [(choice.arm if choice else self.served, choice) for choice in choices]

    def published(self, unit_id: str) -> dict[str, Any]:
        """As programs read a prompt, for a unit without metadata."""
        served, choice = self.places([(unit_id, {})])[0]
        return {
            **published.published_prompt(self.prompt, served.version),
            "model_id": served.model_id,
            "parameters": served.parameters,
            "ab_test": choice.as_dict() if choice is not None and choice.is_exposed else None,
        }


def load(prompt: Prompt, *, version: int | None = None, label: str | None = None, is_in_test: bool = False) -> Serving:
    """Of a prompt of `with_current`. A named version or label passes the test by, unless it `is_in_test`.

    Raises NotFound.
    """
    served = serve(published.resolve_version(prompt, version=version, label=label))
    goes_through = is_in_test or (version is None and label is None)
    return Serving(prompt, served, load_live(prompt) if goes_through else None)


def by_slug(organization_id: UUID, slug: str) -> Serving:
    """No query while it is remembered. Raises NotFound, also for an inactive prompt."""

    def load_it() -> Serving:
        prompt = _prompts(organization_id).filter(slug=slug, is_active=True).first()
        if prompt is None:
            raise NotFound("No such object.")
        return load(prompt)

    return _memory.get(organization_id, slug, load_it)


def of_test(organization_id: UUID, test_id: UUID) -> Serving:
    """As `by_slug`, for the prompt of a live test. Raises NotFound, and Conflict for a test that is not live."""
    return _memory.get(organization_id, test_id, lambda: _load_of_test(organization_id, test_id))


def _load_of_test(organization_id: UUID, test_id: UUID) -> Serving:
    test = ABTest.objects.for_organization(organization_id).alive().filter(id=test_id).first()
    prompt = _prompts(organization_id).filter(id=test.prompt_id).first() if test is not None else None
    if test is None or prompt is None:
        raise NotFound("No such object.")
    if not prompt.is_active:
        raise Conflict("The prompt is not active.")
    serving = load(prompt)
    if serving.test is None or serving.test.id != test_id:
        raise Conflict("The test is not running.", details={"status": test.status})
    return serving


def _prompts(organization_id: UUID) -> Any:
    return with_live_test(Prompt.objects.for_organization(organization_id).alive().with_current())


_memory: EpochMemory[Serving] = EpochMemory(published.answers.epoch)
