"""The project's deployments on a real Prefect server."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from drumbeat.cli.processes import child

pytestmark = [pytest.mark.prefect, pytest.mark.slow]


def test_a_scheduled_run_reaches_completed_and_leaves_its_artifacts(
    deployed: Any, flow_project: Path, tmp_path: Path
) -> None:
    """The scheduler makes the run and a worker does it: deploying works in broken set-ups too."""
    deployment = deployed.get("/deployments/name/evaluate/every-15-minutes")
    words = [sys.executable, "-m", "prefect", "worker", "start", "--pool", "drumbeat"]
    log = tmp_path / "worker.log"
    with child(words, log=log, environment=deployed.environment, folder=tmp_path) as worker:
        deadline = time.monotonic() + 120
        while not (done := _completed(deployed, deployment["id"])):
            assert worker.poll() is None, log.read_text()[-4000:]
            assert time.monotonic() < deadline, log.read_text()[-4000:]
            time.sleep(0.5)
    run = done[0]
    assert run["auto_scheduled"] is True
    artifacts = deployed.post(
        "/artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [run["id"]]}}}
    ).json()
    kinds = {artifact["key"]: artifact for artifact in artifacts if artifact["key"]}
    assert kinds["evaluate"]["type"] == "markdown"
    assert "As of 2011-12-05T09:00:00" in kinds["evaluate"]["data"]
    assert "abandoned_cart" in kinds["evaluate"]["data"]
    assert kinds["evaluate-campaigns"]["type"] == "table"


def _completed(server: Any, deployment_id: str) -> list[dict[str, Any]]:
    runs = server.post(
        "/flow_runs/filter",
        {
            "flow_runs": {
                "deployment_id": {"any_": [deployment_id]},
                "state": {"type": {"any_": ["COMPLETED", "FAILED", "CRASHED"]}},
            }
        },
    ).json()
    failed = [run for run in runs if run["state_type"] != "COMPLETED"]
    assert not failed, failed[0]["state"]["message"]
    return list(runs)


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("evaluate/every-15-minutes", {"campaigns", "as_of", "dry_run"}),
        ("deliver/every-5-minutes", {"limit", "as_of"}),
        ("collect/hourly", {"as_of"}),
    ],
)
def test_the_parameters_are_a_form(deployed: Any, name: str, fields: set[str]) -> None:
    """The schema that the UI draws its form from names every field with its description."""
    schema = deployed.get(f"/deployments/name/{name}")["parameter_openapi_schema"]
    (model,) = schema["definitions"].values()
    assert set(model["properties"]) == fields
    assert all(field["description"] for field in model["properties"].values())


def test_a_wrong_parameter_is_refused_before_a_run_exists(deployed: Any) -> None:
    deployment = deployed.get("/deployments/name/evaluate/every-15-minutes")["id"]
    answer = deployed.post(
        f"/deployments/{deployment}/create_flow_run", {"parameters": {"params": {"dry_run": "perhaps"}}}
    )
    assert answer.status_code == 409
    assert "Validation failed" in answer.text


def test_two_runs_of_one_deployment_never_overlap(deployed: Any) -> None:
    """Each deployment takes one run at a time and cancels one that comes too early."""
    for name in ("evaluate/every-15-minutes", "deliver/every-5-minutes", "collect/hourly"):
        deployment = deployed.get(f"/deployments/name/{name}")
        assert deployment["global_concurrency_limit"]["limit"] == 1
        assert deployment["concurrency_options"]["collision_strategy"] == "CANCEL_NEW"
        assert all(
            schedule["schedule"].get("timezone") or schedule["slug"] == "soon"
            for schedule in deployment["schedules"]
        )


def test_drumbeat_run_uses_the_api_that_is_configured(prefect_server: Any, flow_project: Path) -> None:
    """The run is recorded there, with its artifacts, and its figures come back to the caller."""
    done = subprocess.run(
        [sys.executable, "-m", "drumbeat", "run", "deliver", "--as-of", "2011-12-05T09:00Z", "--json"],
        env=dict(prefect_server.environment),
        cwd=flow_project,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert f"Running the flows on the Prefect API at {prefect_server.api}" in done.stderr
    result = json.loads(done.stdout)
    assert result["by"] == "prefect"
    assert result["runs"][0]["figures"]["sent"] == 0
    found = prefect_server.post("/flow_runs/filter", {"flows": {"name": {"any_": ["deliver"]}}}).json()
    ours = [run for run in found if run["deployment_id"] is None]
    assert [run["state_type"] for run in ours] == ["COMPLETED"]
