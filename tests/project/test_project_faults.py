"""project.yaml, and triggers/ of a company's own making."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from drumbeat.errors import UsageError
from drumbeat.project.load import find_root, load_project

Faults = Callable[[], list[str]]


@pytest.mark.parametrize(
    ("added", "fault"),
    [
        (
            "time_zone: Europe/Londn",
            ":6:12 DB020 time_zone: unknown time zone 'Europe/Londn'; expected an IANA name such as Europe/London.",
        ),
        (
            "time_zone: ../../etc/passwd",
            ":6:12 DB020 time_zone: unknown time zone '../../etc/passwd'; expected an IANA name such as Europe/London.",
        ),
        (
            "time_zone: Europe",
            ":6:12 DB020 time_zone: unknown time zone 'Europe'; expected an IANA name such as Europe/London.",
        ),
        ("time_zone: 5", ":6:12 DB020 time_zone: found 5; expected an IANA name such as Europe/London."),
        ("cap: {messages: 0}", ":6:17 DB020 cap.messages: found 0; expected at least 1."),
        ("cap: {per: 0s}", ":6:12 DB020 cap.per: must be longer than 0s, or there is no cap at all."),
        (
            "delivery: {backend: smpt}",
            (
                ":6:21 DB020 delivery.backend: found 'smpt'; expected 'smtp', 'file', 'console', 'ses',"
                " 'sendgrid', 'mailgun', 'postmark', 'brevo', 'mailjet', 'sparkpost', 'resend' or"
                " 'unisender_go'. Did you mean 'smtp'?"
            ),
        ),
        ("delivery: {smtp: {prt: 25}}", ":6:19 DB021 unknown key 'prt'. Did you mean 'port'?"),
        ("currncy: GBP", ":6:1 DB021 unknown key 'currncy'. Did you mean 'currency'?"),
    ],
)
def test_a_fault_in_project_yaml_is_said_in_these_words(
    project: Path, faults: Faults, added: str, fault: str
) -> None:
    """One fault, one line."""
    with (project / "project.yaml").open("a", encoding="utf-8") as config:
        config.write(added + "\n")
    assert faults() == [f"project.yaml{fault}"]


def test_names_of_senders_and_topics_are_checked(project: Path, faults: Faults) -> None:
    """A key that is no name is pointed at itself, not at its value."""
    text = (project / "project.yaml").read_text(encoding="utf-8").replace("  shop: {", "  My Shop: {")
    (project / "project.yaml").write_text(text, encoding="utf-8")
    assert faults() == [
        (
            "project.yaml:3:3 DB020 senders.My Shop: found 'My Shop';"
            " expected a name of small letters, digits and underscores."
        )
    ]


@pytest.mark.parametrize(
    ("files", "fault"),
    [
        (
            {"__init__.py": "x = 1\nraise RuntimeError('broken')\n"},
            "__init__.py:2:1 DB016 cannot be imported: RuntimeError: broken.",
        ),
        (
            {"__init__.py": "raise RuntimeError('two\\nlines')\n"},
            "__init__.py:1:1 DB016 cannot be imported: RuntimeError: two lines.",
        ),
        (
            {"__init__.py": "import sys\nsys.exit(3)\n"},
            "__init__.py:2:1 DB016 cannot be imported: SystemExit: 3.",
        ),
        (
            {"__init__.py": "from .own import x\n", "own.py": "\nimport not_there_at_all\n"},
            "own.py:2:1 DB016 cannot be imported: ModuleNotFoundError: No module named 'not_there_at_all'.",
        ),
        (
            {"__init__.py": "x = 1\n"},
            "__init__.py:1:1 DB016 has no KINDS. Expected a dict from a kind's name to its Trigger class.",
        ),
        (
            {"__init__.py": "KINDS = {'a': int}\n"},
            "__init__.py:1:1 DB016 has no KINDS. Expected a dict from a kind's name to its Trigger class.",
        ),
    ],
)
def test_triggers_that_cannot_be_imported_are_pointed_at(
    project: Path, faults: Faults, files: dict[str, str], fault: str
) -> None:
    """The innermost line of the project's own files, not of the library that raised."""
    for name, text in files.items():
        (project / "triggers" / name).write_text(text, encoding="utf-8")
    assert faults() == [f"triggers/{fault}"]


@pytest.mark.parametrize("name", ["__init__.py", "own.py"])
def test_a_syntax_error_is_pointed_at(project: Path, faults: Faults, name: str) -> None:
    """Python's words differ between versions; the place and the code do not."""
    (project / "triggers/__init__.py").write_text("from . import own\n", encoding="utf-8")
    (project / "triggers" / name).write_text("x = 1\ndef f(:\n", encoding="utf-8")
    (fault,) = faults()
    assert fault.startswith(f"triggers/{name}:2:7 DB016 cannot be imported: SyntaxError: ")


def test_a_project_without_triggers_says_so(project: Path, faults: Faults) -> None:
    """A folder copied without them."""
    (project / "triggers/__init__.py").unlink()
    assert faults() == [
        "triggers/__init__.py:1:1 DB016 is missing. It lists the trigger kinds: KINDS = {...}."
    ]


def test_changed_triggers_are_read_anew(project: Path, faults: Faults) -> None:
    """A long-lived server must not keep yesterday's kinds."""
    assert faults() == []
    text = (project / "triggers/__init__.py").read_text(encoding="utf-8")
    (project / "triggers/__init__.py").write_text(text.replace("idle_for:", "resting_for:"), encoding="utf-8")
    assert faults() == [
        "campaigns/reminder.yaml:9:20 DB021 unknown key 'idle_for'. Known: min_total, resting_for."
    ]


def test_no_project_is_said_with_what_to_do(tmp_path: Path) -> None:
    """Both ways to ask for one."""
    with pytest.raises(
        UsageError, match=r"no project.yaml in .*; pass --project DIR, or make .* `drumbeat init`"
    ):
        load_project(tmp_path)
    with pytest.raises(UsageError, match=r"no project.yaml in .* or above; go into a project"):
        find_root(tmp_path)


def test_campaigns_are_planned_by_priority_then_name(project_root: Path) -> None:
    """The reference project loads, and in the order its priorities say."""
    loaded = load_project(project_root)
    assert [c.name for c in loaded.planned_campaigns] == [
        "confirm_subscription",
        "vip_cart_call",
        "abandoned_cart",
        "expiring_promo",
        "birthday",
        "anniversary",
        "promo_last_day",
        "newsletter",
    ]
    assert loaded.config.cap.messages == 4


def test_loading_a_project_imports_neither_sqlalchemy_nor_prefect(project_root: Path) -> None:
    """`drumbeat validate` answers within 0.4 s; SQLAlchemy alone costs 0.3 s."""
    code = (
        "import sys; from pathlib import Path; from drumbeat.project.load import load_project;"
        f"load_project(Path({str(project_root)!r}));"
        "print([m for m in ('sqlalchemy', 'prefect') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")
