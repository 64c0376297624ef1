from apps.evaluations.datasets.views.datasets import DatasetVersionViewSet, DatasetViewSet
from apps.evaluations.datasets.views.items import DatasetItemViewSet
from apps.evaluations.datasets.views.transfer import DatasetExportViewSet, DatasetImportViewSet

__all__ = [
    "DatasetExportViewSet",
    "DatasetImportViewSet",
    "DatasetItemViewSet",
    "DatasetVersionViewSet",
    "DatasetViewSet",
]
