from django.urls import URLPattern, URLResolver, path

from apps.evaluations.annotation import views

_QUEUE = "annotation-queues/<uuid:pk>"


def _of_queue(name: str, **methods: str) -> URLPattern:
    """An action of one queue, by the name of its last segment."""
    view = views.AnnotationQueueViewSet.as_view(methods)  # type: ignore[arg-type] # DRF's stubs want a dict of any
    return path(f"{_QUEUE}/{name}", view, name=f"annotation-queue-{name}")


urlpatterns: list[URLPattern | URLResolver] = [
    path(
        "annotation-queues",
        views.AnnotationQueueViewSet.as_view({"get": "list", "post": "create"}),
        name="annotation-queue-list",
    ),
    path(
        _QUEUE,
        views.AnnotationQueueViewSet.as_view(
            {"get": "retrieve", "put": "update", "patch": "partial_update", "delete": "destroy"}
        ),
        name="annotation-queue-detail",
    ),
    _of_queue("next", post="claim"),
    _of_queue("progress", get="progress"),
    _of_queue("agreement", get="agreement"),
    _of_queue("export", get="export"),
    _of_queue("dataset", post="make_dataset"),
    path(
        f"{_QUEUE}/tasks",
        views.QueueTasksViewSet.as_view({"get": "list", "post": "add"}),
        name="annotation-queue-task-list",
    ),
    path(
        f"{_QUEUE}/annotations",
        views.QueueAnnotationsViewSet.as_view({"get": "list"}),
        name="annotation-queue-annotation-list",
    ),
    path(
        "annotation-tasks/<uuid:pk>",
        views.AnnotationTaskViewSet.as_view({"get": "retrieve"}),
        name="annotation-task-detail",
    ),
    path(
        "annotations/<uuid:pk>",
        views.AnnotationViewSet.as_view({"get": "retrieve", "put": "update"}),
        name="annotation-detail",
    ),
    path("annotations/<uuid:pk>/skip", views.AnnotationViewSet.as_view({"post": "skip"}), name="annotation-skip"),
    path(
        "annotations/<uuid:pk>/release",
        views.AnnotationViewSet.as_view({"post": "release"}),
        name="annotation-release",
    ),
]
