"""All kinds of nodes, by the name that definitions use."""

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType

from apps.workflows.nodes.approval import Approval
from apps.workflows.nodes.base import NodeKind
from apps.workflows.nodes.condition import Condition
from apps.workflows.nodes.containers import Loop, Map, Subworkflow
from apps.workflows.nodes.delay import Delay
from apps.workflows.nodes.evaluate import Evaluate
from apps.workflows.nodes.http import Http
from apps.workflows.nodes.join import Join
from apps.workflows.nodes.llm import Llm
from apps.workflows.nodes.prompt import Prompt
from apps.workflows.nodes.template import Template
from apps.workflows.nodes.transform import Transform

_KINDS: tuple[type[NodeKind], ...] = (
    Prompt, Llm, Template, Transform, Condition, Join, Map, Loop, Subworkflow, Approval, Http, Evaluate, Delay,
)  # fmt: skip


@cache
def kinds() -> Mapping[str, NodeKind]:
    return MappingProxyType({kind.kind: kind() for kind in _KINDS})
