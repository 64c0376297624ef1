"""The prompts of the demo organization: one of each kind, with histories as real ones have."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from apps.organizations.models import Organization
from apps.prompts.services import Definition
from apps.users.models import User

# What apps above this one add to a new demo organization, in the name of its admin.
ADDITIONS: list[Callable[[Organization, User], None]] = []


@dataclass(frozen=True, slots=True)
class DemoPrompt:
    """`versions` are changes to the version before, each with its message; `labels` name version numbers."""

    slug: str
    name: str
    description: str
    tags: tuple[str, ...]
    versions: tuple[tuple[Definition, str], ...]
    labels: tuple[tuple[str, int], ...] = field(default=())


_TICKET_SCHEMA: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["reasoning", "category", "urgency"],
    "properties": {
        "reasoning": {"type": "string"},
        "category": {"type": "string", "enum": ["billing", "bug", "account", "feature", "other"]},
        "urgency": {"type": "integer", "minimum": 1, "maximum": 5},
    },
}

_DIGEST = """\
Summarize these release notes for {{ audience|default('customers') }}.
{% for change in changes %}
- {{ change.kind|upper }}: {{ change.title }}{% if change.breaking %} (breaking){% endif %}
{% endfor %}
Write at most {{ sentences|default(3) }} sentences. Name every breaking change.
"""

DEMO_PROMPTS = (
    DemoPrompt(
        slug="hello",
        name="Hello",
        description="The smallest prompt: one variable.",
        tags=("example",),
        versions=(
            ({"content": "Hello, {{name}}!"}, "First version"),
            ({"content": "Hello, {{name}}! How can I help you today?"}, "Offer help"),
        ),
        labels=(("production", 1), ("staging", 2)),
    ),
    DemoPrompt(
        slug="support/reply",
        name="Support reply",
        description="Answers a customer's question from an article of the help center, in their language.",
        tags=("support", "chat"),
        versions=(
            (
                {
                    "messages": [
                        {"role": "system", "content": "You answer customers of {{company}} kindly and briefly."},
                        {"role": "user", "content": "{{question}}"},
                    ],
                    "parameters": {"temperature": 0.3, "max_tokens": 400},
                },
                "First version",
            ),
            (
                {
                    "messages": [
                        {
                            "role": "system",
                            "content": "You answer customers of {{company}} kindly and briefly, in "
                            "{{customer.language}}.\nUse only this article. If it does not answer the question, say so."
                            "\n\n{{article}}",
                        },
                        {"role": "user", "content": "{{question}}"},
                    ]
                },
                "Answer from the article only; the customer's language",
            ),
            (
                {
                    "variables_schema": {
                        "type": "object",
                        "properties": {
                            "company": {"type": "string", "default": "EverQuant"},
                            "customer": {
                                "type": "object",
                                "required": ["language"],
                                "properties": {"language": {"type": "string", "minLength": 2}},
                            },
                            "article": {"type": "string"},
                            "question": {"type": "string", "minLength": 1},
                        },
                    }
                },
                "Types of the variables",
            ),
        ),
        labels=(("production", 2), ("staging", 3)),
    ),
    DemoPrompt(
        slug="support/classify-ticket",
        name="Classify a ticket",
        description="Sorts a ticket by category and urgency; the answer is JSON of a fixed shape.",
        tags=("support", "structured"),
        versions=(
            (
                {
                    "content": "Classify this support ticket.\n\nSubject: {{ticket.subject}}\n\n{{ticket.body}}",
                    "parameters": {"temperature": 0},
                    "response_schema": _TICKET_SCHEMA,
                },
                "First version",
            ),
            (
                {
                    "content": "Classify this support ticket. Reason first, in one sentence.\n"
                    "Urgency 5 means that the customer cannot work.\n\n"
                    "Subject: {{ticket.subject}}\n\n{{ticket.body}}"
                },
                "Say what urgency means",
            ),
        ),
        labels=(("production", 2),),
    ),
    DemoPrompt(
        slug="marketing/release-digest",
        name="Release digest",
        description="Turns a list of changes into a few sentences. Written in Jinja2: a loop, conditions, defaults.",
        tags=("marketing", "jinja2"),
        versions=(({"content": _DIGEST, "format": "jinja2", "parameters": {"temperature": 0.7}}, "First version"),),
        labels=(("production", 1),),
    ),
    DemoPrompt(
        slug="engineering/review-change",
        name="Review a change",
        description="Reviews a diff with the house rules in view, and can ask for a file.",
        tags=("engineering", "tools", "chat"),
        versions=(
            (
                {
                    "format": "jinja2",
                    "messages": [
                        {
                            "role": "system",
                            "content": "You review changes. House rules:\n"
                            "{% for rule in rules %}{{ loop.index }}. {{ rule }}\n{% endfor %}",
                        },
                        {"role": "user", "content": "{{ title }}\n\n```diff\n{{ diff }}\n```"},
                    ],
                    "tools": [
                        {
                            "type": "function",
                            "function": {
                                "name": "read_file",
                                "description": "The text of a file of the repository, as it is after the change.",
                                "parameters": {
                                    "type": "object",
                                    "required": ["path"],
                                    "properties": {"path": {"type": "string"}},
                                },
                            },
                        }
                    ],
                },
                "First version",
            ),
        ),
        labels=(("staging", 1),),
    ),
)
