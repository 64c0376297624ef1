"""Load with `pytest_plugins = ["tests.upstream.fixtures"]`."""

from collections.abc import Iterator

import pytest

from tests.upstream.server import UpstreamServer


@pytest.fixture(scope="session")
def upstream_server() -> Iterator[UpstreamServer]:
    with UpstreamServer() as server:
        yield server


@pytest.fixture
def upstream(upstream_server: UpstreamServer) -> Iterator[UpstreamServer]:
    """The session's server, with no script and nothing recorded."""
    upstream_server.reset()
    yield upstream_server
    upstream_server.reset()
