from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from apps.prompts.rendering.errors import PromptError, RenderError, TemplateError, VariablesError
from apps.prompts.rendering.jinja import JinjaTemplate, compile_jinja
from apps.prompts.rendering.limits import MAX_OUTPUT_CHARS, MAX_VALUES_SIZE, MAX_VARIABLES
from apps.prompts.rendering.messages import Message, check_messages, texts_of, with_texts
from apps.prompts.rendering.schema import check_schema, check_values, defaults, type_of
from apps.prompts.rendering.simple import SimpleTemplate, compile_simple
from apps.prompts.rendering.values import find_problem, measure

Format = Literal["simple", "jinja2"]
FORMATS: tuple[str, ...] = ("simple", "jinja2")
Template = SimpleTemplate | JinjaTemplate


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable that a prompt takes; `type` is a JSON type, or `any` when no schema says more."""

    name: str
    type: str
    required: bool

    def as_dict(self) -> dict[str, Any]:
        return {"name": self.name, "type": self.type, "required": self.required}


@dataclass(frozen=True, slots=True)
class CompiledPrompt:
    """A prompt that was found good: its variables, and the way to render it."""

    content: str | None
    messages: list[Message] | None
    templates: dict[str, Template]
    variables: tuple[Variable, ...]
    schema: Mapping[str, Any] | None

    def render(self, values: Mapping[str, Any]) -> str | list[Message]:
        """The rendered text of a text prompt, or the rendered messages of a chat prompt.

        Raises VariablesError (details `variables.<name>`) or RenderError (details by template).
        """
        if self.messages is None:
            text: str = self.render_messages(values)[0]["content"]
            return text
        return self.render_messages(values)

    def render_messages(self, values: Mapping[str, Any]) -> list[Message]:
        """As `render`; a text prompt becomes one message of the user."""
        complete = self._complete(values)
        texts: dict[str, str] = {}
        left = MAX_OUTPUT_CHARS
        for path, template in self.templates.items():
            texts[path] = _render_at(path, template, complete)
            left -= len(texts[path])
            if left < 0:
                raise RenderError(f"The rendered prompt is longer than {MAX_OUTPUT_CHARS} characters.").at(path)
        if self.messages is None:
            return [{"role": "user", "content": texts["content"]}]
        return with_texts(self.messages, texts.__getitem__)

    def _complete(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The values with the schema's defaults; raises VariablesError for what is missing, unknown or wrong."""
        _check_sizes(values)
        known = {variable.name for variable in self.variables}
        complete = {**defaults(self.schema), **values}
        details = {f"variables.{name}": "The prompt has no such variable." for name in values if name not in known}
        for template in self.templates.values():
            for name, reason in template.missing(complete).items():
                details.setdefault(f"variables.{name}", reason)
        if details:
            raise VariablesError("The variables do not match the prompt.", details)
        if self.schema is not None:
            check_values(self.schema, complete)
        return complete


def compile_prompt(
    *,
    content: str | None = None,
    messages: list[Message] | None = None,
    format: str = "simple",  # noqa: A002 (the field's name in the API)
    variables_schema: Mapping[str, Any] | None = None,
) -> CompiledPrompt:
    """Check a prompt (exactly one of `content` and `messages`) and make it ready to render.

    Raises TemplateError or SchemaError whose details name `content`, `messages.<n>...`, `format` or
    `variables_schema...`.
    """
    if format not in FORMATS:
        raise TemplateError(f"One of {', '.join(FORMATS)} is expected.").at("format")
    if (content is None) == (messages is None):
        raise TemplateError("Either content or messages is expected.").at("content" if messages is None else "messages")
    templates = {path: _compile_at(path, text, format) for path, text in _sources(content, messages)}
    names = tuple(dict.fromkeys(name for template in templates.values() for name in template.names))
    if len(names) > MAX_VARIABLES:
        raise TemplateError(f"The prompt has more than {MAX_VARIABLES} variables.").at("messages")
    if variables_schema is not None:
        check_schema(variables_schema, names)
    required = frozenset(name for template in templates.values() for name in template.required)
    required -= defaults(variables_schema).keys()
    variables = tuple(Variable(name, type_of(variables_schema, name), name in required) for name in names)
    return CompiledPrompt(content, messages, templates, variables, variables_schema)


def extract_variables(source: str | list[Message], format: str = "simple") -> tuple[str, ...]:  # noqa: A002
    """The names of a template's variables in order of appearance; of a dotted name, its first segment."""
    if isinstance(source, str):
        compiled = compile_prompt(content=source, format=format)
    else:
        compiled = compile_prompt(messages=source, format=format)
    return tuple(variable.name for variable in compiled.variables)


def _sources(content: Any, messages: Any) -> list[tuple[str, str]]:
    if messages is not None:
        check_messages(messages)
        return list(texts_of(messages))
    if not isinstance(content, str):
        raise TemplateError("A text is expected.").at("content")
    problem = find_problem(content, "content")
    if problem is not None:
        raise TemplateError(problem[1]).at(problem[0])
    return [("content", content)]


def _compile_at(path: str, text: str, format: str) -> Template:  # noqa: A002
    try:
        return compile_jinja(text) if format == "jinja2" else compile_simple(text)
    except PromptError as error:
        raise error.at(path) from error


def _render_at(path: str, template: Template, values: dict[str, Any]) -> str:
    try:
        return template.render(values)
    except PromptError as error:
        raise error.at(path) from error


def _check_sizes(values: Any) -> None:
    if not isinstance(values, Mapping):
        raise VariablesError("An object is expected.").at("variables")
    problem = find_problem(dict(values), "variables")
    if problem is not None:
        raise VariablesError(problem[1]).at(problem[0])
    try:
        measure(dict(values), MAX_VALUES_SIZE)
    except RenderError as error:
        raise VariablesError(error.message).at("variables") from error
