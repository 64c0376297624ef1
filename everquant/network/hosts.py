"""Lists of hosts that may be called: `api.example.com`, `*.example.com` (anything below it), either with `:port`."""

from collections.abc import Iterable

from urllib3.util import Url

from everquant.network.address import DEFAULT_PORTS

_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
# A wildcard stands before two labels at least: `*.com` would be everybody.
_NAME = rf"(\*\.{_LABEL}\.)?{_LABEL}(\.{_LABEL})*"
PATTERN = rf"\A({_NAME}|\[[0-9a-f:]{{2,45}}\])(:[1-9][0-9]{{0,4}})?\Z"
MAX_PATTERN = 260


def is_listed(parts: Url, patterns: Iterable[str]) -> bool:
    """Whether a URL's host and port are on the list. Without a port a pattern stands for its scheme's own."""
    host = str(parts.host).lower().rstrip(".")
    scheme = str(parts.scheme)
    return any(_fits(host, parts.port or DEFAULT_PORTS[scheme], scheme, pattern) for pattern in patterns)


def _fits(host: str, port: int, scheme: str, pattern: str) -> bool:
    name, separator, number = pattern.rpartition(":")
    if not separator or number.endswith("]"):
        name, number = pattern, str(DEFAULT_PORTS[scheme])
    if port != int(number):
        return False
    return host.endswith(name[1:]) if name.startswith("*.") else host == name
