"""How a model call is made and never lost: the one way to a provider, for every caller. Knows nothing of HTTP.

`prepare` resolves, renders, claims the idempotency key and stores the execution as running; `run` calls without a
database connection and records. `execute` is both. Typed errors are those of `everquant.api.errors`.
"""

from apps.executions.orchestrator.command import Command, Finished, IdempotencyClaim, InlinePrompt
from apps.executions.orchestrator.recording import CompanionRefused, Statement
from apps.executions.orchestrator.resolution import names_to_prefetch
from apps.executions.orchestrator.running import Prepared, execute, prepare, run

__all__ = [
    "Command",
    "CompanionRefused",
    "Finished",
    "IdempotencyClaim",
    "InlinePrompt",
    "Prepared",
    "Statement",
    "execute",
    "names_to_prefetch",
    "prepare",
    "run",
]
