"""Writes that span rows, the adapters of providers, and real calls to test them."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError, transaction

from apps.models.models import Capability, LLMModel, ModelFallback, Provider, ProviderKind
from apps.models.prices import find_in_catalog
from apps.models.providers.base import (
    Completion,
    ErrorCode,
    ModelRequest,
    ProviderAdapter,
    ProviderError,
    Timeouts,
    Usage,
)
from apps.models.providers.registry import build_adapter
from apps.organizations.models import Organization
from everquant.api.errors import BadRequest, Conflict
from everquant.db import assert_no_transaction, release_connection
from everquant.encryption import DecryptionError, decrypt, rotate

CHECK_TIMEOUT_S = 20.0
CHECK_MAX_TOKENS = 16
_CHAT = [Capability.CHAT, Capability.STREAMING, Capability.TOOLS, Capability.VISION, Capability.STRUCTURED_OUTPUT]
# What a new organization can use when the operator's key is set; the first one becomes its default.
FIRST_MODELS = {
    ProviderKind.OPENAI: ("gpt-5-mini", "gpt-6-luna"),
    ProviderKind.ANTHROPIC: ("claude-sonnet-5-5", "claude-haiku-5-5"),
}
_TAKEN = {
    "models_provider_name_unique": ("name", "Another provider has this name."),
    "models_llmmodel_slug_unique": ("slug", "Another model has this slug."),
}


@contextmanager
def _taken_names() -> Iterator[None]:
    """Raises Conflict, naming the field, where the database refuses a name that is taken."""
    try:
        with transaction.atomic():
            yield
    except IntegrityError as error:
        constraint = getattr(getattr(error.__cause__, "diag", None), "constraint_name", "")
        if constraint not in _TAKEN:
            raise
        field, message = _TAKEN[constraint]
        raise Conflict(message, details={field: message}) from None


def create_provider(*, organization_id: UUID, api_key: str = "", **values: Any) -> Provider:
    """Raises Conflict when the name is taken."""
    provider = Provider(organization_id=organization_id, **values)
    provider.set_api_key(api_key)
    with _taken_names():
        provider.save(force_insert=True)
    return provider


def update_provider(*, provider: Provider, api_key: str | None = None, **values: Any) -> Provider:
    """Raises Conflict when the name is taken, BadRequest when the key would be sent elsewhere unseen.

    The key belongs to the server that it was given for: whoever may change the address must not get it sent there.
    """
    moved = any(values.get(name, getattr(provider, name)) != getattr(provider, name) for name in ("kind", "base_url"))
    if moved and provider.has_api_key and api_key is None:
        message = "Give the key again (or an empty one) when the kind or the URL changes."
        raise BadRequest(message, details={"api_key": message})
    for name, value in values.items():
        setattr(provider, name, value)
    if api_key is not None:
        provider.set_api_key(api_key)
    with _taken_names():
        provider.save_fields(*values, "encrypted_api_key", "api_key_set_at")
    return provider


@transaction.atomic
def delete_provider(*, provider: Provider) -> None:
    """Its key is deleted with it. Raises Conflict while it has models."""
    if LLMModel.objects.alive().filter(provider=provider).exists():
        raise Conflict("Delete the models of this provider first.")
    provider.set_api_key("")
    provider.save_fields("encrypted_api_key", "api_key_set_at")
    provider.soft_delete()


@transaction.atomic
def create_model(*, organization_id: UUID, fallbacks: list[LLMModel] | None = None, **values: Any) -> LLMModel:
    """`fallbacks` in the order in which they are tried. Raises Conflict when the slug is taken."""
    model = LLMModel(organization_id=organization_id, **values)
    model.name = model.name or model.provider_model_name
    if model.is_default:
        _take_default_from_others(model)
    with _taken_names():
        model.save(force_insert=True)
    return _with_fallbacks(model, fallbacks or [])


@transaction.atomic
def update_model(*, model: LLMModel, fallbacks: list[LLMModel] | None = None, **values: Any) -> LLMModel:
    """Without `fallbacks` they stay as they are. Raises Conflict or BadRequest."""
    for name, value in values.items():
        setattr(model, name, value)
    if values.get("is_default"):
        _take_default_from_others(model)
    with _taken_names():
        model.save_fields(*values)
    return model if fallbacks is None else _with_fallbacks(model, fallbacks)


@transaction.atomic
def delete_model(*, model: LLMModel) -> None:
    """It stands in for no model any more. What was executed on it keeps it."""
    ModelFallback.objects.filter(fallback=model).delete()
    model.is_default = False
    model.save_fields("is_default")
    model.soft_delete()


def _take_default_from_others(model: LLMModel) -> None:
    """The organization's row is locked, so that of two models made the default at once one is."""
    Organization.objects.select_for_update(no_key=True).get(pk=model.organization_id)
    others = LLMModel.objects.for_organization(model.organization_id).alive().filter(is_default=True)
    for other in others.exclude(pk=model.pk):
        other.is_default = False
        other.save_fields("is_default")


def _with_fallbacks(model: LLMModel, fallbacks: list[LLMModel]) -> LLMModel:
    if model in fallbacks:
        message = "A model cannot stand in for itself."
        raise BadRequest(message, details={"fallback_ids": message})
    wanted = [fallback.pk for fallback in fallbacks]
    rows = ModelFallback.objects.filter(model=model)
    if list(rows.values_list("fallback_id", flat=True)) != wanted:
        rows.delete()
        for position, fallback in enumerate(fallbacks):  # one by one: a bulk insert is not audited
            ModelFallback.objects.create(model=model, fallback=fallback, position=position)
    model.fallback_ids = wanted  # type: ignore[attr-defined]  # as annotated by what reads it
    return model


def create_default_models(organization: Organization) -> None:
    """The first models of a new organization: `echo` always, and those whose keys the operator has set."""
    found = [
        model
        for kind, key, base_url in (
            (ProviderKind.OPENAI, settings.OPENAI_API_KEY, settings.OPENAI_BASE_URL),
            (ProviderKind.ANTHROPIC, settings.ANTHROPIC_API_KEY, settings.ANTHROPIC_BASE_URL),
        )
        if key
        for model in _create_first_models(organization, kind, key, base_url)
    ]
    echo = create_provider(organization_id=organization.pk, kind=ProviderKind.ECHO, name="Echo (offline)")
    create_model(
        organization_id=organization.pk,
        provider=echo,
        slug="echo",
        name="Echo (offline, repeats the prompt)",
        provider_model_name="echo",
        capabilities=[Capability.CHAT, Capability.STREAMING],
        is_default=not found,
    )
    if found:
        update_model(model=found[0], is_default=True)


def _create_first_models(organization: Organization, kind: ProviderKind, key: str, base_url: str) -> list[LLMModel]:
    provider = create_provider(
        organization_id=organization.pk, kind=kind, name=kind.name.title(), base_url=base_url, api_key=key
    )
    models = []
    for name in FIRST_MODELS[kind]:
        info = find_in_catalog(kind, base_url, name)
        models.append(
            create_model(
                organization_id=organization.pk,
                provider=provider,
                slug=name,
                name=(info and info.name) or name,
                provider_model_name=name,
                capabilities=_CHAT,
                context_window=info and info.context_window,
            )
        )
    return models


def adapter_for(provider: Provider) -> ProviderAdapter:
    """Shared by all threads until the provider's address or key changes. Raises ProviderError."""
    sealed = bytes(provider.encrypted_api_key) if provider.encrypted_api_key is not None else b""
    try:
        return _adapter(provider.kind, provider.base_url, sealed, settings.ALLOW_PRIVATE_PROVIDER_URLS)
    except DecryptionError:
        raise ProviderError(ErrorCode.AUTHENTICATION, "The provider's key cannot be decrypted.") from None
    except ValueError as error:
        raise ProviderError(ErrorCode.INVALID_REQUEST, str(error)) from None


@lru_cache(maxsize=1024)
def _adapter(kind: str, base_url: str, sealed_key: bytes, allow_private: bool) -> ProviderAdapter:
    return build_adapter(kind, base_url, decrypt(sealed_key).decode() if sealed_key else "", allow_private)


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What a small real call gave: the answer, or the error."""

    is_ok: bool
    model: str
    latency_ms: int
    text: str = ""
    usage: Usage | None = None
    error: ProviderError | None = None


def check_provider(*, provider: Provider, model_name: str = "") -> CheckResult:
    """Ask the named model, or else the provider's first one. Raises BadRequest when there is none to ask."""
    name = (
        model_name
        or (LLMModel.objects.alive().filter(provider=provider).order_by("-is_active", "created_at"))
        .values_list("provider_model_name", flat=True)
        .first()
    )
    if not name:
        message = "This provider has no models yet: name one to ask."
        raise BadRequest(message, details={"model": message})
    return _call(provider, ModelRequest(name, _QUESTION, {"max_tokens": CHECK_MAX_TOKENS}, timeouts=_timeouts()))


def check_model(*, model: LLMModel) -> CheckResult:
    """A short answer by the model with its own default parameters, or one embedding."""
    parameters = {**model.default_parameters, "max_tokens": CHECK_MAX_TOKENS}
    parameters.pop("max_completion_tokens", None)
    request = ModelRequest(model.provider_model_name, _QUESTION, parameters, timeouts=_timeouts())
    is_chat = Capability.CHAT in model.capabilities or Capability.EMBEDDINGS not in model.capabilities
    return _call(model.provider, request, is_chat=is_chat)


_QUESTION = [{"role": "user", "content": "Answer with the single word: ready"}]


def _timeouts() -> Timeouts:
    return Timeouts(settings.PROVIDER_CONNECT_TIMEOUT, CHECK_TIMEOUT_S, CHECK_TIMEOUT_S)


def _call(provider: Provider, request: ModelRequest, *, is_chat: bool = True) -> CheckResult:
    assert_no_transaction()
    release_connection()
    started_at = time.monotonic()
    try:
        adapter = adapter_for(provider)
        answer = adapter.complete(request) if is_chat else adapter.embed(request.model, ["ready"], request.timeouts)
    except ProviderError as error:
        return CheckResult(False, request.model, _milliseconds_since(started_at), error=error)
    text = answer.text if isinstance(answer, Completion) else f"A vector of {len(answer.vectors[0])} dimensions."
    return CheckResult(True, request.model, _milliseconds_since(started_at), text=text, usage=answer.usage)


def _milliseconds_since(started_at: float) -> int:
    return round((time.monotonic() - started_at) * 1000)


def rotate_provider_keys() -> tuple[int, list[Provider]]:
    """Encrypt each provider's key with the first of ENCRYPTION_KEYS: how many, and those that no key opens.

    One row at a time, locked against a concurrent change of its key. Nothing is audited: no secret changes.
    """
    rotated, unreadable = 0, []
    for pk in Provider.objects.filter(encrypted_api_key__isnull=False).values_list("pk", flat=True):
        with transaction.atomic():
            provider = Provider.objects.select_for_update().get(pk=pk)
            if provider.encrypted_api_key is None:
                continue
            try:
                again = rotate(provider.encrypted_api_key)
            except DecryptionError:
                unreadable.append(provider)
                continue
            Provider.objects.filter(pk=pk).update(encrypted_api_key=again)
            rotated += 1
    return rotated, unreadable
