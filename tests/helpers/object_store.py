"""A server on this machine that has files: by S3's requests, and by plain addresses.

It answers what pyarrow's S3 client asks to list and to read: HEAD, GET with a Range, and
ListObjectsV2. Moto answers the same in the tests that use it.
"""

from __future__ import annotations

import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

from typing_extensions import Self

XML = '<?xml version="1.0" encoding="UTF-8"?>'
DATE = "2026-01-01T00:00:00.000Z"


class ObjectStore:
    """A server of files, in a thread; a context manager.

    Attributes
    ----------
    files : dict of str to bytes
        By bucket and key: ``"bucket/log/a.csv"``.
    denied : str
        A bucket that nobody may read.
    takes_ranges : bool
        Whether a part of a file may be asked for.
    lost_after : int or None
        Bytes of a file after which the connection is lost.
    """

    denied = "secret"

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.takes_ranges = True
        self.lost_after: int | None = None
        store = self

        class Handler(_Handler):
            pass

        Handler.store = store
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.address = f"127.0.0.1:{self._server.server_address[1]}"
        self.options = f"?endpoint_override={self.address}&scheme=http&region=us-east-1"

    def put(self, key: str, data: bytes) -> None:
        """Store a file."""
        self.files[key] = data

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    store: ObjectStore

    def log_message(self, *arguments: Any) -> None:
        """Print nothing."""

    def do_HEAD(self) -> None:
        self._answer(has_body=False)

    def do_GET(self) -> None:
        self._answer(has_body=True)

    def _answer(self, *, has_body: bool) -> None:
        parts = urlsplit(self.path)
        bucket, _, key = unquote(parts.path).lstrip("/").partition("/")
        buckets = {name.partition("/")[0] for name in self.store.files}
        if bucket == self.store.denied:
            self._send(403, _error("AccessDenied"), has_body)
        elif bucket not in buckets:
            self._send(404, _error("NoSuchBucket"), has_body)
        elif not key:
            self._send(200, self._listing(bucket, parse_qs(parts.query)), has_body)
        elif f"{bucket}/{key}" not in self.store.files:
            self._send(404, _error("NoSuchKey"), has_body)
        else:
            self._send_file(self.store.files[f"{bucket}/{key}"], has_body)

    def _listing(self, bucket: str, query: dict[str, list[str]]) -> bytes:
        prefix = query.get("prefix", [""])[0]
        keys = sorted(name.partition("/")[2] for name in self.store.files)
        keys = [key for key in keys if key.startswith(prefix)][: int(query["max-keys"][0])]
        contents = "".join(
            f"<Contents><Key>{escape(key)}</Key><LastModified>{DATE}</LastModified>"
            f"<Size>{len(self.store.files[f'{bucket}/{key}'])}</Size></Contents>"
            for key in keys
        )
        count = f"<KeyCount>{len(keys)}</KeyCount><IsTruncated>false</IsTruncated>"
        return f"{XML}<ListBucketResult>{count}{contents}</ListBucketResult>".encode()

    def _send_file(self, data: bytes, has_body: bool) -> None:
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if asked is None or not self.store.takes_ranges:
            self._send(200, data, has_body)
            return
        start, end = int(asked[1]), int(asked[2] or len(data) - 1)
        part = data[start : end + 1]
        place = f"bytes {start}-{start + len(part) - 1}/{len(data)}"
        self._send(206, part, has_body, {"Content-Range": place})

    def _send(
        self, status: int, data: bytes, has_body: bool, headers: dict[str, str] | None = None
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        if has_body and self.command == "GET":
            if self.store.lost_after is not None:
                data, self.close_connection = data[: self.store.lost_after], True
            self.wfile.write(data)


def _error(code: str) -> bytes:
    return f"{XML}<Error><Code>{code}</Code><Message>{code}</Message></Error>".encode()
