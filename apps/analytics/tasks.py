"""What analytics does again and again."""

from apps.analytics.alerts import tasks as alert_tasks  # noqa: F401 (found by way of this module)
from apps.analytics.billing import tasks as billing_tasks  # noqa: F401 (found by way of this module)
from apps.analytics.retention import tasks as retention_tasks  # noqa: F401 (as above)
from apps.analytics.rollups import tasks as rollup_tasks  # noqa: F401 (as above)
