"""What several kinds look up at publish."""

from collections.abc import Mapping
from typing import Any

from apps.models.models import Capability, LLMModel
from apps.workflows.nodes.base import Pinner


def pin_model(config: Mapping[str, Any], pinner: Pinner) -> dict[str, Any]:
    """`{"model_id"}` of the model that the configuration names; nothing for none."""
    slug = config.get("model")
    if slug is None:
        return {}
    model = LLMModel.objects.for_organization(pinner.organization_id).usable().filter(slug=slug).first()
    if model is None:
        pinner.problem("UNKNOWN_MODEL", "There is no such model, or it is not active.", "model")
        return {}
    if model.capabilities and Capability.CHAT not in model.capabilities:
        pinner.problem("UNKNOWN_MODEL", "This model does not answer prompts.", "model")
        return {}
    return {"model_id": str(model.id)}


def pointer(*steps: str) -> str:
    """As `NodeKind.check` has it: a JSON pointer (RFC 6901) without its first slash."""
    return "/".join(step.replace("~", "~0").replace("/", "~1") for step in steps)
