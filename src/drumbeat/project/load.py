"""Load a project folder and check it as a whole: all faults at once, each with its place.

project.yaml · segments.yaml · campaigns/*.yaml · triggers/ · templates/
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from drumbeat.document import Document, read_document
from drumbeat.errors import ProjectError, UsageError
from drumbeat.issues import Issue, Place, nearest
from drumbeat.project.channels import channels_of, check_delivery, check_topic
from drumbeat.project.faults import issues_of
from drumbeat.project.kinds import import_kinds
from drumbeat.project.models import Campaign, ProjectConfig
from drumbeat.project.names import Known, check_names, check_trigger
from drumbeat.segments.grammar import Segment, parse_segments, topics_used
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
        """Say whether the cap may keep its messages away; by default marketing that the reader gets."""
        chosen = self.settings.obeys_cap
        return self._reaches_as_marketing if chosen is None else chosen

    @property
    def counts_toward_cap(self) -> bool:
        """Say whether its messages use up the cap of others; by default marketing that the reader gets."""
        chosen = self.settings.counts_toward_cap
        return self._reaches_as_marketing if chosen is None else chosen

    @property
    def _reaches_as_marketing(self) -> bool:
        return self.settings.is_marketing and self.settings.message.reaches_reader


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
    known = Known(root, config, segments, import_kinds(root, found))
    campaigns: dict[str, LoadedCampaign] = {}
    files = sorted(p for p in (root / "campaigns").glob("*") if p.suffix in (".yaml", ".yml"))
    for file in files:
        if (document := _read(root, file.relative_to(root), found)) is None:
            continue
        settings = _validated(Campaign, document, found)
        check_names(document, known, found)
        trigger = check_trigger(document, known, found)
        if settings is None or trigger is None or config is None:
            continue
        if (twin := campaigns.get(settings.campaign)) is not None:
            fix = "Remove one of them."
            found.append(
                Issue(Place(document.path), "DB017", f"the same campaign stands in {twin.path}.", fix)
            )
        check_topic(document, settings, config, found)
        sender = settings.sender or config.default_sender
        campaigns[settings.campaign] = LoadedCampaign(document.path, settings, trigger, sender)
    if config is not None and config_document is not None:
        check_delivery(config_document, config, channels_of(campaigns), found)
    if found or config is None:
        raise ProjectError(sorted(set(found)))
    in_order = sorted(campaigns.values(), key=lambda c: (-c.settings.priority, c.name))
    return Project(root, config, segments or {}, {c.name: c for c in in_order})


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
