"""Prompts as pure values: check, find variables, render. No database, no framework."""

from apps.prompts.rendering.errors import PromptError, RenderError, SchemaError, TemplateError, VariablesError
from apps.prompts.rendering.prompt import FORMATS, CompiledPrompt, Variable, compile_prompt, extract_variables
from apps.prompts.rendering.schema import check_response_schema
from apps.prompts.rendering.tools import check_parameters, check_tools

__all__ = [
    "FORMATS",
    "CompiledPrompt",
    "PromptError",
    "RenderError",
    "SchemaError",
    "TemplateError",
    "Variable",
    "VariablesError",
    "check_parameters",
    "check_response_schema",
    "check_tools",
    "compile_prompt",
    "extract_variables",
]
