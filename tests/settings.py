"""The product's settings with what a hermetic test run needs in its environment."""

import os
from pathlib import Path

os.environ.setdefault("ENVIRONMENT", "test")
os.environ.setdefault("ALLOW_PRIVATE_PROVIDER_URLS", "true")
if not os.environ.get("EVERQUANT_DATA_DIR"):
    from everquant.embedded import default_data_dir

    os.environ["EVERQUANT_DATA_DIR"] = str(default_data_dir(Path(__file__).parent.parent) / "test")

from everquant.settings import *
