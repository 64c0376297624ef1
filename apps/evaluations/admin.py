"""The pages of evaluations in the operators' admin; each package registers its own."""

from apps.evaluations.ab_tests import admin as ab_tests_admin
from apps.evaluations.annotation import admin as annotation_admin
from apps.evaluations.comparing import admin as comparing_admin
from apps.evaluations.datasets import admin as datasets_admin
from apps.evaluations.judging import admin as judging_admin
from apps.evaluations.promotion import admin as promotion_admin
from apps.evaluations.runs import admin as runs_admin
from apps.evaluations.scoring import admin as scoring_admin

__all__ = [
    "ab_tests_admin",
    "annotation_admin",
    "comparing_admin",
    "datasets_admin",
    "judging_admin",
    "promotion_admin",
    "runs_admin",
    "scoring_admin",
]
