"""What somebody does first whose organization, or whole installation, has executed nothing yet."""

from dataclasses import dataclass

from django.http import HttpRequest

from apps.analytics.dashboard.choosing import Choice
from apps.analytics.dashboard.showing import address
from apps.executions.models import Execution
from apps.models.models import LLMModel
from apps.prompts.models import Prompt
from apps.users.models import Membership


@dataclass(frozen=True, slots=True)
class FirstStep:
    """`link` is where it is done in the admin, empty for those who may not or where it is done over the API."""

    title: str
    about: str
    is_done: bool
    link: str = ""


def first_steps(request: HttpRequest, choice: Choice) -> list[FirstStep]:
    """Empty once anything was executed."""
    if choice.of(Execution.objects.all()).order_by()[:1].exists():
        return []
    return [
        FirstStep(
            "Add an organization and its people",
            "Everything belongs to an organization; people are its members, with a role.",
            choice.of(Membership.objects.all()).exists(),
            address(request, "organizations_organization", "changelist"),
        ),
        FirstStep(
            "Register a model",
            "With the key of its provider. The model “echo” costs nothing: it says again what it is asked.",
            choice.of(LLMModel.objects.alive()).exists(),
            address(request, "models_llmmodel", "changelist"),
        ),
        FirstStep(
            "Make a prompt",
            "POST /api/v1/prompts; its first version is made with it.",
            choice.of(Prompt.objects.alive()).exists(),
            address(request, "prompts_prompt", "changelist"),
        ),
        FirstStep(
            "Execute it",
            "POST /api/v1/prompts/by-slug/{slug}/execute. A moment later its tokens, cost and latency are here.",
            is_done=False,
        ),
    ]
