"""`overnight serve`."""

from __future__ import annotations

from pathlib import Path

import click

from overnight.cli.asking import say
from overnight.cli.group import Call, verb


@verb(
    """Serve OpenAI's files, batches and real-time endpoints in front of a model, until Ctrl-C.

    When it listens it prints one JSON line: url, port, home, pid. Everything survives a restart: batches go on where
    they were. A URL backend is asked with the key in OPENAI_API_KEY, if there is one.

    \b
    Examples:
      overnight serve --backend local
      overnight serve --backend http://gpu-1:8000/v1 --host 0.0.0.0 --keys keys.toml
    """
)
@click.option(
    "--backend",
    default="local",
    show_default=True,
    metavar="local|fake|URL",
    help="The embedded models (local, or local/PATH.gguf), an echo, or any OpenAI-compatible API.",
)
@click.option("--host", default="127.0.0.1", show_default=True, metavar="ADDRESS", help="Where to listen.")
@click.option("--port", default=8080, show_default=True, type=click.IntRange(0, 65535), help="0: any free one.")
@click.option("--keys", type=click.Path(path_type=Path), metavar="FILE", help='TOML, one line `tenant = "key"` each.')
@click.option("--parent", is_flag=True, help="End when standard input closes.")
def serve(call: Call, backend: str, host: str, port: int, keys: Path | None, parent: bool) -> int:
    """See its help."""
    from overnight.app import ServerParts, open_server, open_upstream
    from overnight.config import make_home
    from overnight.errors import UsageError

    try:
        from overnight.server.run import ServeSettings
        from overnight.server.run import serve as listen
    except ImportError as error:
        raise UsageError(f"serving needs {error.name}: pip install 'overnight[server]'") from None
    config = call.config()
    access = config.access["openai"]
    key = None if access.key is None else access.key.reveal()

    def open_parts() -> ServerParts:
        home = make_home(config)
        upstream, any_model = open_upstream(backend, config, key)
        if not parent:
            say(f"serving {backend} from {home}; Ctrl-C stops")
        return open_server(home, upstream, any_model)

    return listen(ServeSettings(host, port, keys, parent), open_parts)
