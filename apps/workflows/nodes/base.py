"""What a kind of node is. Each kind is a module of this package with one subclass of `NodeKind`.

A kind never knows of LangGraph, of checkpoints or of retries: it is given what it needs, and gives a `Result`, raises
`NodeFailure`, or raises `Waiting`. It is called again for the same attempt when a worker was killed in the middle.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, ClassVar, Protocol
from uuid import UUID

from apps.executions.orchestrator import Statement
from apps.models.providers.base import Delta
from apps.models.providers.cancellation import Cancellation
from apps.workflows.definition.model import OK, Edge, Node
from apps.workflows.definition.values import Reference, Scope, references

Json = Any


@dataclass(frozen=True, slots=True)
class Usage:
    """What a node's model call used; None is unknown, which is not 0."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cost_usd: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """`output` is plain JSON. `input` is what the configuration was resolved to, for the history."""

    output: Json
    handle: str = OK
    input: Json = None
    execution_id: UUID | None = None
    usage: Usage = Usage()


class NodeFailure(Exception):
    """The attempt failed. `code` is UPPER_CASE; `is_retryable` says that another attempt may succeed."""

    def __init__(
        self,
        code: str,
        message: str,
        *,
        is_retryable: bool = False,
        retry_after_s: float | None = None,
        input: Json = None,  # noqa: A002 (as Result's)
        execution_id: UUID | None = None,
        usage: Usage = Usage(),
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.is_retryable = is_retryable
        self.retry_after_s = retry_after_s
        self.input = input
        self.execution_id = execution_id
        self.usage = usage


class Waiting(Exception):
    """The node goes on later: when `wake_at` has come, or when somebody wakes the run; None is never by itself.

    No thread is held meanwhile, and other branches go on. The node is then called again, for the same attempt.
    """

    def __init__(self, wake_at: datetime | None, input: Json = None) -> None:  # noqa: A002 (as Result's)
        super().__init__()
        self.wake_at = wake_at
        self.input = input


@dataclass(frozen=True, slots=True)
class RunInfo:
    """Of the run that a node belongs to. `created_by_id` and `api_key_id` are whose budgets count."""

    id: UUID
    organization_id: UUID
    workflow_id: UUID
    created_by_id: UUID | None
    api_key_id: UUID | None
    metadata: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Incoming:
    """An edge that leads here: whether it is active, and what its source gave."""

    edge: Edge
    is_active: bool
    output: Json


class Records(Protocol):
    """What is recorded of an attempt, for who makes an execution: its statements are stored in those of the execution.

    `begin` stores the start where no statement did.
    """

    def begin(self) -> None: ...
    def begin_with_call(self) -> Statement: ...
    def note_begin(self) -> None: ...
    def succeed_with_call(self, result: Result) -> Statement: ...
    def note_success(self, row: Sequence[Any]) -> None: ...


@dataclass(slots=True)
class NodeCall:
    """One attempt. `first_started_at` is when the node's first attempt began, in any worker.

    `deadline` is in seconds of `time.monotonic()`. `cancellation` is requested when the run is cancelled, timed out
    or taken away: whatever waits must listen to it. `emit` takes the pieces of a streamed answer.
    """

    run: RunInfo
    node: Node
    path: str
    attempt: int
    scope: Scope
    pin: Mapping[str, Json]
    incoming: Sequence[Incoming]
    first_started_at: datetime
    deadline: float
    cancellation: Cancellation
    emit: Callable[[Delta], None] = field(default=lambda delta: None)
    records: Records | None = None

    @property
    def config(self) -> Mapping[str, Json]:
        return self.node.config

    @property
    def key(self) -> str:
        """The same for every call of this attempt: what makes a repeated call one execution, or one request."""
        return f"{self.run.id}:{self.path}:{self.attempt}"

    def seconds_left(self) -> float:
        """Until the deadline, at least 0."""
        return max(0.0, self.deadline - time.monotonic())


class Pinner(Protocol):
    """Finds, at publish, what a configuration refers to in the organization. `problem` notes what cannot be found.

    `field` is where in the node's configuration, as in `NodeKind.check`.
    """

    organization_id: UUID

    def problem(self, code: str, message: str, field: str) -> None: ...


class NodeKind(ABC):
    """`config_schema` is the JSON Schema of `config`. A container's body is `{"$ref": "#/$defs/body"}` in it."""

    kind: ClassVar[str]
    config_schema: ClassVar[dict[str, Any]]
    # Keys of the configuration in which nothing is resolved: schemas, expressions, bodies.
    literals: ClassVar[frozenset[str]] = frozenset()
    # Whether an attempt is noted before it runs: not worth it for what takes no time and has no effect.
    is_instant: ClassVar[bool] = False
    # Whether an attempt is noted with the execution that it makes by `ask`, whose result is the node's.
    calls_model: ClassVar[bool] = False

    def handles(self, config: Mapping[str, Json]) -> tuple[str, ...]:
        """By which edges may leave, without `error`."""
        return (OK,)

    def check(self, config: Mapping[str, Json]) -> list[tuple[str, str, str]]:
        """Beyond the schema, without the database: (code, message, where) of each problem.

        `where` is a JSON pointer within the configuration, without its first slash: `cases/0/expr`.
        """
        return []

    def references(self, config: Mapping[str, Json]) -> list[Reference]:
        """Everything that the configuration refers to; pointers are within it. Raises ValueProblem.

        Without what stands in a container's body or in the `until` of a loop, which sees its body.
        """
        return references({key: value for key, value in config.items() if key not in self.literals})

    def pin(self, config: Mapping[str, Json], pinner: Pinner) -> dict[str, Json]:
        """What is found of the organization, plain JSON; problems go to the pinner."""
        return {}

    def is_ready(self, config: Mapping[str, Json], incoming: Sequence[Incoming]) -> bool:
        """Whether it runs, once all before it have ended; else it is skipped. Starts are not asked."""
        return any(one.is_active for one in incoming)

    @abstractmethod
    def run(self, call: NodeCall) -> Result:
        """Raises NodeFailure, Waiting."""


class ContainerKind(NodeKind):
    """Runs a body, or another workflow. That is the engine's work: it never calls `run`."""

    def run(self, call: NodeCall) -> Result:
        raise TypeError(f"the engine runs what is in a {self.kind}")
