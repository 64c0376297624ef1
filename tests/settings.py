"""The product's settings with what a hermetic test run needs in its environment."""

import gc
import os
from pathlib import Path

gc.disable()  # until all apps are imported, as the product's entry points do
os.environ.setdefault("ENVIRONMENT", "test")
os.environ.setdefault("ALLOW_PRIVATE_PROVIDER_URLS", "true")
os.environ.setdefault("ALLOW_PRIVATE_WEBHOOK_URLS", "true")
if not os.environ.get("EVERQUANT_DATA_DIR"):
    from everquant.embedded import default_data_dir

    os.environ["EVERQUANT_DATA_DIR"] = str(default_data_dir(Path(__file__).parent.parent) / "test")

for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "DEMO_PASSWORD"):
    os.environ.pop(name, None)

from everquant.settings import *
from everquant.settings import CACHES, REDIS_URL

# Parallel test processes, and runs, share one Valkey: each has a database of its own in it.
_worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_first = int(os.environ.get("EVERQUANT_TEST_VALKEY", "0"))
for _name in ("default", "limits"):
    CACHES[_name]["LOCATION"] = REDIS_URL.partition("?")[0] + f"?db={(_first + _worker) % 64}"

PASSWORD_HASHERS = ["tests.hashers.QuickArgon2Hasher"]
WHITENOISE_AUTOREFRESH = True  # each test client makes the middlewares anew: no walk through all static files each time
