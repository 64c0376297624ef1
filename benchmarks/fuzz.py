"""The long run of schemathesis: all phases and checks against the real stack with data of its own.

`python -m benchmarks.fuzz [seconds]`; exceptions and their reasons are in schemathesis.toml.
"""

import os
import subprocess
import sys
from pathlib import Path

from benchmarks.stack import PASSWORD, ROOT, running_stack

DEFAULT_S = 600
ENVIRONMENT = {
    **{f"RATE_LIMIT_{of}": "1000000/s" for of in ("ANONYMOUS", "LOGIN_IP", "LOGIN_ACCOUNT", "ORGANIZATION", "KEY")},
    # addresses that fuzzing makes up answer nothing
    "PROVIDER_CONNECT_TIMEOUT": "1",
    "PROVIDER_FIRST_TOKEN_TIMEOUT": "2",
    "PROVIDER_TOTAL_TIMEOUT": "2",
}


def main(seconds: int) -> int:
    program = Path(sys.executable).with_name("schemathesis")
    with running_stack(**ENVIRONMENT) as stack:
        command = [str(program), "run", "--url", f"http://127.0.0.1:{stack.port}", "--checks", "all"]
        credentials = {"EVERQUANT_EMAIL": "admin@example.com", "EVERQUANT_PASSWORD": PASSWORD}
        done = subprocess.run(
            [*command, "--max-time", str(seconds), "--continue-on-failure", "openapi.yaml"],
            cwd=ROOT,
            env={**os.environ, **credentials},
            check=False,
        )
    return done.returncode


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT_S))
