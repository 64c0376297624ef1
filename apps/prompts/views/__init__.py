from apps.prompts.views.labels import PromptLabelViewSet
from apps.prompts.views.prompts import PromptViewSet
from apps.prompts.views.versions import PromptVersionViewSet

__all__ = ["PromptLabelViewSet", "PromptVersionViewSet", "PromptViewSet"]
