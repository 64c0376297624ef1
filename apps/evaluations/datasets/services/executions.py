"""Items made of what was executed."""

from dataclasses import replace
from typing import Any
from uuid import UUID

from django.db import transaction

from apps.evaluations.datasets.items import InvalidItem, NewItem, parse_item, said_of
from apps.evaluations.datasets.services.items import Written, add_items
from apps.evaluations.datasets.services.versions import SMALL_BLOCK
from apps.evaluations.models import Dataset, OnDuplicate
from apps.executions.filters import ExecutionFilter
from apps.executions.models import Execution, Status
from apps.users.models import User
from everquant.api.envelope import dumps
from everquant.api.errors import BadRequest

MAX_EXECUTIONS = 10_000
MAX_BYTES = 64 * 1024 * 1024


@transaction.atomic(savepoint=False)
def add_executions(
    *,
    dataset: Dataset,
    criteria: dict[str, str],
    limit: int,
    with_output: bool,
    expects_output: bool,
    split: str,
    on_duplicate: OnDuplicate,
    message: str,
    created_by: User | None,
) -> Written:
    """The newest executions that the filters of their list find, oldest first: those whose payload is not purged and,
    where outputs are wanted, that have succeeded.

    The input is the variables of the prompt, else `{"messages": …}`. Raises BadRequest naming the filter that is not
    valid, or the executions that do not fit the schemas of the dataset.
    """
    executions = filtered(dataset.organization_id, criteria)
    if with_output or expects_output:
        executions = executions.filter(status=Status.SUCCEEDED)
    executions = executions.filter(payload__isnull=False)
    newest = executions.select_related("payload").order_by("-id")[:limit].iterator(chunk_size=SMALL_BLOCK)
    items, size = [], 0
    for execution in newest:
        if (with_output or expects_output) and execution.payload.output is None:
            continue
        items.append(_item_of(execution, with_output=with_output, expects_output=expects_output, split=split))
        size += len(dumps(said_of(items[-1])))
        if size > MAX_BYTES:
            raise BadRequest("These are too large to be taken at once.", details={"limit": "Ask for fewer."})
    items.reverse()
    return add_items(dataset=dataset, items=items, on_duplicate=on_duplicate, message=message, created_by=created_by)


def filtered(organization_id: UUID, criteria: dict[str, str]) -> Any:
    """Raises BadRequest naming `filter.<name>`."""
    found = ExecutionFilter(criteria, Execution.objects.for_organization(organization_id))
    if not found.is_valid():
        details = {f"filter.{name}": str(reasons[0]) for name, reasons in found.errors.items()}
        raise BadRequest("The filter is not valid.", details=details)
    return found.qs


def _item_of(execution: Execution, *, with_output: bool, expects_output: bool, split: str) -> NewItem:
    payload = execution.payload
    given = {
        "input": payload.variables if execution.prompt_id else {"messages": payload.messages},
        "split": split,
        **({"output": payload.output} if with_output else {}),
        **({"expected": payload.output} if expects_output else {}),
    }
    try:
        item = parse_item(given)
    except InvalidItem as error:
        message = f"Execution {execution.id} cannot be an item: {error}"
        raise BadRequest(message, details={"filter": message}) from None
    return replace(item, source_execution_id=execution.id)
