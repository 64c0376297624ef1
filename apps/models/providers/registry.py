"""Provider kinds and their adapters."""

from apps.models.providers.anthropic import AnthropicAdapter
from apps.models.providers.base import ProviderAdapter
from apps.models.providers.echo import EchoAdapter
from apps.models.providers.openai import OpenAIAdapter

ADAPTERS: dict[str, type[OpenAIAdapter | AnthropicAdapter | EchoAdapter]] = {
    "openai": OpenAIAdapter,
    "anthropic": AnthropicAdapter,
    "echo": EchoAdapter,
}


def build_adapter(kind: str, base_url: str, api_key: str, allow_private: bool = False) -> ProviderAdapter:
    """An empty `base_url` means the provider's own. Raises KeyError for an unknown kind, ValueError for a bad URL."""
    return ADAPTERS[kind](base_url=base_url, api_key=api_key, allow_private=allow_private)
