"""The page over results that are still coming: served on this machine, to this machine, made anew when they change.

Nobody else is answered: the socket is bound to 127.0.0.1, and a request that was addressed to another name (a web page
elsewhere whose name was made to point here) is refused. There are two addresses, the page and its edition; no file is
served by its name.
"""

import sys
import threading
import time
from collections.abc import Callable
from html import escape
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from twinbench.protocols.house import UserError
from twinbench.report.files import absent
from twinbench.report.result import result_files

HOST = "127.0.0.1"
LOOK_EVERY = 2.0  # seconds: whether anything changed is looked up no more often
RENDER_EVERY = 5.0  # seconds: nor is the page made more often
NOTICE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta http-equiv="refresh" content="5">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'"><title>twinbench</title></head>
<body><p>{}</p><p>This page looks again every 5 seconds.</p></body></html>
"""
NOT_HERE = "this page is for the machine that serves it; expected {}, through ssh -L by the same port on both sides"
HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
}


class ServeError(UserError):
    """A page that cannot be served."""


class Live:
    """The page of some paths as they are now: `render` makes it of the edition that it is told."""

    def __init__(
        self, paths: list[Path], render: Callable[[str], str], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.paths, self.render, self.clock = paths, render, clock
        self.lock = threading.Lock()
        self.looked = self.rendered = -RENDER_EVERY + clock()
        self.seen: object = None
        self.edition = ""
        self.answer: tuple[HTTPStatus, str] = (HTTPStatus.OK, "")

    def page(self) -> tuple[HTTPStatus, str, str]:
        """Return the status, the page and its edition, made anew if what it shows has changed and it is time."""
        with self.lock:
            now = self.clock()
            if now - self.looked >= LOOK_EVERY and now - self.rendered >= RENDER_EVERY:
                self.looked = now
                self._look()
            return *self.answer, self.edition

    def _look(self) -> None:
        """Make the page anew if anything changed; what keeps a table from being made is the page then."""
        edition = str(time.time_ns())  # never that of a server before this one
        try:
            seen: object = signature(self.paths)
            if seen == self.seen:
                return
            self.answer = HTTPStatus.OK, self.render(edition)
        except (UserError, OSError) as error:  # results come and go while a suite runs: the next look may find them
            seen = str(error)
            self.answer = HTTPStatus.SERVICE_UNAVAILABLE, NOTICE.format(escape(str(error)))
        self.edition, self.seen, self.rendered = edition, seen, self.clock()


def signature(paths: list[Path]) -> list[object]:
    """Return what a change of the results would change: the stamp of each, and what became of trials without one."""
    found: list[object] = []
    for path in result_files(paths):
        stamp = path.stat()
        found.append((path, stamp.st_mtime_ns, stamp.st_size))
    for root in paths:
        for folder in sorted(root.rglob("seed*")):
            if folder.is_dir() and not (folder / "result.json").exists():
                found.append(absent(folder))
    return found


class Server(ThreadingHTTPServer):
    """Serves one live page to this machine."""

    daemon_threads = True

    def __init__(self, live: Live, port: int) -> None:
        self.live = live
        super().__init__((HOST, port), Handler)
        self.hosts = {f"{name}:{self.server_port}" for name in (HOST, "localhost")}

    @property
    def address(self) -> str:
        """Where the page is."""
        return f"http://{HOST}:{self.server_port}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Pass over a reader who has gone, as one does who loads the page anew; print whatever else went wrong."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    server: Server  # type: ignore[reportIncompatibleVariableOverride]
    server_version = "twinbench"
    sys_version = ""
    timeout = 20  # seconds: browsers open connections ahead, over which they may never ask

    def do_GET(self) -> None:
        """Answer with the page, or its edition."""
        if self.headers.get("Host") not in self.server.hosts:
            self._send(HTTPStatus.FORBIDDEN, f"{NOT_HERE.format(self.server.address)}\n", "text/plain")
        elif self.path == "/":
            status, page, _ = self.server.live.page()
            self._send(status, page, "text/html")
        elif self.path == "/edition":
            *_, edition = self.server.live.page()
            self._send(HTTPStatus.OK, edition, "text/plain")
        else:
            self._send(HTTPStatus.NOT_FOUND, "there is nothing but / here\n", "text/plain")

    def _send(self, status: HTTPStatus, text: str, kind: str) -> None:
        """Send a whole answer."""
        body = text.encode()
        self.send_response(status)
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: a page that asks every few seconds would fill the terminal."""


def serve(paths: list[Path], render: Callable[[str], str], port: int) -> None:
    """Serve the page until the user interrupts it; `port` 0 takes a free one."""
    try:
        server = Server(Live(paths, render), port)
    except OSError as error:
        raise ServeError(
            f"--port {port}: cannot be listened on ({error.strerror}); expected a free port, or leave --port out"
        ) from None
    with server:
        print(f"serving {server.address} to this machine; Ctrl-C ends it", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print("twinbench report: no longer served", file=sys.stderr)
