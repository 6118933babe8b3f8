"""The bench from start to end: makes the stores, runs both ways in turn, checks that they agree, prints the table."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from bench.servers import postgresql, postgresql_programs
from bench.setting import ROOT

RESULTS = Path(__file__).with_name("results.json")
IMPORTED = ("customers", "orders")


def main() -> None:
    """Measure one size on both databases and merge the figures into results.json."""
    arguments = _arguments()
    # A bench that is told to stop leaves no server and no folder of gigabytes behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    size: int = arguments.size
    with _folder(arguments.folder) as folder:
        project = _project(folder)
        mails_project = _project(folder, "mails")
        figures = []
        for database, url in _stores(folder, arguments.databases):
            _say(f"{database}, {size:,} customers")
            one = _measure(database, url, size, project, folder, arguments)
            if "delivery" in arguments.parts:
                one["delivery"] = _measure_delivery(url, mails_project, folder, arguments)
            if "hits" in arguments.parts:
                from bench.hits import measure as measure_hits

                one["hits"] = measure_hits(url, folder)
            figures.append(one)
    if not figures:
        raise SystemExit("nothing measured: no PostgreSQL programs (initdb, pg_ctl) were found")
    print(_table(size, figures))
    if not arguments.dry:
        _keep(size, figures)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--size", type=int, default=100_000, help="customers (make bench SIZE=1000000)")
    parser.add_argument(
        "--rounds", type=int, default=5, help="runs of each way that count; their median is kept"
    )
    parser.add_argument("--databases", nargs="+", default=["sqlite", "postgresql"])
    parser.add_argument(
        "--folder", type=Path, help="where the stores are made (5 GB at a million); else a temporary one"
    )
    parser.add_argument(
        "--parts", nargs="+", default=["imports", "plans", "delivery", "hits"], help="what to measure"
    )
    parser.add_argument("--mails", type=int, default=100_000, help="mails of the delivery")
    parser.add_argument(
        "--workers", type=int, nargs="+", default=[1, 2], help="workers of the delivery, in turn"
    )
    parser.add_argument("--dry", action="store_true", help="do not write results.json")
    arguments = parser.parse_args()
    arguments.rounds = arguments.rounds or (11 if arguments.size < 500_000 else 3)
    return arguments


@contextmanager
def _folder(wanted: Path | None) -> Iterator[Path]:
    """A folder of our own that is removed at the end."""
    folder = Path(tempfile.mkdtemp(prefix="drumbeat-bench-", dir=wanted))
    # The database server runs as another user where we are root.
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _project(folder: Path, name: str = "project") -> Path:
    """Put the bench's campaigns together with what they lack of the reference project's triggers and templates."""
    project = folder / name
    shutil.copytree(Path(__file__).with_name(name), project)
    for part in ("triggers", "templates"):
        if not (project / part).exists():
            shutil.copytree(ROOT / part, project / part, ignore=shutil.ignore_patterns("__pycache__"))
    return project


def _stores(folder: Path, databases: list[str]) -> Iterator[tuple[str, str]]:
    if "sqlite" in databases:
        yield "SQLite", f"sqlite:///{folder / 'store.db'}"
        for file in folder.glob("store.db*"):
            file.unlink()
    if "postgresql" in databases:
        programs = postgresql_programs()
        if programs is None:
            print("no PostgreSQL: install the server's programs (initdb, pg_ctl)", file=sys.stderr)
            return
        with postgresql(programs, folder / "postgresql") as url:
            yield "PostgreSQL", url


def _measure(
    database: str, url: str, size: int, project: Path, folder: Path, arguments: argparse.Namespace
) -> dict[str, Any]:
    figures: dict[str, Any] = {"database": database}
    if "imports" in arguments.parts:
        figures["imports"] = _measure_imports(url, size, folder)
    if "plans" in arguments.parts:
        _say("  generating ...")
        _do("empty", url=url)
        _say(f"  generated in {_do('fill', url=url, customers=size)['seconds']:.0f} s")
        figures["plan"] = _measure_plans(url, project, arguments.rounds)
    return figures


def _measure_delivery(url: str, project: Path, folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Hand the same mails over by Drumbeat and the obvious way, by as many processes each, in turn."""
    from bench.delivery import sink

    mails: int = arguments.mails
    few = min(mails, 10_000)
    found: dict[str, Any] = {"mails": mails, "workers": {}}
    for workers in arguments.workers:
        _do("fill_mails", url=url, mails=mails)
        with sink(folder) as (port, name):
            before = _do_at_once("send_bare", workers, url=url, project=str(project), port=port, mails=few)
            ours = _do_at_once("send", workers, url=url, project=str(project), port=port)
            after = _do_at_once("send_bare", workers, url=url, project=str(project), port=port, mails=few)
        left = _do("states", url=url)
        if left != {"sent": mails} or sum(one["rows"] for one in ours) != mails:
            raise SystemExit(f"not every mail was sent once: {left}")
        rates = [_rate(one) for one in (ours, before, after)]
        found["sink"] = name
        found["workers"][str(workers)] = {
            "mails_per_s": round(rates[0]),
            "bare_per_s": [round(rate) for rate in rates[1:]],
            "ratio": round(rates[0] / median(rates[1:]), 2),
            "peak_mb": round(max(one["peak"] for one in ours) / 2**20),
            "cpu_us_per_mail": round(sum(one["cpu_seconds"] for one in ours) / mails * 1e6),
        }
        _say(f"  delivery by {workers}: {found['workers'][str(workers)]}")
    return found


def _rate(runs: list[dict[str, Any]]) -> float:
    """Return messages a second of processes that ran at once."""
    return float(sum(one["rows"] for one in runs) / max(one["seconds"] for one in runs))


def _do_at_once(task: str, workers: int, **order: Any) -> list[dict[str, Any]]:
    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(lambda _: _do(task, **order), range(workers)))


def _measure_imports(url: str, size: int, folder: Path) -> dict[str, Any]:
    from bench.imports import write_files

    files = write_files(folder, size)
    found: dict[str, dict[str, list[dict[str, Any]]]] = {
        kind: {"load": [], "load_bare": []} for kind in IMPORTED
    }
    for way in ("load", "load_bare", "load_bare", "load"):
        _do("empty", url=url)
        for kind in IMPORTED:
            done = _do(way, url=url, kind=kind, file=str(files[kind]))
            found[kind][way].append(done)
            _say(f"  {way} {kind}: {done['rows'] / done['seconds']:,.0f} rows/s")
    for file in files.values():
        file.unlink()
    return {kind: {way: _middle(runs) for way, runs in ways.items()} for kind, ways in found.items()}


def _measure_plans(url: str, project: Path, rounds: int) -> dict[str, Any]:
    """Run both ways in turn, the first of each to warm up; fail where any two of them decide differently."""
    found: dict[str, list[dict[str, Any]]] = {"plan": [], "plan_bare": []}
    orders = [("plan", "plan_bare"), ("plan_bare", "plan")]
    for number in range(rounds + 1):
        for way in orders[number % 2]:
            given = {"project": str(project)} if way == "plan" else {}
            done = _do(way, url=url, **given)
            _do("undo", url=url)
            _say(
                f"  {way} {done['seconds']:.3f} s, {done['peak'] / 2**20:.0f} MB{'' if number else ' (warming up)'}"
            )
            _check_same(done, found)
            found[way].append(done)
    kept = {way: _middle(runs[1:]) for way, runs in found.items()}
    return kept | {"counts": found["plan"][0]["counts"]}


def _check_same(done: dict[str, Any], found: dict[str, list[dict[str, Any]]]) -> None:
    for earlier in (*found["plan"][:1], *found["plan_bare"][:1]):
        if earlier["digest"] != done["digest"]:
            raise SystemExit(
                "Drumbeat and the bare SQL decided differently; no ratio is given.\n"
                f"  {earlier['counts']}\n  {done['counts']}"
            )


def _middle(runs: list[dict[str, Any]]) -> dict[str, Any]:
    seconds = [run["seconds"] for run in runs]
    kept = {"seconds": median(seconds), "all_seconds": [round(s, 3) for s in seconds]}
    kept["peak_mb"] = round(max(run["peak"] for run in runs) / 2**20)
    kept["before_mb"] = round(max(run["before"] for run in runs) / 2**20)
    for name in ("rows", "candidates"):
        if name in runs[0]:
            kept[name] = runs[0][name]
    return kept


def _do(task: str, **order: Any) -> dict[str, Any]:
    """Do one piece of work in a process of its own and return what it says."""
    ran = subprocess.run(
        [sys.executable, "-m", "bench.work", json.dumps({"task": task, **order})],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        check=False,
        text=True,
    )
    if ran.returncode:
        raise SystemExit(f"'{task}' failed: see above")
    result: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    return result


def _table(size: int, figures: list[dict[str, Any]]) -> str:
    lines = [f"\n{size:,} customers", f"{'':34}{'Drumbeat':>14}{'bare SQL':>14}{'ratio':>8}"]

    def row(name: str, ours: str, theirs: str, ratio: float | None = None) -> None:
        lines.append(f"  {name:32}{ours:>14}{theirs:>14}" + (f"{ratio:8.2f}" if ratio is not None else ""))

    for one in figures:
        lines.append(one["database"])
        if "plan" in one:
            plan, bare = one["plan"]["plan"], one["plan"]["plan_bare"]
            times = [w["seconds"] for w in (plan, bare)]
            name = f"plan, {plan['candidates']:,} candidates"
            row(name, f"{times[0]:.2f} s", f"{times[1]:.2f} s", times[0] / times[1])
            row("peak memory of that process", f"{plan['peak_mb']} MB", f"{bare['peak_mb']} MB")
        for workers, sent in one.get("delivery", {}).get("workers", {}).items():
            name = f"delivery, {one['delivery']['mails']:,} mails, {workers} worker{'s' if workers != '1' else ''}"
            bare_rate = f"{median(sent['bare_per_s']):,.0f} /s *"
            row(name, f"{sent['mails_per_s']:,} /s", bare_rate, sent["ratio"])
            row("peak memory of a worker", f"{sent['peak_mb']} MB", "")
        for load, hits in one.get("hits", {}).items():
            row(f"hits and calls: {load}", f"{hits['per_second']:,.0f} /s", f"p50 {hits['p50_ms']:.0f} ms")
        for kind, ways in one.get("imports", {}).items():
            ours, theirs = ways["load"], ways["load_bare"]
            rates = [w["rows"] / w["seconds"] for w in (ours, theirs)]
            name = f"import, {ours['rows']:,} {kind}"
            row(name, f"{rates[0]:,.0f} /s", f"{rates[1]:,.0f} /s", rates[1] / rates[0])
            row("peak memory of that process", f"{ours['peak_mb']} MB", f"{theirs['peak_mb']} MB")
    lines.append(
        "  * EmailMessage and smtplib, nothing written down; the ratio is the other way round: more is better"
    )
    return "\n".join(lines)


def _keep(size: int, figures: list[dict[str, Any]]) -> None:
    """Put the figures into results.json; those of other sizes, databases and parts stay."""
    kept = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    by_database = kept.setdefault(str(size), {})
    machine = {"on": time.strftime("%Y-%m-%d", time.gmtime()), "cores": os.cpu_count()}
    for one in figures:
        database = one.pop("database")
        by_database.setdefault(database, {}).update(one | machine | {"python": platform.python_version()})
    RESULTS.write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
