"""What an evaluation is asked to compare, before anything of it is looked up."""

from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from apps.evaluations.models import SubjectKind

Json = dict[str, Any]
Reference = UUID | str
"""An id, or a slug."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SubjectWish:
    """What shall answer: exactly one of `prompt`, `workflow`, `messages` and `is_recorded` is given.

    Version and label choose as in an execution. Without a name it is called after what answers.
    """

    name: str = ""
    prompt: Reference | None = None
    workflow: Reference | None = None
    version: int | None = None
    label: str | None = None
    messages: list[Json] | None = None
    response_schema: Json | None = None
    model_id: UUID | None = None
    parameters: Json = field(default_factory=dict)
    is_recorded: bool = False

    @property
    def kind(self) -> SubjectKind:
        if self.prompt is not None:
            return SubjectKind.PROMPT
        if self.workflow is not None:
            return SubjectKind.WORKFLOW
        return SubjectKind.RECORDED if self.is_recorded else SubjectKind.INLINE


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricWish:
    """By which evaluator; without a version its newest one, without a name under its slug."""

    evaluator: Reference
    version: int | None = None
    name: str = ""
