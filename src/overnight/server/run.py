"""`overnight serve`: one process that listens, until a signal or the end of its parent."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import uvicorn

from overnight.app import ServerParts
from overnight.errors import UsageError
from overnight.server.app import create_app
from overnight.server.keys import Keys, read_keys

BACKLOG = 2048
GRACE = 5  # seconds that answers in flight, and uploads, have when the server stops
KEEP_ALIVE = 75  # seconds; more than clients keep their idle connections, so that they close first


@dataclass(frozen=True, slots=True)
class ServeSettings:
    """How to listen. Port 0: any free one. `parent`: end when standard input closes."""

    host: str = "127.0.0.1"
    port: int = 8080
    keys: Path | None = None
    parent: bool = False


def serve(settings: ServeSettings, open_parts: Callable[[], ServerParts]) -> int:
    """Serve until SIGINT, SIGTERM or, with `parent`, the end of standard input; then the exit code. When it listens
    it prints one JSON line to standard output: `url`, `port`, `home`, `pid`. Raises `UsageError` for a host that needs
    keys or an address that cannot be had, and whatever opening the parts or starting the upstream raises."""
    keys = Keys() if settings.keys is None else read_keys(settings.keys)
    if not keys and not _is_loopback(settings.host):
        raise UsageError(
            f"without keys everybody who reaches {settings.host} could use this server: "
            "give --keys FILE, or listen on 127.0.0.1"
        )
    with listen(settings.host, settings.port) as listener:
        return asyncio.run(_serve(settings, keys, listener, open_parts()))


class Server(uvicorn.Server):
    """uvicorn's server, with signals and exit codes of our own."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, then say so."""
        await super().startup(sockets)
        self._ready()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone: uvicorn would raise them again at the end, and the process die of them."""
        yield

    def stop(self) -> None:
        """End gracefully; at once when asked a second time."""
        self.force_exit = self.should_exit
        self.should_exit = True


async def _serve(settings: ServeSettings, keys: Keys, listener: socket.socket, parts: ServerParts) -> int:
    app = create_app(
        objects=parts.objects,
        blobs=parts.blobs,
        journals=parts.journals,
        upstream=parts.upstream,
        clock=parts.clock,
        keys=keys,
        home_id=parts.home_id,
        any_model=parts.any_model,
    )
    config = uvicorn.Config(
        app,
        lifespan="off",  # entered below, so that its errors come out as they are
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE,
        timeout_keep_alive=KEEP_ALIVE,
    )
    server = Server(config, lambda: _say_ready(listener, parts.home_id))
    try:
        async with app.router.lifespan_context(app):
            with _stopped_from_outside(server, settings.parent):
                await server.serve(sockets=[listener])
    finally:
        await parts.close()
    return 0


@contextlib.contextmanager
def _stopped_from_outside(server: Server, parent: bool) -> Iterator[None]:
    """Signals stop the server, and so does the end of standard input where a parent holds it."""
    loop = asyncio.get_running_loop()
    signals = (signal.SIGINT, signal.SIGTERM)
    for number in signals:
        loop.add_signal_handler(number, server.stop)
    if parent:
        threading.Thread(target=_await_parent, args=(loop, server), daemon=True).start()
    try:
        yield
    finally:
        for number in signals:
            loop.remove_signal_handler(number)


def _await_parent(loop: asyncio.AbstractEventLoop, server: Server) -> None:
    with contextlib.suppress(OSError):
        while os.read(0, 4096):
            pass
    with contextlib.suppress(RuntimeError):  # the loop is closed: ended already
        loop.call_soon_threadsafe(server.stop)


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0: any free one. Raises `UsageError` where the address cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol is named because asyncio turns Nagle's delay off only where it can read it there: without, a client
    # that keeps its connection waits 40 ms for every answer.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
        raise UsageError(f"cannot listen on {host} port {port}: {reason}: choose another --port or --host") from None
    return listener


def _say_ready(listener: socket.socket, home_id: str) -> None:
    host, port = listener.getsockname()[:2]
    place = f"[{host}]" if ":" in host else host
    line = {"url": f"http://{place}:{port}/v1", "port": port, "home": home_id, "pid": os.getpid()}
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
