"""The form with which a file is imported."""

import hashlib
from pathlib import PurePath
from typing import Any, Self

import orjson
from django.core.exceptions import SuspiciousOperation
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.exceptions import ParseError, ValidationError
from rest_framework.parsers import MultiPartParser

from apps.evaluations.datasets.columns import MAX_COLUMNS, parse_target
from apps.evaluations.models import ImportFormat, OnDuplicate, OnError
from everquant.api.bulkhead import BODIES
from everquant.api.parsers import check_json
from everquant.api.serializers import StrictCharField, StrictSerializer

_FORMATS = {
    ".csv": ImportFormat.CSV,
    ".jsonl": ImportFormat.JSONL,
    ".ndjson": ImportFormat.JSONL,
    ".json": ImportFormat.JSON,
}
_TARGET = "^(split|(input|expected|output|metadata)([.][^\\u0000]*)?)$"


class UploadedFile(str):
    """The SHA-256 of a file in hexadecimal, by which an Idempotency-Key knows its request again; and the file."""

    __slots__ = ("file",)
    file: Any

    @classmethod
    def of(cls, file: Any) -> Self:
        digest = hashlib.sha256()
        for piece in file.chunks():
            digest.update(piece)
        made = cls(digest.hexdigest())
        made.file = file
        return made


class ImportParser(MultiPartParser):
    """`multipart/form-data` as one map of text, in which `file` is an UploadedFile."""

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> Any:
        try:
            with BODIES.enter():
                parsed = super().parse(stream, media_type, parser_context)
        except SuspiciousOperation as error:  # too many fields or files, or fields that are too long
            raise ParseError(str(error)) from None
        lists = [*parsed.data.lists(), *parsed.files.lists()]
        names = [name for name, _ in lists]
        repeated = [name for name, values in lists if len(values) > 1 or names.count(name) > 1]
        if repeated:
            raise ValidationError({name: ["Given more than once."] for name in repeated})
        data: dict[str, Any] = {name: str(text) for name, text in parsed.data.items()}
        check_json(data)
        return data | {name: UploadedFile.of(file) for name, file in parsed.files.items()}


@extend_schema_field({"type": "string", "contentMediaType": "application/octet-stream", "format": "binary"})
class UploadField(serializers.Field[Any, Any, Any, Any]):
    def to_internal_value(self, data: Any) -> Any:
        if not isinstance(data, UploadedFile):
            raise serializers.ValidationError("Must be a file.")
        if not data.file.size:
            raise serializers.ValidationError("The file is empty.")
        return data.file


@extend_schema_field(
    {
        "type": "string",
        "contentMediaType": "application/json",
        "contentSchema": {
            "type": "object",
            "maxProperties": MAX_COLUMNS,
            "additionalProperties": {"type": ["string", "null"], "pattern": _TARGET},
        },
    }
)
class ColumnsField(serializers.Field[Any, Any, Any, Any]):
    """A JSON object as text: column → target, null to leave it out."""

    def to_internal_value(self, data: Any) -> dict[str, str | None]:
        try:
            columns = orjson.loads(data)
        except (orjson.JSONDecodeError, TypeError):
            raise serializers.ValidationError("Must be a JSON object.") from None
        if not isinstance(columns, dict) or not 1 <= len(columns) <= MAX_COLUMNS:
            raise serializers.ValidationError(f"Must be a JSON object of 1 to {MAX_COLUMNS} columns.")
        for column, target in columns.items():
            if target is not None and (not isinstance(target, str) or parse_target(target) is None):
                message = "Must be input, expected, output, metadata, a key of these such as input.name, or split."
                raise serializers.ValidationError({column: [message]})
        check_json(columns)
        return columns


class ImportInputSerializer(StrictSerializer):
    file = UploadField()
    format = serializers.ChoiceField(
        ImportFormat.choices, required=False, help_text="By the name of the file: .csv, .jsonl, .ndjson or .json."
    )
    columns = ColumnsField(
        required=False, default=None, help_text='Column → target: `{"Question": "input.question", "Id": null}`.'
    )
    on_error = serializers.ChoiceField(OnError.choices, default=OnError.REFUSE)
    on_duplicate = serializers.ChoiceField(OnDuplicate.choices, default=OnDuplicate.SKIP)
    dry_run = serializers.ChoiceField(["true", "false"], default="false", help_text="Report only; nothing is stored.")
    message = StrictCharField(default="", allow_blank=True, max_length=500)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if "format" not in attrs:
            known = _FORMATS.get(PurePath(attrs["file"].name or "").suffix.lower())
            if known is None:
                names = ", ".join(_FORMATS)
                raise serializers.ValidationError({"format": [f"Say it, or let the file's name end with {names}."]})
            attrs["format"] = known
        if attrs["format"] == ImportFormat.OPENAI and attrs["columns"] is not None:
            raise serializers.ValidationError({"columns": ["Files in the form of OpenAI have no columns."]})
        return attrs
