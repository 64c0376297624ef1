"""`python -m tests.upstream --port 9000 --delay-ms 2000`: the upstream alone, for benchmarks."""

import argparse
import signal
import sys

from tests.upstream.behaviour import Behaviour
from tests.upstream.server import UpstreamServer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=9000)
    parser.add_argument("--delay-ms", type=int, default=0, help="before the answer")
    parser.add_argument("--interval-ms", type=int, default=0, help="between the events of a stream")
    parser.add_argument("--text", default=None, help="the answer; without it what was said is repeated")
    options = parser.parse_args()
    behaviour = Behaviour(delay_s=options.delay_ms / 1000, interval_s=options.interval_ms / 1000, text=options.text)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with UpstreamServer(port=options.port, default=behaviour, records=False) as server:
        sys.stdout.write(f"{server.url}\n")
        sys.stdout.flush()
        signal.pause()


if __name__ == "__main__":
    main()
