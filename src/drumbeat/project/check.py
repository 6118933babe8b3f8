"""Check a project as a whole, its templates included: all faults at once, and no database."""

from __future__ import annotations

from pathlib import Path

from drumbeat.errors import ProjectError
from drumbeat.issues import Issue
from drumbeat.project.load import Project, load_project


def check_project(root: Path) -> tuple[Project | None, list[Issue]]:
    """Load the project in `root` and return it with every fault found; None where it cannot be loaded.

    Raises UsageError where there is no project at all.
    """
    project: Project | None = None
    issues: list[Issue] = []
    try:
        project = load_project(root)
    except ProjectError as error:
        issues += error.issues
    return project, sorted(issues)
