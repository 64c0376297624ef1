"""What a version says, checked as a whole before anything is written."""

from collections.abc import Callable, Mapping
from typing import Any, TypedDict

from apps.models.models import LLMModel
from apps.prompts.models import Prompt, PromptVersion
from apps.prompts.rendering import (
    PromptError,
    Variable,
    check_parameters,
    check_response_schema,
    check_tools,
    compile_prompt,
)
from everquant.api.errors import BadRequest


class Definition(TypedDict, total=False):
    """What makes a version; everything that is not given has the default of `complete`."""

    content: str | None
    messages: list[dict[str, Any]] | None
    format: str
    model: LLMModel | None
    parameters: dict[str, Any]
    tools: list[dict[str, Any]]
    response_schema: dict[str, Any] | None
    variables_schema: dict[str, Any] | None


DEFAULTS: Definition = {
    "content": None,
    "messages": None,
    "format": "simple",
    "model": None,
    "parameters": {},
    "tools": [],
    "response_schema": None,
    "variables_schema": None,
}
FIELDS = tuple(DEFAULTS)


def definition_of(version: PromptVersion) -> Definition:
    """The definition of a stored version; its model costs a query when it has one."""
    return Definition(
        content=version.content,
        messages=version.messages,
        format=version.format,
        model=version.model,
        parameters=version.parameters,
        tools=version.tools,
        response_schema=version.response_schema,
        variables_schema=version.variables_schema,
    )


def check_definition(definition: Definition) -> list[dict[str, Any]]:
    """The variables of a complete definition; raises BadRequest naming every field that is wrong."""
    variables: tuple[Variable, ...] = ()
    details: dict[str, str] = {}

    def compile_it() -> None:
        nonlocal variables
        variables = compile_prompt(
            content=definition["content"],
            messages=definition["messages"],
            format=definition["format"],
            variables_schema=definition["variables_schema"],
        ).variables

    checks: list[Callable[[], None]] = [
        compile_it,
        lambda: check_parameters(definition["parameters"]),
        lambda: check_tools(definition["tools"]),
    ]
    if definition["response_schema"] is not None:
        checks.append(lambda: check_response_schema(definition["response_schema"]))
    for check in checks:
        try:
            check()
        except PromptError as error:
            details.update(error.details)
    if details:
        raise BadRequest("The prompt is not valid.", details=details)
    return [variable.as_dict() for variable in variables]


def type_of(definition: Mapping[str, Any]) -> str:
    """The type that a definition's body says."""
    return Prompt.Type.CHAT if definition["messages"] is not None else Prompt.Type.TEXT
