"""A provider of models on loopback, with faults on demand."""

from tests.upstream.behaviour import Behaviour
from tests.upstream.server import UpstreamServer

__all__ = ["Behaviour", "UpstreamServer"]
