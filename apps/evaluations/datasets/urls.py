from typing import Any

from django.urls import URLPattern, URLResolver, path

from apps.evaluations.datasets import views

_one: dict[str, Any] = {"get": "retrieve", "put": "update", "patch": "partial_update", "delete": "destroy"}


def _of_dataset(segments: str, view: Any, name: str, **methods: Any) -> URLPattern:
    return path(f"datasets/<uuid:pk>/{segments}", view.as_view(methods), name=f"dataset-{name}")


_items, _imports, _versions = views.DatasetItemViewSet, views.DatasetImportViewSet, views.DatasetVersionViewSet

urlpatterns: list[URLPattern | URLResolver] = [
    path("datasets", views.DatasetViewSet.as_view({"get": "list", "post": "create"}), name="dataset-list"),
    path("datasets/<uuid:pk>", views.DatasetViewSet.as_view(_one), name="dataset-detail"),
    _of_dataset("restore", views.DatasetViewSet, "undelete", post="undelete"),
    _of_dataset("versions", _versions, "version-list", get="list"),
    _of_dataset("versions/<int:number>", _versions, "version-detail", get="retrieve"),
    _of_dataset("versions/<int:number>/diff", _versions, "version-diff", get="diff"),
    _of_dataset("items", _items, "items", get="list", post="add"),
    _of_dataset("items/delete", _items, "items-delete", post="delete_many"),
    _of_dataset("items/from-executions", _items, "items-from-executions", post="from_executions"),
    _of_dataset("items/<uuid:item_id>", _items, "item", **_one),
    _of_dataset("splits", _items, "splits", post="splits"),
    _of_dataset("export", views.DatasetExportViewSet, "export", get="export"),
    _of_dataset("import", _imports, "import", post="import_"),
    _of_dataset("imports", _imports, "imports", get="list"),
    _of_dataset("imports/<uuid:import_id>", _imports, "import-detail", get="retrieve"),
    _of_dataset("imports/<uuid:import_id>/cancel", _imports, "import-cancel", post="cancel"),
    _of_dataset("imports/<uuid:import_id>/resume", _imports, "import-resume", post="resume"),
]
