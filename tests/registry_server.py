"""A schema registry over real HTTP, for tests."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any


class RegistryHandler(BaseHTTPRequestHandler):
    """The two requests of Confluent's REST interface that a client of ours makes, over real HTTP."""

    schemas: list[str]
    ill: bool

    def do_POST(self) -> None:
        """Answer POST /subjects/(subject)/versions."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if body["schema"] not in self.schemas:
            self.schemas.append(body["schema"])
        self._answer(200, {"id": self.schemas.index(body["schema"]) + 1})

    def do_GET(self) -> None:
        """Answer GET /schemas/ids/(id)."""
        number = int(self.path.split("?")[0].rsplit("/", 1)[1])
        if 0 < number <= len(self.schemas):
            self._answer(200, {"schema": self.schemas[number - 1]})
        else:
            self._answer(404, {"error_code": 40403, "message": "Schema not found"})

    def _answer(self, status: int, body: dict[str, Any]) -> None:
        if self.ill:
            status, body = 500, {"error_code": 50001, "message": "Error in the backend data store"}
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/vnd.schemaregistry.v1+json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args: Any) -> None:
        """Log nothing."""


@contextmanager
def registry_server(*, ill: bool = False) -> Iterator[str]:
    """Run a registry of its own, on a port of its own; yield its URL. An ``ill`` one answers 500 to all."""
    handler = type("Handler", (RegistryHandler,), {"schemas": [], "ill": ill})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
