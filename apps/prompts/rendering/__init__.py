"""Prompts as pure values: check, find variables, render. No database, no framework."""

from apps.prompts.rendering.errors import PromptError, RenderError, SchemaError, TemplateError, VariablesError
from apps.prompts.rendering.prompt import FORMATS, CompiledPrompt, Variable, compile_prompt, extract_variables
from apps.prompts.rendering.schema import check_response_schema

__all__ = [
    "FORMATS",
    "CompiledPrompt",
    "PromptError",
    "RenderError",
    "SchemaError",
    "TemplateError",
    "Variable",
    "VariablesError",
    "check_response_schema",
    "compile_prompt",
    "extract_variables",
]
