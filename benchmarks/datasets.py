"""Speed and memory of imports: `python -m benchmarks.datasets [rows]`, with the real stack.

A CSV of 100,000 rows (a question, an answer, a split) goes through the API to one worker, into a dataset with schemas,
and comes back as JSON Lines. The reference is a COPY of the same rows by psycopg alone, into a table with the same
columns and no index.
"""

import csv
import hashlib
import http.client
import io
import json
import os
import subprocess
import sys
import threading
import time
import uuid
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg

from benchmarks.__main__ import GOALS, show
from benchmarks.stack import Stack, memory_mib, running_stack
from benchmarks.workflows import worker

ROWS = 100_000
SCHEMA = {
    "type": "object",
    "properties": {"question": {"type": "string", "maxLength": 2000}, "topic": {"type": "string"}},
    "required": ["question", "topic"],
    "additionalProperties": False,
}
BOUNDARY = "dataset-benchmark"
_TABLE = """
CREATE TEMP TABLE plain (id uuid, dataset_id uuid, position bigint, input json, expected json, metadata jsonb,
    split varchar, content_hash bytea)
"""


def rows(count: int) -> list[tuple[str, str, str, str]]:
    return [
        (f"What is {n} times {n}? " + "Think about it. " * 6, f"topic {n % 50}", str(n * n), "test" if n % 5 else "dev")
        for n in range(count)
    ]


def as_csv(given: list[tuple[str, str, str, str]]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["question", "topic", "expected", "split"])
    writer.writerows(given)
    return text.getvalue().encode()


def upload(stack: Stack, token: str, dataset_id: str, content: bytes) -> Any:
    body = (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="items.csv"\r\n'
        "Content-Type: text/csv\r\n\r\n"
    ).encode() + content + f"\r\n--{BOUNDARY}--\r\n".encode()  # fmt: skip
    headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}", "Authorization": f"Bearer {token}"}
    connection = http.client.HTTPConnection("127.0.0.1", stack.port, timeout=120)
    connection.request("POST", f"/api/v1/datasets/{dataset_id}/import", body, headers)
    response = connection.getresponse()
    answer = json.loads(response.read())
    if response.status != 202:
        raise RuntimeError(f"{response.status} {answer}")
    return answer["data"]


def download(stack: Stack, token: str, dataset_id: str) -> int:
    """The lines of the export."""
    connection = http.client.HTTPConnection("127.0.0.1", stack.port, timeout=120)
    path = f"/api/v1/datasets/{dataset_id}/export?format=jsonl"
    connection.request("GET", path, headers={"Authorization": f"Bearer {token}"})
    response = connection.getresponse()
    count = 0
    while piece := response.read(1 << 20):
        count += piece.count(b"\n")
    return count


@contextmanager
def peak(*groups: int) -> Any:
    """The most memory of each process group during the block, in MiB."""
    most = [memory_mib(group) for group in groups]
    ending = threading.Event()

    def watch() -> None:
        while not ending.wait(0.1):
            most[:] = [max(one, memory_mib(group)) for one, group in zip(most, groups, strict=True)]

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield most
    finally:
        ending.set()
        thread.join()


def cpu_s(pid: int) -> float:
    """Seconds of CPU that the process and its children have had so far, those that have ended included."""
    ticks = 0
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = entry.read_text().rpartition(")")[2].split()
            if pid in (int(entry.parent.name), int(fields[1])):
                ticks += sum(map(int, fields[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def postmaster(stack: Stack) -> int:
    return int((Path(stack.environment["EVERQUANT_DATA_DIR"]) / "postgres" / "postmaster.pid").read_text().split()[0])


def plain_copy(url: str, given: list[tuple[str, str, str, str]]) -> float:
    """Seconds, with the same JSON and hashes made of the rows."""
    dataset_id = uuid.uuid4()
    with psycopg.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute(_TABLE)
        begun = time.perf_counter()
        with cursor.copy("COPY plain FROM STDIN") as copy:
            for number, (question, topic, expected, split) in enumerate(given):
                said = json.dumps({"question": question, "topic": topic})
                answer = json.dumps(expected)
                digest = hashlib.sha256((said + answer).encode()).digest()
                copy.write_row((uuid.uuid4(), dataset_id, number, said, answer, "{}", split, digest))
        connection.commit()
        return time.perf_counter() - begun


def imports(count: int) -> None:
    given = rows(count)
    content = as_csv(given)
    with running_stack() as stack, worker(stack, 4) as child:
        token = stack.log_in()
        body = {"name": "Bench", "input_schema": SCHEMA, "expected_schema": {"type": "string"}}
        dataset_id = stack.call("POST", "/datasets", body, token)["id"]
        database = postmaster(stack)
        with peak(child.pid, stack.group) as most:
            begun, before = time.perf_counter(), [cpu_s(pid) for pid in (stack.group, child.pid, database)]
            found = upload(stack, token, dataset_id, content)
            sent_s = time.perf_counter() - begun
            while not found["finished_at"]:
                time.sleep(0.1)
                found = stack.call("GET", f"/datasets/{dataset_id}/imports/{found['id']}", token=token)
            took_s = time.perf_counter() - begun
            spent = [cpu_s(pid) - b for pid, b in zip((stack.group, child.pid, database), before, strict=True)]
        if found["item_count"] != count:
            raise RuntimeError(f"{found}")
        with peak(stack.group) as most_of_export:
            begun = time.perf_counter()
            lines = download(stack, token, dataset_id)
            export_s = time.perf_counter() - begun
        if lines != count:
            raise RuntimeError(f"{lines} lines of {count}")
        copy_s = plain_copy(database_url(stack), given)
    web_s, worker_s, database_s = spent
    print(f"     CPU: {web_s:.1f} s of web, {worker_s:.1f} s of the worker, {database_s:.1f} s of PostgreSQL")
    print(f"     {len(content) / 2**20:.0f} MiB sent in {sent_s:.1f} s; a plain COPY takes {copy_s:.2f} s")
    show(f"import of {count:,} rows, from the request to the version", took_s, "s", goal=30, at_most=True)
    show("… rows per second", count / took_s, "/s", goal=count / 30)
    show("… as a multiple of a plain COPY", took_s / copy_s, "x", goal=25, at_most=True)
    show("… most memory of the worker", most[0], "MiB", goal=300, at_most=True)
    show("… most memory of all web processes", most[1], "MiB", goal=600, at_most=True)
    show(f"export of {count:,} rows as JSON Lines", export_s, "s", goal=30, at_most=True)
    show("… most memory of all web processes", most_of_export[0], "MiB", goal=600, at_most=True)


def database_url(stack: Stack) -> str:
    asked = "from django.conf import settings; print(settings.EMBEDDED.database_url)"
    command = [sys.executable, "manage.py", "shell", "--no-imports", "-c", asked]
    environment = {**os.environ, **stack.environment}
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout.strip().splitlines()[-1]


if __name__ == "__main__":
    imports(int(sys.argv[1]) if len(sys.argv) > 1 else ROWS)
    sys.exit(not all(reached for _, reached in GOALS))
