"""What is asked before a test changes its state."""

from typing import Any

from django import forms
from rest_framework.exceptions import APIException

from apps.prompts.models import REASON_LENGTH, ABTest
from everquant.api.errors import ApiError
from everquant.api.parsers import check_json

_STYLE = {"class": "wf-input"}


class ConfirmationForm(forms.Form):
    """Nothing but the button."""

    def __init__(self, test: ABTest, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.test = test

    def add_refusal(self, error: ApiError) -> None:
        """What the service says, at the fields that it names; its message may hold the details already."""
        self.add_error(None, error.message)
        for path, reason in error.details.items():
            if reason not in error.message:
                self.add_error(path if path in self.fields else None, reason)


class ReasonForm(ConfirmationForm):
    reason = forms.CharField(max_length=REASON_LENGTH, widget=forms.Textarea({**_STYLE, "rows": 3}))

    def clean_reason(self) -> str:
        said = str(self.cleaned_data["reason"])
        try:
            check_json(said)
        except APIException as error:
            raise forms.ValidationError("This cannot be stored.") from error
        return said


class ForceForm(ReasonForm):
    force = forms.BooleanField(required=False, help_text="Do it although something speaks against it.")


class PromotionForm(ForceForm):
    variant = forms.ChoiceField(widget=forms.Select(_STYLE))
    field_order = ["variant", "reason", "force"]

    def __init__(self, test: ABTest, *args: Any, **kwargs: Any) -> None:
        super().__init__(test, *args, **kwargs)
        candidates = [each for each in test.variants.all() if not each.is_control]
        field: Any = self.fields["variant"]
        field.choices = [(each.name, f"{each.name} (version {each.version.version_number})") for each in candidates]
