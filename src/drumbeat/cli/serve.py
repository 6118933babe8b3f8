"""`drumbeat serve`: the web server that answers readers."""

from __future__ import annotations

import logging
import signal
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import click

from drumbeat.cli.options import as_of_option, clock_for, open_engine, open_project, project_option
from drumbeat.cli.output import note
from drumbeat.errors import StoreError, UsageError

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from drumbeat.project.load import Project

BACKLOG = 2048


@click.command("serve")
@project_option
@click.option("--host", default="127.0.0.1", show_default=True, metavar="HOST", help="Address to listen on.")
@click.option(
    "--port",
    default=8025,
    show_default=True,
    metavar="PORT",
    type=click.IntRange(0, 65535),
    help="Port; 0 takes a free one.",
)
@as_of_option
def command(project_dir: Path | None, host: str, port: int, as_of: str | None) -> None:
    """Answer readers' opens, clicks and unsubscribes, until stopped with Ctrl-C or SIGTERM.

    Mails lead to `tracking: base_url` of project.yaml: let that address reach this server. While the
    database is away it goes on: responses wait in .drumbeat/spill and are read back later. `/health` tells.
    """
    import uvicorn

    from drumbeat.rendering.links import Links
    from drumbeat.rendering.secret import load_secrets
    from drumbeat.web.app import make_app

    project = open_project(project_dir)
    config = project.config
    links = Links(config.tracking.base_url, load_secrets(project.root, config.tracking.secret_env))
    listening = _listen(host, port)
    engine = _engine(project)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    app = make_app(
        engine,
        links,
        clock_for(as_of, project),
        folder=project.root / ".drumbeat",
        brand=config.senders[config.default_sender].name,
        language=config.language,
        topics=tuple(topic.text for topic in config.topics.values()),
    )
    server = uvicorn.Server(
        uvicorn.Config(app, log_level="warning", access_log=False, server_header=False, lifespan="on")
    )
    bound_host, bound_port = listening.getsockname()[:2]
    shown = f"[{bound_host}]" if ":" in bound_host else bound_host
    click.echo(f"Listening on http://{shown}:{bound_port}; the links in mails lead to {links.base_url}")
    # uvicorn stops cleanly on these and then raises them once more: by then there is nothing left to do.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    try:
        server.run(sockets=[listening])
    finally:
        engine.dispose()
        listening.close()
    note("Stopped; every response that was answered is kept.")


def _listen(host: str, port: int) -> socket.socket:
    """Bind before anything else, so that a port in use is told in one line. Raises UsageError."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.socket(family, kind, protocol)
    except OSError as error:
        raise UsageError(f"cannot listen on {host}: {error.strerror}; choose another --host") from None
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind(address)
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        raise UsageError(
            f"cannot listen on {host} port {port}: {error.strerror}; stop what uses it, or choose another --port"
        ) from None
    return listening


def _engine(project: Project) -> Engine:
    """Open the store; where that fails, serve all the same: a reader's click must not wait for our repairs."""
    try:
        return open_engine(project)
    except StoreError as error:
        note(f"drumbeat: {error}. Serving all the same: responses wait in .drumbeat/spill until then.")
        return open_engine(project, check=False)
