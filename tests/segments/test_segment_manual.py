"""docs/segments.md says what the program does: its examples parse, and nothing is left out."""

from __future__ import annotations

import re
from pathlib import Path

from drumbeat.document import parse_document
from drumbeat.segments.grammar import HISTORY_KEYS, KEYS, parse_segments
from drumbeat.segments.operators import OPERATORS


def test_every_example_of_the_manual_is_a_valid_segment(project_root: Path) -> None:
    manual = (project_root / "docs" / "segments.md").read_text(encoding="utf-8")
    examples = re.findall(r"```yaml\n(.*?)```", manual, re.DOTALL)
    assert len(examples) >= 6
    for example in examples:
        assert parse_segments(parse_document(example, Path("segments.yaml")))[1] == []


def test_every_operator_and_key_has_its_entry_in_the_manual(project_root: Path) -> None:
    manual = (project_root / "docs" / "segments.md").read_text(encoding="utf-8")
    words = {
        *KEYS,
        *(key for keys in HISTORY_KEYS.values() for key in keys),
        *(o for ops in OPERATORS.values() for o in ops),
    }
    missing = [word for word in sorted(words) if not re.search(rf"`{word}\b", manual)]
    assert missing == []


def test_every_code_is_in_the_manual(project_root: Path) -> None:
    source = "".join(
        path.read_text(encoding="utf-8") for path in (project_root / "src/drumbeat/segments").glob("*.py")
    )
    manual = (project_root / "docs" / "segments.md").read_text(encoding="utf-8")
    assert {code for code in re.findall(r"DB\d{3}", source) if f"| {code} |" not in manual} == set()
