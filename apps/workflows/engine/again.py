"""New runs that begin where another one has come to: what had ended well there is taken over and costs nothing."""

from collections.abc import Iterator, Mapping
from typing import Any

from django.db import connection, transaction

from apps.users.principal import Principal
from apps.workflows.definition.model import Definition, Graph
from apps.workflows.definition.parsing import parse
from apps.workflows.engine.queue import start_run
from apps.workflows.models import RunSource, RunStatus, WorkflowRun, WorkflowVersion
from everquant.api.errors import BadRequest, Conflict

# The newest attempt of each node, if it ended well and belongs to a node that is kept.
_TAKE_OVER = """
INSERT INTO workflows_workflowstep (run_id, path, node_id, kind, attempt, status, handle, input, output, error_code,
    error_message, execution_id, is_reused, started_at, finished_at)
SELECT %(to)s, path, node_id, kind, 1, status, handle, input, output, error_code, error_message, execution_id, true,
    started_at, finished_at
FROM (SELECT DISTINCT ON (path) * FROM workflows_workflowstep WHERE run_id = %(from)s ORDER BY path, attempt DESC) last
WHERE handle <> '' AND status IN ('succeeded', 'failed')
AND split_part(split_part(path, '.', 1), '[', 1) = ANY(%(kept)s)
"""


def retry_from(*, run: WorkflowRun, by: Principal, node_id: str | None = None) -> WorkflowRun:
    """A new run of the same version: all that ended well stays, but for this node and what follows it.

    Without a node, what failed, was cut off or never ran is done again. Raises Conflict while the run goes on or when
    there is nothing to do again; BadRequest naming `from` for no node of the workflow.
    """
    if node_id is None and run.status == RunStatus.SUCCEEDED:
        raise Conflict("The run has succeeded: name the node to begin from.", details={"from": "Required."})
    return _again(run, run.version, run.inputs, node_id, by, RunSource.RETRY, field="from")


def fork_run(
    *,
    run: WorkflowRun,
    by: Principal,
    node_id: str | None = None,
    version: WorkflowVersion | None = None,
    inputs: dict[str, Any] | None = None,
) -> WorkflowRun:
    """A new run from what another has come to, with other inputs or of another version of the same workflow.

    From a node on; without one, from the start. What is taken over are nodes that both versions have alike.
    """
    if node_id is None:
        kept_from = run.version if version is None else version
        return start_run(
            workflow=run.workflow,
            version=kept_from,
            inputs=run.inputs if inputs is None else inputs,
            source=RunSource.FORK,
            created_by_id=by.user_id,
            api_key_id=by.api_key_id,
            metadata=run.metadata,
            origin=run,
        )
    return _again(run, version or run.version, run.inputs if inputs is None else inputs, node_id, by, RunSource.FORK)


def _again(
    run: WorkflowRun,
    version: WorkflowVersion,
    inputs: dict[str, Any],
    node_id: str | None,
    by: Principal,
    source: RunSource,
    *,
    field: str = "node",
) -> WorkflowRun:
    if not run.is_finished:
        raise Conflict("The run has not ended.", details={"status": run.status})
    graph = parse(version.definition).graph
    if node_id is not None and node_id not in graph.nodes:
        why = "The workflow has no such node, or it is in the body of another."
        raise BadRequest(f"{field}: {why}", details={field: why})
    with transaction.atomic():
        again = start_run(
            workflow=run.workflow,
            version=version,
            inputs=inputs,
            source=source,
            created_by_id=by.user_id,
            api_key_id=by.api_key_id,
            metadata=run.metadata,
            origin=run,
            origin_node=node_id or "",
        )
        with connection.cursor() as cursor:
            cursor.execute(_TAKE_OVER, {"to": again.id, "from": run.id, "kept": _kept(run, version, graph, node_id)})
    return again


def _kept(run: WorkflowRun, version: WorkflowVersion, graph: Graph, node_id: str | None) -> list[str]:
    """Nodes whose results stay: neither to be done again nor told otherwise by the version."""
    redone = set() if node_id is None else {node_id, *graph.descendants(node_id)}
    if version.id != run.version_id:
        before, now = parse(run.version.definition), parse(version.definition)
        for key in graph.nodes:
            if _likeness(before, run.version.pins, key) != _likeness(now, version.pins, key):
                redone |= {key, *graph.descendants(key)}
    return [key for key in graph.nodes if key not in redone]


def _likeness(definition: Definition, pins: Mapping[str, Any], key: str) -> Any:
    """All that a node's result follows from, but for the results of others; None for no node."""
    node = definition.graph.nodes.get(key)
    if node is None:
        return None
    own = {one: pins.get(one) for one in [key, *_inside(definition, key)]}
    edges = [(edge.source, edge.handle) for edge in definition.graph.incoming[key]]
    return node.kind, node.config, node.on_error, node.default_output, own, edges


def _inside(definition: Definition, key: str) -> Iterator[str]:
    """The nodes of its body, and of the bodies in that."""
    body = definition.bodies.get(key)
    for inner in body.graph.nodes if body is not None else ():
        yield inner
        yield from _inside(definition, inner)
