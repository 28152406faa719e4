"""gunicorn's worker: uvicorn with the bridge in front of the WSGI app."""

import signal
import sys
from types import FrameType
from typing import Any, NoReturn, cast

from uvicorn_worker import UvicornWorker

from service.server.bridge import Bridge
from service.server.protocol import BoundedProtocol

# These never block, and are answered even if no thread is free.
INLINE_PATHS = frozenset({"/health"})
EXIT_SECONDS = 1


class BridgeWorker(UvicornWorker):
    """Serves HTTP/1.1 without TLS, as to a proxy, with ``threads`` threads."""

    CONFIG_KWARGS = {
        "loop": "uvloop",
        "http": BoundedProtocol,
        "ws": "none",
        "lifespan": "off",
        "interface": "asgi3",
        "access_log": False,
        "server_header": False,
        "proxy_headers": False,  # only the app knows which proxies to trust
    }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        BoundedProtocol.max_connections = self.cfg.worker_connections
        # gunicorn kills a worker that takes longer than this.
        self.config.timeout_graceful_shutdown = self.cfg.graceful_timeout - 2 * EXIT_SECONDS

    def load_wsgi(self) -> None:
        """Put the bridge in front of the app."""
        super().load_wsgi()
        app = cast("Any", self.wsgi)
        self.bridge = Bridge(
            app,
            threads=self.cfg.threads,
            max_body=app.config["MAX_CONTENT_LENGTH"],
            inline=INLINE_PATHS,
        )
        self.wsgi = cast("Any", self.bridge)

    def init_signals(self) -> None:
        """End with code 0 at a signal that comes before uvicorn waits for it, or after."""
        super().init_signals()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self.handle_exit)

    def handle_exit(self, sig: int, frame: FrameType | None) -> NoReturn:
        """End at once; at SIGTERM uvicorn has answered what was in flight before."""
        sys.exit(0)

    def run(self) -> None:
        """Serve until a signal, then let the app write down what was cut off."""
        try:
            super().run()
        finally:
            self.bridge.pool.close(EXIT_SECONDS)
