"""Which models may answer: the one asked for, then its fallbacks."""

from typing import Any
from uuid import UUID

from django.db.models.signals import post_delete, post_save

from apps.models.models import Capability, LLMModel, ModelFallback, Provider
from everquant.api.errors import BadRequest
from everquant.cache import EpochCache
from everquant.memory import TTL_S, EpochMemory

_epochs = EpochCache("candidates", ttl_s=int(TTL_S))


def candidates_for(organization_id: UUID, model_id: UUID | None) -> tuple[LLMModel, ...]:
    """The model (None means the organization's default) and its fallbacks, each with its provider.

    No query while they are remembered. Raises BadRequest naming `model_id`.
    """
    return _memory.get(organization_id, model_id, lambda: _load(organization_id, model_id))


def embedding_models(organization_id: UUID, model_id: UUID | None) -> tuple[LLMModel, ...]:
    """The one model: vectors of another would be of no use. Raises BadRequest naming `model_id`."""
    return _memory.get(organization_id, ("embedding", model_id), lambda: _load_embedding(organization_id, model_id))


def _load_embedding(organization_id: UUID, model_id: UUID | None) -> tuple[LLMModel, ...]:
    usable = LLMModel.objects.for_organization(organization_id).usable()
    model = usable.filter(id=model_id).first()
    if model is None:
        raise _refused("No such model, or it is not active.")
    if model.capabilities and Capability.EMBEDDINGS not in model.capabilities:
        raise _refused("This model gives no embeddings.")
    return (model,)


def _load(organization_id: UUID, model_id: UUID | None) -> tuple[LLMModel, ...]:
    usable = LLMModel.objects.for_organization(organization_id).usable()
    wanted: dict[str, Any] = {"is_default": True} if model_id is None else {"id": model_id}
    model = usable.filter(**wanted).first()
    if model is None:
        raise _refused("No such model, or it is not active." if model_id else "There is no default model: name one.")
    if model.capabilities and Capability.CHAT not in model.capabilities:
        raise _refused("This model does not answer prompts.")
    return (model, *model.usable_fallbacks())


def _refused(why: str) -> BadRequest:
    return BadRequest(f"model_id: {why}", details={"model_id": why})


def names(organization_id: UUID) -> tuple[str, str]:
    """What is read of Redis for `candidates_for`."""
    return _epochs.names(str(organization_id), "")


def _read_epoch(organization_id: UUID) -> bytes | None:
    return _epochs.read(str(organization_id), "")[1]


_memory: EpochMemory[tuple[LLMModel, ...]] = EpochMemory(_read_epoch)


def _on_change(instance: Any, **_: Any) -> None:
    owner = instance.model if isinstance(instance, ModelFallback) else instance
    _epochs.invalidate(str(owner.organization_id))


def connect_invalidation() -> None:
    """Called once at start: whatever path changes models or providers, every process learns of it."""
    for signal in (post_save, post_delete):
        for sender in (Provider, LLMModel, ModelFallback):
            signal.connect(_on_change, sender=sender, dispatch_uid=f"candidates.{sender.__name__}")
