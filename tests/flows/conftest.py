"""One Prefect server for all tests of flows: real, on a free port, with a home of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from drumbeat.cli.init import make_project
from drumbeat.cli.processes import child, free_port, prefect_environment, wait_until_answers

PREFECT = (sys.executable, "-m", "prefect")


@dataclass(frozen=True)
class Server:
    """A Prefect server and the environment in which programs talk to it."""

    api: str
    environment: Mapping[str, str]

    def get(self, path: str) -> Any:
        answer = requests.get(f"{self.api}{path}", timeout=30)
        answer.raise_for_status()
        return answer.json()

    def post(self, path: str, body: object) -> requests.Response:
        return requests.post(f"{self.api}{path}", json=body, timeout=30)

    def run(self, *words: str, folder: Path) -> str:
        done = subprocess.run(
            [*PREFECT, *words],
            env=dict(self.environment),
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture(scope="session")
def flow_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project as `drumbeat init` makes it, with an evaluate schedule short enough to wait for."""
    root = tmp_path_factory.mktemp("flows") / "shop"
    make_project(root)
    file = root / "deployments" / "prefect.yaml"
    plan = yaml.safe_load(file.read_text())
    evaluate = next(d for d in plan["deployments"] if d["entrypoint"].endswith(":evaluate"))
    evaluate["schedules"] = [{"interval": 5, "slug": "soon", "active": True}]
    evaluate["parameters"] = {"params": {"as_of": "2011-12-05T09:00:00+00:00"}}
    file.write_text(yaml.safe_dump(plan))
    return root


@pytest.fixture(scope="session")
def prefect_server(tmp_path_factory: pytest.TempPathFactory, flow_project: Path) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("prefect")
    port = free_port()
    settings = prefect_environment(home, port)
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "DRUMBEAT_DATABASE"))}
    environment = {**kept, **settings, "DRUMBEAT_PROJECT": str(flow_project), "DRUMBEAT_SECRET": "x" * 32}
    api = settings["PREFECT_API_URL"]
    log = home / "server.log"
    with child([*PREFECT, "server", "start"], log=log, environment=environment, folder=home) as process:
        wait_until_answers(f"{api}/health", process, log=log)
        yield Server(api, environment)


@pytest.fixture(scope="session")
def deployed(prefect_server: Server, flow_project: Path) -> Server:
    """The server with the project's three deployments, made by the commands that docs/prefect.md gives."""
    prefect_server.run("work-pool", "create", "drumbeat", "--type", "process", folder=flow_project)
    prefect_server.run(
        "--no-prompt", "deploy", "--prefect-file", "deployments/prefect.yaml", "--all", folder=flow_project
    )
    return prefect_server
