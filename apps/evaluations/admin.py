"""The pages of evaluations in the operators' admin; each package registers its own."""

from apps.evaluations.annotation import admin as annotation_admin

__all__ = ["annotation_admin"]
