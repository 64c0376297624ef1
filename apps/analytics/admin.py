from apps.analytics.alerts import admin as alerts_admin  # noqa: F401 (registers its pages)
from apps.analytics.billing import admin as billing_admin  # noqa: F401 (registers its pages)
from apps.analytics.retention import admin as retention_admin  # noqa: F401 (as above)
