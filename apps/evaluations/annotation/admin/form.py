"""The form of a queue, made of its score configs. What they allow is checked by the service, not here."""

from collections.abc import Mapping, Sequence
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from rest_framework.exceptions import APIException

from apps.evaluations.annotation.values import LONGEST_TEXT, labels_of
from apps.evaluations.models import Annotation, ScoreConfig, ScoreType
from everquant.api.errors import ApiError
from everquant.api.parsers import check_json

YES_OR_NO = [("true", "Yes"), ("false", "No")]
_STYLE = {"class": "wf-input"}

Json = Any


class AnnotationForm(forms.Form):
    """A field for each score config, named by its id. Choices are radio buttons, which digits can press."""

    def __init__(self, configs: Sequence[ScoreConfig], *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.configs = configs
        for config in configs:
            field = _field(config)
            field.required, field.label, field.help_text = False, config.name, config.description
            self.fields[str(config.id)] = field
        self.fields["comment"] = forms.CharField(
            required=False, max_length=LONGEST_TEXT, widget=forms.Textarea({**_STYLE, "rows": 2})
        )

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        for name, value in list(cleaned.items()):
            try:
                check_json(value)
            except APIException:
                self.add_error(name, ValidationError("This cannot be stored."))
        return self.cleaned_data

    def given_values(self) -> dict[str, Json]:
        """By the names of the score configs; what is not filled in is left out."""
        given = {config.name: _value(config, self.cleaned_data.get(str(config.id))) for config in self.configs}
        return {name: value for name, value in given.items() if value is not None}

    def add_details(self, error: ApiError) -> None:
        """What the service has refused, at the fields that it names."""
        places = {f"values.{config.name}": str(config.id) for config in self.configs}
        for path, reason in error.details.items():
            place = places.get(path)
            self.add_error(place, reason if place else f"{path}: {reason}")
        if not error.details:
            self.add_error(None, error.message)

    def questions(self) -> list[dict[str, Any]]:
        """As the page shows them. An option's key is the digit that chooses it."""
        return [_question(config, self[str(config.id)]) for config in self.configs]


def initial_of(configs: Sequence[ScoreConfig], annotation: Annotation) -> Mapping[str, Json]:
    """The form as it was submitted."""
    given = {str(config.id): _written(config, annotation.values.get(str(config.id))) for config in configs}
    return {**given, "comment": annotation.comment}


def _field(config: ScoreConfig) -> forms.Field:
    if config.type == ScoreType.BOOLEAN:
        return forms.ChoiceField(choices=YES_OR_NO, widget=forms.RadioSelect)
    if config.type == ScoreType.CATEGORICAL:
        pairs = [(str(number), label) for number, label in enumerate(labels_of(config))]
        return forms.ChoiceField(choices=pairs, widget=forms.RadioSelect)
    if config.type == ScoreType.NUMERIC:
        limits = {"min": config.minimum, "max": config.maximum}
        given = {name: f"{value:g}" for name, value in limits.items() if value is not None}
        return forms.FloatField(widget=forms.NumberInput({**_STYLE, "step": "any", **given}))
    return forms.CharField(max_length=LONGEST_TEXT, widget=forms.Textarea({**_STYLE, "rows": 3}))


def _question(config: ScoreConfig, bound: forms.BoundField) -> dict[str, Any]:
    choices = getattr(bound.field, "choices", [])
    chosen = bound.value()
    options = [
        {
            "value": value,
            "label": label,
            "key": str((number + 1) % 10) if number < 10 else "",
            "is_chosen": str(chosen) == value,
        }
        for number, (value, label) in enumerate(choices)
    ]
    return {"config": config, "field": bound, "options": options, "range": _range(config)}


def _range(config: ScoreConfig) -> str:
    low, high = config.minimum, config.maximum
    if low is not None and high is not None:
        return f"From {low:g} to {high:g}."
    if low is not None:
        return f"At least {low:g}."
    return f"At most {high:g}." if high is not None else ""


def _value(config: ScoreConfig, given: Json) -> Json:
    if given in (None, ""):
        return None
    if config.type == ScoreType.BOOLEAN:
        return given == "true"
    return labels_of(config)[int(given)] if config.type == ScoreType.CATEGORICAL else given


def _written(config: ScoreConfig, value: Json) -> Json:
    if config.type == ScoreType.BOOLEAN and value is not None:
        return "true" if value else "false"
    if config.type == ScoreType.CATEGORICAL:
        labels = labels_of(config)
        return str(labels.index(value)) if value in labels else None
    return value
