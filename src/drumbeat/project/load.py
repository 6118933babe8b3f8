"""Load a project folder and check it as a whole: all faults at once, each with its place.

project.yaml · segments.yaml · campaigns/*.yaml · triggers/ · templates/
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from drumbeat.document import Document, read_document
from drumbeat.errors import ProjectError, UsageError
from drumbeat.issues import Issue, Place, nearest
from drumbeat.project.faults import issues_of
from drumbeat.project.models import Campaign, ProjectConfig
from drumbeat.segments.grammar import EVERYONE, Segment, parse_segments, topics_used
from drumbeat.triggers import Trigger

CONFIG_FILE = "project.yaml"

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True)
class LoadedCampaign:
    """A campaign whose names were all found: its file, its settings and its trigger."""

    path: Path
    settings: Campaign
    trigger: Trigger
    sender: str

    @property
    def name(self) -> str:
        """Return the campaign's name."""
        return self.settings.campaign

    @property
    def obeys_cap(self) -> bool:
        """Say whether the cap may keep its mails away."""
        return self.settings.is_marketing if self.settings.obeys_cap is None else self.settings.obeys_cap

    @property
    def counts_toward_cap(self) -> bool:
        """Say whether its mails use up the cap of others."""
        return (
            self.settings.is_marketing
            if self.settings.counts_toward_cap is None
            else self.settings.counts_toward_cap
        )


@dataclass(frozen=True)
class Project:
    """A checked project. Campaigns are in the order they are planned in: priority first, then name."""

    root: Path
    config: ProjectConfig
    segments: Mapping[str, Segment]
    campaigns: Mapping[str, LoadedCampaign]

    def campaign(self, name: str) -> LoadedCampaign:
        """Return a campaign by name. Raises UsageError with the nearest name."""
        try:
            return self.campaigns[name]
        except KeyError:
            raise UsageError(f"unknown campaign '{name}'. {nearest(name, self.campaigns)}") from None

    @cached_property
    def planned_campaigns(self) -> tuple[LoadedCampaign, ...]:
        """The enabled campaigns, highest priority first."""
        return tuple(c for c in self.campaigns.values() if c.settings.enabled)


def find_root(start: Path) -> Path:
    """Return the project folder that `start` is in. Raises UsageError where there is none."""
    here = start.resolve()
    for folder in (here, *here.parents):
        if (folder / CONFIG_FILE).is_file():
            return folder
    raise UsageError(
        f"no {CONFIG_FILE} in {here} or above; go into a project, pass --project DIR, or make one with `drumbeat init`"
    )


def load_project(root: Path) -> Project:
    """Load and check the project in `root`. Raises ProjectError with every fault found."""
    found: list[Issue] = []
    if not (root / CONFIG_FILE).is_file():
        raise UsageError(
            f"no {CONFIG_FILE} in {root}; pass --project DIR, or make a project with `drumbeat init`"
        )
    config_document = _read(root, Path(CONFIG_FILE), found)
    config = _validated(ProjectConfig, config_document, found)
    # None: unreadable. One fault says so; that every segment is unknown then is no news.
    segments: Mapping[str, Segment] | None = None
    if (segments_document := _read(root, Path("segments.yaml"), found)) is not None:
        segments, segment_issues = parse_segments(segments_document)
        found += segment_issues
        if config is not None:
            found += [
                Issue(place, "DB013", f"unknown topic '{topic}'.", nearest(topic, config.topics))
                for topic, place in topics_used(segments)
                if topic not in config.topics
            ]
    kinds = _trigger_kinds(root, found)
    campaigns: dict[str, LoadedCampaign] = {}
    files = sorted(p for p in (root / "campaigns").glob("*") if p.suffix in (".yaml", ".yml"))
    for file in files:
        document = _read(root, file.relative_to(root), found)
        settings = _validated(Campaign, document, found)
        if document is None or settings is None:
            continue
        loaded = _check_campaign(root, document, settings, config, segments, kinds, found)
        if loaded is not None:
            campaigns[loaded.name] = loaded
    if found or config is None:
        raise ProjectError(sorted(found))
    in_order = sorted(campaigns.values(), key=lambda c: (-c.settings.priority, c.name))
    return Project(root, config, segments or {}, {c.name: c for c in in_order})


def trigger_kinds(root: Path) -> Mapping[str, type[Trigger]]:
    """Return the project's trigger kinds by name. Raises ProjectError where they cannot be imported."""
    found: list[Issue] = []
    kinds = _trigger_kinds(root, found)
    if kinds is None:
        raise ProjectError(found)
    return kinds


def _read(root: Path, relative: Path, found: list[Issue]) -> Document | None:
    try:
        return read_document(root / relative, shown_as=relative)
    except ProjectError as error:
        found += error.issues
        return None


def _validated(model: type[M], document: Document | None, found: list[Issue]) -> M | None:
    if document is None:
        return None
    try:
        return model.model_validate(document.value if document.value is not None else {})
    except ValidationError as error:
        found += issues_of(error, model, document)
        return None


def _check_campaign(
    root: Path,
    document: Document,
    settings: Campaign,
    config: ProjectConfig | None,
    segments: Mapping[str, Segment] | None,
    kinds: Mapping[str, type[Trigger]] | None,
    found: list[Issue],
) -> LoadedCampaign | None:
    """Check the names a campaign uses; add faults to `found` and return None where there are any."""
    before = len(found)

    def fault(code: str, loc: tuple[str | int, ...], message: str, fix: str) -> None:
        found.append(Issue(document.value_place(loc), code, message, fix))

    if settings.campaign != document.path.stem:
        fault(
            "DB010",
            ("campaign",),
            f"the campaign '{settings.campaign}' stands in {document.path.name}.",
            f"Name the file {settings.campaign}.yaml, so that it is found by its name.",
        )
    if segments is not None and settings.segment not in (EVERYONE, *segments):
        fault(
            "DB011",
            ("segment",),
            f"unknown segment '{settings.segment}'.",
            nearest(settings.segment, [*segments, EVERYONE]),
        )
    if not (root / "templates" / settings.message.template).is_dir():
        folders = [p.name for p in (root / "templates").glob("[a-z]*") if p.is_dir()]
        fault(
            "DB012",
            ("message", "template"),
            f"unknown template '{settings.message.template}'.",
            nearest(settings.message.template, folders),
        )
    if config is not None:
        if settings.topic not in config.topics:
            fault(
                "DB013",
                ("topic",),
                f"unknown topic '{settings.topic}'.",
                nearest(settings.topic, config.topics),
            )
        if settings.sender is not None and settings.sender not in config.senders:
            fault(
                "DB015",
                ("sender",),
                f"unknown sender '{settings.sender}'.",
                nearest(settings.sender, config.senders),
            )
    trigger = _check_trigger(document, settings, kinds, found)
    if len(found) > before or trigger is None or config is None:
        return None
    return LoadedCampaign(document.path, settings, trigger, settings.sender or config.default_sender)


def _check_trigger(
    document: Document, settings: Campaign, kinds: Mapping[str, type[Trigger]] | None, found: list[Issue]
) -> Trigger | None:
    if kinds is None:
        return None
    ((kind, params),) = settings.trigger.items()
    if kind not in kinds:
        found.append(
            Issue(
                document.place(("trigger", kind)), "DB014", f"unknown trigger '{kind}'.", nearest(kind, kinds)
            )
        )
        return None
    try:
        return kinds[kind].model_validate(params)
    except ValidationError as error:
        found += issues_of(error, kinds[kind], document, within=("trigger", kind))
        return None


def _trigger_kinds(root: Path, found: list[Issue]) -> Mapping[str, type[Trigger]] | None:
    """Import the project's `triggers` package under a name of its own and return its KINDS."""
    entry = root / "triggers" / "__init__.py"
    shown = Path("triggers/__init__.py")
    if not entry.is_file():
        found.append(
            Issue(Place(shown), "DB016", "is missing.", "It lists the trigger kinds: KINDS = {...}.")
        )
        return None
    name = f"drumbeat_project_{blake2b(str(root.resolve()).encode(), digest_size=6).hexdigest()}_triggers"
    spec = importlib.util.spec_from_file_location(name, entry, submodule_search_locations=[str(entry.parent)])
    if spec is None or spec.loader is None:  # cannot happen for a .py file
        raise UsageError(f"cannot import {entry}")
    for stale in [m for m in sys.modules if m == name or m.startswith(f"{name}.")]:
        del sys.modules[stale]
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # noqa: BLE001 - a company's own code may raise anything; it is reported with its place
        found.append(
            Issue(
                _raised_at(error, root, shown),
                "DB016",
                f"cannot be imported: {type(error).__name__}: {error}.",
            )
        )
        return None
    kinds: Any = getattr(module, "KINDS", None)
    if not isinstance(kinds, Mapping) or not all(
        isinstance(k, type) and issubclass(k, Trigger) for k in kinds.values()
    ):
        found.append(
            Issue(
                Place(shown),
                "DB016",
                "has no KINDS.",
                "Expected a dict from a kind's name to its Trigger class.",
            )
        )
        return None
    return kinds


def _raised_at(error: BaseException, root: Path, default: Path) -> Place:
    """Return the innermost line of the project's own files in the error's traceback."""
    if isinstance(error, SyntaxError) and error.filename:
        path = Path(error.filename)
        return Place(
            path.relative_to(root) if path.is_relative_to(root) else path,
            error.lineno or 1,
            error.offset or 1,
        )
    place, frame = Place(default), error.__traceback__
    while frame is not None:
        path = Path(frame.tb_frame.f_code.co_filename)
        if path.is_relative_to(root):
            place = Place(path.relative_to(root), frame.tb_lineno)
        frame = frame.tb_next
    return place
