"""`drumbeat serve`: the web server that answers readers and providers."""

from __future__ import annotations

import logging
import signal
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from drumbeat.cli.options import as_of_option, clock_for, open_engine, open_project, project_option
from drumbeat.cli.output import note
from drumbeat.errors import StoreError, UsageError

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from drumbeat.project.load import Project
    from drumbeat.responses.inbox import Desk

BACKLOG = 2048

PORTION = 200
"""Rows of the inbox that are worked on at a time."""

SWITCH_S = 0.0005
"""How long one thread may keep the others waiting. By default it is 5 ms, and the thread that stores hits comes
back from the database five times a batch: a hit then took 28 ms on PostgreSQL, with this 23."""


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
@click.option(
    "--trusted-proxy",
    "proxies",
    multiple=True,
    metavar="NETWORK",
    help="Believe X-Forwarded-For of our own proxies there, e.g. 127.0.0.1 or 10.0.0.0/8; may be repeated.",
)
@as_of_option
def command(
    project_dir: Path | None, host: str, port: int, proxies: tuple[str, ...], as_of: str | None
) -> None:
    """Answer readers' opens, clicks and unsubscribes and providers' webhooks, until stopped with Ctrl-C or SIGTERM.

    Mails lead to `tracking: base_url` of project.yaml: let that address reach this server. While the
    database is away it goes on: what comes waits in .drumbeat/spill and is read back later. `/health` tells.
    """
    import uvicorn

    from drumbeat.runs import incoming
    from drumbeat.web.app import make_app
    from drumbeat.web.background import Background
    from drumbeat.web.desk import House
    from drumbeat.web.readers import reader_pages

    project = open_project(project_dir)
    config = project.config
    clock = clock_for(as_of, project)
    desk, unserved = incoming(project, clock=clock)
    listening = _listen(host, port)
    engine = _engine(project)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    house = House.of(config)
    app = make_app(
        engine,
        desk.links,
        clock,
        folder=project.root / ".drumbeat",
        brand=house.brand,
        language=house.language,
        topics=tuple(topic.text for topic in config.topics.values()),
        routes=reader_pages(house),
        webhooks=desk.webhooks,
        unserved=unserved,
        machines=desk.machines,
        proxies=proxies,
        background=Background(lambda: _work(engine, desk)),
    )
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            loop="uvloop",
            http="httptools",
            ws="none",
            lifespan="on",
            log_level="warning",
            access_log=False,
            server_header=False,
            # Its own reading of X-Forwarded-For believes whoever is on this machine.
            proxy_headers=False,
            # Mail programs' proxies and our own keep connections open; each is a few KB here.
            timeout_keep_alive=30,
        )
    )
    bound_host, bound_port = listening.getsockname()[:2]
    shown = f"[{bound_host}]" if ":" in bound_host else bound_host
    click.echo(f"Listening on http://{shown}:{bound_port}; the links in mails lead to {desk.links.base_url}")
    if desk.webhooks:
        note(f"Webhooks at {desk.links.base_url}/hooks/ of: {', '.join(sorted(desk.webhooks))}")
    # uvicorn stops cleanly on these and then raises them once more: by then there is nothing left to do.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    sys.setswitchinterval(SWITCH_S)
    try:
        server.run(sockets=[listening])
    finally:
        engine.dispose()
        listening.close()
    note("Stopped; every response that was answered is kept.")


def _work(engine: Engine, desk: Desk) -> bool:
    """Work on what came in, a little at a time, so that a stop is heard soon; return whether there is more."""
    from drumbeat.responses.inbox import work

    return work(engine, desk, limit=PORTION).more


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
