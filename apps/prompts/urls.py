from typing import Any

from django.urls import URLPattern, URLResolver, path

from apps.prompts.published import answers
from apps.prompts.views import PromptLabelViewSet, PromptVersionViewSet, PromptViewSet
from apps.users.remembered import remembered


def _read(methods: dict[str, Any]) -> Any:
    return remembered(PromptViewSet.as_view(methods), answers)


read_by_slug = _read({"get": "by_slug"})
_one: dict[str, Any] = {"get": "retrieve", "put": "update", "patch": "partial_update", "delete": "destroy"}

urlpatterns: list[URLPattern | URLResolver] = [
    path("prompts/by-slug/<path:slug>", read_by_slug, name="prompt-by-slug"),
    path("prompts", _read({"get": "list", "post": "create"}), name="prompt-list"),
    path("prompts/bundle", _read({"get": "bundle"}), name="prompt-bundle"),
    path("prompts/export", PromptViewSet.as_view({"get": "export"}), name="prompt-export"),
    path("prompts/import", PromptViewSet.as_view({"post": "import_"}), name="prompt-import"),
    path("prompts/<uuid:pk>", _read(_one), name="prompt-detail"),
    path("prompts/<uuid:pk>/restore", PromptViewSet.as_view({"post": "undelete"}), name="prompt-undelete"),
    path("prompts/<uuid:pk>/duplicate", PromptViewSet.as_view({"post": "duplicate"}), name="prompt-duplicate"),
    path("prompts/<uuid:pk>/render", PromptViewSet.as_view({"post": "render"}), name="prompt-render"),
    path(
        "prompts/<uuid:pk>/versions",
        PromptVersionViewSet.as_view({"get": "list", "post": "create"}),
        name="prompt-version-list",
    ),
    path(
        "prompts/<uuid:pk>/versions/<int:number>",
        PromptVersionViewSet.as_view({"get": "retrieve"}),
        name="prompt-version-detail",
    ),
    path(
        "prompts/<uuid:pk>/versions/<int:number>/diff",
        PromptVersionViewSet.as_view({"get": "diff"}),
        name="prompt-version-diff",
    ),
    path(
        "prompts/<uuid:pk>/versions/<int:number>/restore",
        PromptVersionViewSet.as_view({"post": "restore"}),
        name="prompt-version-restore",
    ),
    path(
        "prompts/<uuid:pk>/labels/<str:label>",
        PromptLabelViewSet.as_view({"get": "retrieve", "put": "update", "delete": "destroy"}),
        name="prompt-label",
    ),
]
