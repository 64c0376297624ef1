"""What is collected of a streamed answer while it passes."""

from apps.models.providers.base import (
    Completion,
    Delta,
    ErrorCode,
    FinishReason,
    Json,
    ProviderError,
    ToolCallFragment,
    Usage,
)
from apps.models.providers.http import MAX_RESPONSE_BYTES, Deadline


def tool_call(call_id: str, name: str, arguments: str) -> Json:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


class StreamedCompletion:
    """Adapters set `usage`, `finish_reason`, `model` and `request_id` as the provider tells them."""

    def __init__(self, deadline: Deadline) -> None:
        self.deadline = deadline
        self._text: list[str] = []
        self._calls: dict[int, tuple[str, str, list[str]]] = {}
        self._size = 0
        self.first_token_ms: int | None = None
        self.finish_reason: FinishReason | None = None
        self.usage: Usage | None = None
        self.model = ""
        self.request_id: str | None = None

    @property
    def has_started(self) -> bool:
        return self.first_token_ms is not None

    def token_arrived(self) -> None:
        """Also for a reasoning token, which is not shown."""
        if self.first_token_ms is None:
            self.first_token_ms = self.deadline.first_token()

    def add(self, text: str, fragments: tuple[ToolCallFragment, ...] = ()) -> Delta:
        """Raises ProviderError when the whole answer grows too large."""
        self.token_arrived()
        self._size += len(text) + sum(len(fragment.arguments) for fragment in fragments)
        if self._size > MAX_RESPONSE_BYTES:
            raise ProviderError(ErrorCode.TOO_LARGE, "The provider's answer is too large.")
        if text:
            self._text.append(text)
        for fragment in fragments:
            call_id, name, arguments = self._calls.get(fragment.index, ("", "", []))
            arguments.append(fragment.arguments)
            self._calls[fragment.index] = (fragment.id or call_id, fragment.name or name, arguments)
        return Delta(text=text, tool_calls=fragments)

    def completion(self) -> Completion:
        return Completion(
            text="".join(self._text),
            tool_calls=[
                tool_call(call_id, name, "".join(arguments))
                for _, (call_id, name, arguments) in sorted(self._calls.items())
            ],
            finish_reason=self.finish_reason or FinishReason.OTHER,
            usage=self.usage,
            first_token_ms=self.first_token_ms,
            provider_request_id=self.request_id,
            model=self.model,
        )

    def failure(self, error: ProviderError) -> ProviderError:
        """The error as it is before the first token; after it with what was received."""
        return error.interrupted(self.completion()) if self.has_started else error

    def cut(self) -> ProviderError:
        return ProviderError(ErrorCode.CONNECTION, "The provider's answer ended before its end.", retryable=True)
