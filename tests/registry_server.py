"""A schema registry over real HTTP, for tests: it answers as Confluent's does, or is in trouble."""

import base64
import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

#: Confluent's codes, as its API reference lists them.
CODES = {401: 40101, 409: 409, 422: 42201, 500: 50001, 503: 50003}


@dataclass
class RegistryServer:
    """A registry of its own. What is set here holds from the next request on."""

    trouble: int | str | None = None
    """A status that it answers to all; ``html``; ``empty``: JSON that says nothing; ``hang``: it accepts, and
    never answers; ``trickle``: a byte now and then."""
    credentials: str | None = None
    """``name:password`` that each request must have."""
    schemas: list[str] = field(default_factory=list)
    subjects: dict[str, int] = field(default_factory=dict)
    requests: int = 0
    url: str = ""
    awake: threading.Event = field(default_factory=threading.Event)


class RegistryHandler(BaseHTTPRequestHandler):
    """The three requests of Confluent's REST interface that a client of ours makes, over real HTTP."""

    registry: RegistryServer

    def do_POST(self) -> None:
        """Answer POST /subjects/(subject)/versions, which registers, and /subjects/(subject)."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        path, known = self.path.split("?")[0].split("/"), self.registry.schemas
        if path[-1] == "versions":
            if body["schema"] not in known:
                known.append(body["schema"])
            number = self.registry.subjects[path[2]] = known.index(body["schema"]) + 1
            self._answer(200, {"id": number})
        elif path[2] not in self.registry.subjects:
            self._answer(404, {"error_code": 40401, "message": f"Subject '{path[2]}' not found."})
        elif body["schema"] not in known:
            self._answer(404, {"error_code": 40403, "message": "Schema not found"})
        else:
            number = known.index(body["schema"]) + 1
            self._answer(200, {"subject": path[2], "id": number, "version": 1, "schema": body["schema"]})

    def do_GET(self) -> None:
        """Answer GET /schemas/ids/(id)."""
        number = int(self.path.split("?")[0].rsplit("/", 1)[1])
        known = self.registry.schemas
        if 0 < number <= len(known):
            self._answer(200, {"schema": known[number - 1]})
        else:
            self._answer(404, {"error_code": 40403, "message": "Schema not found"})

    def _answer(self, status: int, body: dict[str, Any]) -> None:
        registry = self.registry
        registry.requests += 1
        trouble, kind = registry.trouble, "application/vnd.schemaregistry.v1+json"
        if trouble in ("hang", "trickle"):
            self.send_response_only(200)
            while not registry.awake.wait(0.5):
                if trouble == "trickle":
                    self.wfile.write(b"X-More: of it\r\n")
            self.close_connection = True
            return
        wanted = registry.credentials and f"Basic {base64.b64encode(registry.credentials.encode()).decode()}"
        if wanted and self.headers["Authorization"] != wanted:
            trouble = 401
        data = json.dumps(body).encode()
        if isinstance(trouble, int):
            status = trouble
            data = json.dumps({"error_code": CODES[trouble], "message": f"of no use: {trouble}"}).encode()
        elif trouble == "html":
            data, kind = b"<html>the portal of a proxy</html>", "text/html"
        elif trouble == "empty":
            data = b"{}"
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args: Any) -> None:
        """Log nothing."""


@contextmanager
def registry_server(
    registry: RegistryServer | None = None, *, port: int = 0, tls: ssl.SSLContext | None = None
) -> Iterator[RegistryServer]:
    """Run a registry, on a port of its own."""
    running = registry or RegistryServer()
    running.awake.clear()
    handler = type("Handler", (RegistryHandler,), {"registry": running})
    server = ThreadingHTTPServer(("127.0.0.1", port), handler)
    server.daemon_threads = True
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    running.url = f"{'https' if tls else 'http'}://127.0.0.1:{server.server_port}"
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield running
    finally:
        running.awake.set()
        server.shutdown()
        server.server_close()
