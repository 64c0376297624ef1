from collections.abc import Mapping
from typing import Self


class PromptError(Exception):
    """A prompt that cannot be stored or rendered; `details` maps dotted paths of the input to one reason each."""

    def __init__(self, message: str, details: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.details = dict(details or {})

    def at(self, path: str) -> Self:
        """The same error, told of the field `path`."""
        return type(self)(self.message, {path: self.message})


class TemplateError(PromptError):
    """The text, the messages or the format are not a template."""


class SchemaError(PromptError):
    """The JSON Schema of the variables is not one, or uses what is not supported."""


class VariablesError(PromptError):
    """The values do not fit the template: missing, unknown, of a wrong type, or not storable."""


class RenderError(PromptError):
    """The template failed on these values, or went over a limit."""
