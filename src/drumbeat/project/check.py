"""Check a project as a whole, its templates included: all faults at once, and no database."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING

import drumbeat
from drumbeat.document import read_document
from drumbeat.errors import ProjectError
from drumbeat.issues import Issue, nearest
from drumbeat.project.load import CONFIG_FILE, LoadedCampaign, Project, load_project

if TYPE_CHECKING:
    from drumbeat.rendering.note_rules import NoteRules

SOUND_FILE = Path(".drumbeat/sound.json")
"""Which mails were found sound, by a digest of all that the verdict rests on."""


def check_project(root: Path) -> tuple[Project | None, list[Issue]]:
    """Load the project in `root` and return it with every fault found; None where it cannot be loaded.

    Raises UsageError where there is no project at all.
    """
    project: Project | None = None
    issues: set[Issue] = set()
    try:
        project = load_project(root)
    except ProjectError as error:
        issues |= set(error.issues)
    issues |= set(_check_templates(root, project))
    if project is not None:
        issues |= set(_check_imports(project))
    return project, sorted(issues)


def faults_of_mails(project: Project) -> list[Issue]:
    """Return the faults of the mails that enabled campaigns send: with one of them nothing may be planned.

    A mail that is still being written, and that no enabled campaign sends, stops nobody.
    """
    campaigns = {campaign.path for campaign in project.planned_campaigns}
    mails = {campaign.settings.message.template for campaign in project.planned_campaigns}

    def concerns(path: Path) -> bool:
        top, _, rest = path.as_posix().partition("/")
        name = rest.partition("/")[0]
        return path in campaigns or (top == "templates" and (name in mails or name.startswith("_")))

    return sorted({issue for issue in _check_templates(project.root, project) if concerns(issue.place.path)})


def _check_imports(project: Project) -> list[Issue]:
    """Check the mappings of project.yaml's imports. Their data files may come later, and are not asked for."""
    from drumbeat.ingest.mapping import parse_mapping

    issues: list[Issue] = []
    for number, source in enumerate(project.config.imports):
        path = Path(source.mapping)
        if not (project.root / path).is_file():
            document = read_document(project.root / CONFIG_FILE, shown_as=Path(CONFIG_FILE))
            known = [
                p.relative_to(project.root).as_posix() for p in project.root.glob(f"{path.parent}/*.y*ml")
            ]
            place = document.value_place(("imports", number, "mapping"))
            issues.append(Issue(place, "DB019", f"there is no mapping '{path}'.", nearest(str(path), known)))
            continue
        try:
            mapping = read_document(project.root / path, shown_as=path)
            parse_mapping(mapping, project.config.time_zone, project.config.country)
        except ProjectError as error:
            issues += error.issues
    return issues


def _check_templates(root: Path, project: Project | None) -> list[Issue]:
    """Check every mail in templates/, also those that no campaign uses yet.

    What marketing mail must have is asked of mails that a marketing campaign sends: a project that does
    not load tells nothing of that. A message is checked as one of each channel that a campaign sends it by; where
    none does, its files tell. Compiling and rendering a mail takes 0.1 s, so a mail that was sound
    and has not changed since is not rendered again.
    """
    folder = root / "templates"
    names = sorted(p.name for p in folder.glob("*") if p.is_dir() and not p.name.startswith(("_", ".")))
    campaigns = list(project.campaigns.values()) if project else []
    language = _language(root)
    rules = _rules(project)
    common = _digest(
        [*_engine_files(), *folder.glob("_*/**/*")], f"{drumbeat.__version__} {language} {rules}"
    )
    sound = _read_sound(root)
    now_sound: dict[str, str] = {}
    issues: list[Issue] = []
    for name in names:
        users = [c for c in campaigns if c.settings.message.template == name]
        given = sorted(
            f"{c.name} {c.settings.kind} {c.settings.message.channel} {c.trigger.kind} {c.trigger.gives}"
            for c in users
        )
        digest = _digest((folder / name).rglob("*"), f"{common} {given}")
        found = []
        if sound.get(name) != digest:
            channels: set[str] = {c.settings.message.channel for c in users} or {_channel(folder / name)}
            for channel in sorted(channels):
                its = [c for c in users if c.settings.message.channel == channel]
                marketing = any(c.settings.is_marketing for c in its)
                # A fault in the message itself is told first: with it the names in it say little.
                found += _check(folder, language, name, channel, marketing, rules) or _check_given(
                    root, folder, language, name, its
                )
        issues += found
        if not found:
            now_sound[name] = digest
    if now_sound != sound:
        # A folder that cannot be written to costs time, not correctness.
        with contextlib.suppress(OSError):
            (root / SOUND_FILE).parent.mkdir(exist_ok=True)
            (root / SOUND_FILE).write_text(json.dumps(now_sound, indent=2) + "\n", encoding="utf-8")
    return issues


def _check(
    folder: Path, language: str, name: str, channel: str, marketing: bool, rules: NoteRules
) -> list[Issue]:
    from drumbeat.rendering.check import check_template
    from drumbeat.rendering.check_notes import check_note
    from drumbeat.rendering.notes import NoteTemplates
    from drumbeat.rendering.templates import Templates

    if channel != "mail":
        return check_note(NoteTemplates(folder, channel, language), name, marketing=marketing, rules=rules)
    return check_template(Templates(folder, language), name, marketing=marketing)


def _channel(folder: Path) -> str:
    """Return the channel whose files are in a template's folder."""
    from drumbeat.rendering.notes import guess_channel

    return guess_channel(folder)


def _rules(project: Project | None) -> NoteRules:
    from drumbeat.rendering.note_rules import NoteRules

    return NoteRules() if project is None else NoteRules.of(project.config.delivery)


def _check_given(
    root: Path, folder: Path, language: str, name: str, users: Iterable[LoadedCampaign]
) -> list[Issue]:
    """Check that the triggers of the campaigns which send the mail give what it needs."""
    from drumbeat.rendering.check import names_needed
    from drumbeat.rendering.notes import NoteTemplates
    from drumbeat.rendering.templates import Templates

    issues = []
    for campaign in users:
        gives, channel = campaign.trigger.gives, campaign.settings.message.channel
        templates = (
            Templates(folder, language) if channel == "mail" else NoteTemplates(folder, channel, language)
        )
        if gives is None or not (lacking := sorted(names_needed(templates, name).difference(gives))):
            continue
        document = read_document(root / campaign.path, shown_as=campaign.path)
        what = ", ".join(f"'{one}'" for one in lacking)
        issues.append(
            Issue(
                document.value_place(("message", "template")),
                "DB018",
                f"the mail '{name}' needs {what}, which the trigger {campaign.trigger.kind} does not give.",
                "Choose another template, or another trigger.",
            )
        )
    return issues


def _engine_files() -> Iterable[Path]:
    """The code that judges: a changed rule judges all mails anew."""
    return (Path(drumbeat.__file__).parent / "rendering").glob("*.py")


def _digest(files: Iterable[Path], seed: str) -> str:
    digest = blake2b(seed.encode(), digest_size=16)
    for file in sorted(files):
        if file.is_file():
            digest.update(f"\0{file}\0".encode())
            digest.update(file.read_bytes())
    return digest.hexdigest()


def _read_sound(root: Path) -> dict[str, str]:
    try:
        value = json.loads((root / SOUND_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _language(root: Path) -> str:
    try:
        value = read_document(root / CONFIG_FILE).value
    except ProjectError:
        return "en"
    language = value.get("language") if isinstance(value, dict) else None
    return language if isinstance(language, str) else "en"
