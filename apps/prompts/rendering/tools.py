"""What else a version carries to the model: parameters and tools."""

import json
import re
from typing import Any

from apps.models.parameters import parameter_problems
from apps.prompts.rendering.errors import TemplateError
from apps.prompts.rendering.values import find_problem

MAX_TOOLS = 128
MAX_TOOLS_CHARS = 256_000
TOOL_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
TOOL_FIELDS = frozenset({"description", "name", "parameters", "strict"})


def check_parameters(parameters: Any) -> None:
    """Raise TemplateError, details by `parameters.<name>`, unless these are parameters of a call."""
    if not isinstance(parameters, dict):
        raise TemplateError("An object is expected.").at("parameters")
    problems = parameter_problems(parameters)
    if problems:
        raise TemplateError(
            "The parameters are not valid.",
            {f"parameters.{name}".rstrip("."): why for name, why in problems.items()},
        )


def check_tools(tools: Any) -> None:
    """Raise TemplateError unless every tool is `{"type": "function", "function": {"name", ...}}`, names unique."""
    if not isinstance(tools, list) or len(tools) > MAX_TOOLS:
        raise TemplateError(f"A list of at most {MAX_TOOLS} tools is expected.").at("tools")
    problem = find_problem(tools, "tools")
    if problem is not None:
        raise TemplateError(problem[1]).at(problem[0])
    if len(json.dumps(tools)) > MAX_TOOLS_CHARS:
        raise TemplateError(f"Longer than {MAX_TOOLS_CHARS} characters.").at("tools")
    seen: set[str] = set()
    for index, tool in enumerate(tools):
        path = f"tools.{index}"
        if not isinstance(tool, dict) or set(tool) != {"type", "function"} or tool["type"] != "function":
            raise TemplateError('{"type": "function", "function": {...}} is expected.').at(path)
        name = _check_function(f"{path}.function", tool["function"])
        if name in seen:
            raise TemplateError("Another tool has this name.").at(f"{path}.function.name")
        seen.add(name)


def _check_function(path: str, function: Any) -> str:
    if not isinstance(function, dict):
        raise TemplateError("An object is expected.").at(path)
    unknown = sorted(function.keys() - TOOL_FIELDS)
    if unknown:
        raise TemplateError("Unknown field.").at(f"{path}.{unknown[0]}")
    name = function.get("name")
    if not isinstance(name, str) or not TOOL_NAME.fullmatch(name):
        raise TemplateError("1 to 64 letters, digits, _ or - are expected.").at(f"{path}.name")
    for field, kind in (("description", str), ("parameters", dict), ("strict", bool)):
        if field in function and not isinstance(function[field], kind):
            raise TemplateError(f"Not {kind.__name__}.").at(f"{path}.{field}")
    return name
