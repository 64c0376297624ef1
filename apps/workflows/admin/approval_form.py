"""A form made of the JSON Schema of an approval's data. What the schema says is checked by the service, not here."""

from collections.abc import Callable
from typing import Any

import orjson
from django import forms
from django.core.exceptions import ValidationError
from rest_framework.exceptions import APIException

from everquant.api.errors import ApiError
from everquant.api.parsers import check_json, parse_json

COMMENT_LENGTH = 2000
LONG_TEXT = 200
MOST_FIELDS = 50
_STYLE = {"class": "wf-input"}

Json = Any


class JsonField(forms.CharField):
    """Any JSON; empty stands for nothing."""

    widget = forms.Textarea

    def to_python(self, value: Any) -> Json:
        text = super().to_python(value) or ""
        if not text.strip():
            return None
        try:
            return parse_json(text.encode())
        except APIException as error:
            raise ValidationError("This is not JSON that can be stored.") from error

    def validate(self, value: Json) -> None:
        """Whether it is required says the schema."""


class DecisionForm(forms.Form):
    """One field for each property, named `data.<property>`, or one box `data` for what is no flat object."""

    def __init__(self, schema: Json, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._schema = schema if isinstance(schema, dict) else {}
        required = self._schema.get("required")
        self._required = set(filter(_is_text, required)) if isinstance(required, list) else set()
        self._properties = _properties(self._schema)
        for name, part in self._properties.items():
            self.fields[f"data.{name}"] = _field(name, part, is_demanded=name in self._required)
        if self._schema and not self._properties:
            self.fields["data"] = _json_field(
                "Data", "JSON that fits the schema of the approval.", {}, is_demanded=True
            )
        self.fields["comment"] = forms.CharField(
            required=False, max_length=COMMENT_LENGTH, widget=forms.Textarea({**_STYLE, "rows": 3})
        )

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        for name, value in list(cleaned.items()):
            try:
                check_json(value)
            except APIException:
                self.add_error(name, "This cannot be stored.")
        if not isinstance(cleaned.get("data", {}), dict | None):
            self.add_error("data", "An object is expected.")
        return self.cleaned_data

    def given_data(self) -> dict[str, Json] | None:
        """What was filled in; empty fields are left out. None when nothing is asked for."""
        if "data" in self.fields:
            whole: dict[str, Json] | None = self.cleaned_data.get("data")
            return whole
        if not self._properties:
            return None
        values = {name: self.cleaned_data.get(f"data.{name}") for name in self._properties}
        return {name: value for name, value in values.items() if value not in (None, "")}

    def add_details(self, error: ApiError) -> None:
        """What the service has refused, at the fields that it names (`data.amount`, `data.items.0`, `comment`)."""
        told = False
        for path, reason in error.details.items():
            known = [name for name in self.fields if path == name or path.startswith(f"{name}.")]
            self.add_error(known[0] if known else None, reason if known else f"{path}: {reason}")
            told = True
        if not told:
            self.add_error(None, error.message)


def _properties(schema: dict[str, Json]) -> dict[str, dict[str, Json]]:
    found = schema.get("properties")
    if not isinstance(found, dict) or not 0 < len(found) <= MOST_FIELDS or schema.get("type", "object") != "object":
        return {}
    return {name: part if isinstance(part, dict) else {} for name, part in found.items()}


def _field(name: str, part: dict[str, Json], *, is_demanded: bool) -> forms.Field:
    label = part["title"] if _is_text(part.get("title")) else name.replace("_", " ").capitalize()
    about = part["description"] if _is_text(part.get("description")) else ""
    choices = part.get("enum")
    if isinstance(choices, list) and choices and all(_is_text(one) for one in choices):
        pairs = (
            [(one, one) for one in choices]
            if is_demanded and "default" in part
            else [("", "—"), *zip(choices, choices, strict=True)]
        )
        field: forms.Field = forms.ChoiceField(choices=pairs, widget=forms.Select(_STYLE))
    else:
        make = _MAKERS.get(str(part.get("type")))
        if make is None or "enum" in part or "const" in part:
            return _json_field(label, about or "JSON.", part, is_demanded=is_demanded)
        field = make(part)
    field.required = False
    field.label, field.help_text, field.initial = label, about, part.get("default")
    field.is_demanded = is_demanded  # type: ignore[attr-defined] # shown, not checked: that is the service's
    return field


def _json_field(label: str, about: str, part: dict[str, Json], *, is_demanded: bool) -> forms.Field:
    field = JsonField(required=False, label=label, help_text=about, widget=forms.Textarea({**_STYLE, "rows": 5}))
    if "default" in part:
        field.initial = orjson.dumps(part["default"], option=orjson.OPT_INDENT_2).decode()
    field.is_demanded = is_demanded  # type: ignore[attr-defined] # as in _field
    return field


def _text_field(part: dict[str, Json]) -> forms.Field:
    longest = part.get("maxLength")
    is_long = isinstance(longest, int) and not isinstance(longest, bool) and longest > LONG_TEXT
    return forms.CharField(widget=forms.Textarea({**_STYLE, "rows": 4}) if is_long else forms.TextInput(_STYLE))


_MAKERS: dict[str, Callable[[dict[str, Json]], forms.Field]] = {
    "string": _text_field,
    "integer": lambda part: forms.IntegerField(widget=forms.NumberInput(_STYLE)),
    "number": lambda part: forms.FloatField(widget=forms.NumberInput({**_STYLE, "step": "any"})),
    "boolean": lambda part: forms.BooleanField(widget=forms.CheckboxInput()),
}


def _is_text(value: Json) -> bool:
    return isinstance(value, str)
