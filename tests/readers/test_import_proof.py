"""What must hold for consents that are imported: each change has its proof."""

from __future__ import annotations

from pathlib import Path

import pytest

from drumbeat.ingest.load import import_file
from drumbeat.ingest.mapping import Mapping

MAPPING = Mapping.model_validate(
    {
        "into": "consents",
        "time_zone": "UTC",
        "columns": {
            "customer": "customer",
            "topic": "topic",
            "granted": "yes",
            "at": "at",
            "source": "where",
        },
    }
)


@pytest.fixture
def load(scene, tmp_path: Path):
    """Import lines of `customer,topic,yes,at,where`."""

    def imported(*lines: str, hours: float = 0, name: str = "consents.csv"):
        file = tmp_path / name
        file.write_text("\n".join(["customer,topic,yes,at,where", *lines]), encoding="utf-8")
        return import_file(scene.engine, file, MAPPING, loaded_at=scene.at(hours))

    return imported


def events(scene):
    return [
        (row.customer_id, row.topic, row.granted, row.source, row.proof["source"])
        for row in scene.rows("consent_events")
    ]


def test_each_imported_consent_has_its_proof_and_importing_it_again_adds_none(scene, load):
    one, two = scene.customer(external_id="a"), scene.customer(external_id="b")
    lines = ("a,offers,yes,2011-11-01,checkout", 'b,news,no,2011-11-02,"by ""phone"" \\"')
    for hours in (0, 0, 1):
        load(*lines, hours=hours)
    assert events(scene) == [
        (one, "offers", True, "import:consents.csv", "checkout"),
        (two, "news", False, "import:consents.csv", 'by "phone" \\'),
    ]
    event = scene.rows("consent_events")[0]
    assert (event.at.isoformat(), event.loaded_at) == ("2011-11-01T00:00:00+00:00", scene.at(0))
    assert event.proof["file"] == "consents.csv"


def test_a_change_that_comes_with_a_later_file_is_a_further_proof(scene, load):
    one = scene.customer(external_id="a")
    load("a,offers,yes,2011-11-01,checkout", hours=0)
    # Two files at one and the same instant are told apart, too.
    load("a,offers,no,2011-11-05,", hours=0, name="later.csv")
    load("a,offers,yes,2011-11-03,too old to count", hours=1)
    assert events(scene) == [
        (one, "offers", True, "import:consents.csv", "checkout"),
        (one, "offers", False, "import:later.csv", None),
    ]


def test_only_what_the_import_changed_is_written(scene, load):
    one, two = scene.customer(external_id="a"), scene.customer(external_id="b")
    scene.consent(one, "offers", hours=-1)
    load("a,offers,no,2011-11-01,", "b,offers,yes,2011-11-01,")
    assert events(scene) == [(two, "offers", True, "import:consents.csv", None)]
