"""gunicorn's worker: uvicorn with the bridge in front of the WSGI app."""

import os
import signal
import sys
from types import FrameType
from typing import Any, ClassVar, NoReturn

from uvicorn_worker import UvicornWorker

from service.server.bridge import Bridge
from service.server.protocol import BoundedProtocol

# A worker that needs longer than its graceful timeout is killed. Two of these before, it aborts the
# open answers; the threads of the app then have one of these to log them.
EXIT_SECONDS = 1
HEARTBEAT_SECONDS = 1


class BridgeWorker(UvicornWorker):  # type: ignore[misc]  # uvicorn-worker has no types
    """Serves HTTP/1.1 without TLS, as to a proxy; only the app knows which proxies to trust."""

    wsgi: Any
    CONFIG_KWARGS: ClassVar[dict[str, Any]] = {
        "loop": "uvloop",
        "http": BoundedProtocol,
        "ws": "none",
        "lifespan": "off",
        "interface": "asgi3",
        "access_log": False,
        "server_header": False,
        "proxy_headers": False,
        "timeout_notify": HEARTBEAT_SECONDS,
    }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        BoundedProtocol.max_connections = self.cfg.worker_connections
        self.config.timeout_graceful_shutdown = self.cfg.graceful_timeout - 2 * EXIT_SECONDS

    def load_wsgi(self) -> None:
        """Put the bridge in front of the app."""
        super().load_wsgi()
        app = self.wsgi
        self.wsgi = Bridge(
            app,
            threads=self.cfg.threads,
            writers=app.config["WRITE_THREADS"],
            turn_seconds=app.config["WRITE_TURN_SECONDS"],
            max_body=app.config["MAX_CONTENT_LENGTH"],
            limits=app.config["BODY_LIMITS"],
            inline=("/health",),
        )

    def init_signals(self) -> None:
        """Handle the signals that come before uvicorn handles them, and after."""
        super().init_signals()
        signal.signal(signal.SIGTERM, self.exit_before_serving)
        signal.signal(signal.SIGINT, self.exit_before_serving)

    def exit_before_serving(self, sig: int, frame: FrameType | None) -> None:
        """Exit with code 0 while the worker starts; uvicorn repeats a signal when it has ended.

        An exception here would pass through code that does not expect one, such as uvloop's.
        """
        if not self.config.loaded:
            os._exit(0)

    async def callback_notify(self) -> None:
        """Update the heartbeat; finish what is in progress and end if the master has been killed.

        Otherwise the worker would keep the port from the next master.
        """
        await super().callback_notify()
        if os.getppid() != self.ppid:
            os.kill(os.getpid(), signal.SIGTERM)

    def handle_exit(self, sig: int, frame: FrameType | None) -> NoReturn:
        """Exit at once, at SIGQUIT."""
        sys.exit(0)

    def run(self) -> None:
        """Serve until a signal, then let the app write down what was cut off."""
        try:
            super().run()
        finally:
            self.wsgi.pool.close(EXIT_SECONDS)
