"""Tours of documents: what a reader is told to type, made to work against a server of the tests."""

import re
from pathlib import Path
from urllib.parse import urlsplit

DOCS = Path(__file__).parents[1] / "docs"


def tour(document: str, live_server_url: str, password: str) -> str:
    """The shell script of the document's tour, with the server and the password that it is to be tried with."""
    found = re.search(r"<!-- tour: curl -->\n```sh\n(.*?)```", (DOCS / document).read_text(), re.DOTALL)
    assert found
    code = found[1]
    base = f"http://localhost:{urlsplit(live_server_url).port}"
    for written, real in (("http://localhost:8080", base), ("the password that make up printed", password)):
        assert written in code
        code = code.replace(written, real)
    return code
