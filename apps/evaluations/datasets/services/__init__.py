from apps.evaluations.datasets.services.datasets import (
    create_dataset,
    delete_dataset,
    undelete_dataset,
    update_dataset,
)
from apps.evaluations.datasets.services.items import (
    Written,
    add_items,
    assign_splits,
    delete_items,
    replace_item,
    require_current,
)

__all__ = [
    "Written",
    "add_items",
    "assign_splits",
    "create_dataset",
    "delete_dataset",
    "delete_items",
    "replace_item",
    "require_current",
    "undelete_dataset",
    "update_dataset",
]
