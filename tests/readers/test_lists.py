"""What must hold for suppression lists: ours and those of other tools, in and out again."""

from __future__ import annotations

import csv
import gzip
import io
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import insert

from drumbeat.errors import InputError
from drumbeat.responses.lists.addresses import address_key
from drumbeat.responses.lists.load import export_list, load_list
from drumbeat.responses.lists.read import Defaults, read_time
from drumbeat.responses.lists.shapes import REASONS, SHAPES
from drumbeat.responses.suppress import STRENGTH, suppress
from drumbeat.store.engine import reading, writing
from drumbeat.store.tables import suppressions

NOW = datetime(2011, 12, 5, 9, 0, tzinfo=UTC)


@pytest.fixture
def load(scene, tmp_path: Path):
    """Import a list from its text or bytes."""

    def imported(
        text: str | bytes, *, name: str = "list.csv", reason: str | None = None, topic: str = "", noted=None
    ):
        file = tmp_path / name
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        defaults = Defaults(reason, topic, f"import:{name}", NOW)
        rejects = tmp_path / f"{name}.rejected.csv"
        note = noted or (lambda _connection, _loaded: None)
        return load_list(scene.engine, file, defaults, rejects=rejects, ours=True, note=note)

    return imported


def rows(scene):
    return {(r.email_key, r.topic): (r.reason, r.at, r.source) for r in scene.rows("suppressions")}


def exported(scene) -> str:
    file = io.StringIO()
    with reading(scene.engine) as connection:
        export_list(connection, file)
    return file.getvalue()


def test_what_is_exported_is_imported_again_unchanged(scene, load):
    with writing(scene.engine) as connection:
        for n, (key, topic, reason, source) in enumerate(
            (
                ("a@example.com", "", "unsubscribed", "link"),
                ("a@example.com", "news", "manual", None),
                ("@example.org", "", "manual", 'by "us", of course\nsecond line'),
                ("tel:+442079460000", "", "unsubscribed", "preferences"),
                ("tg:-100123", "", "unsubscribed", ""),
                ("#hash=x@example.com", "", "bounced", "=1+1"),
                ("c@example.com", "a topic that is gone", "complained", "x"),
                ("d@xn--bcher-kva.example", "", "erased", None),
            )
        ):
            at = NOW - timedelta(days=n, microseconds=n)
            connection.execute(
                insert(suppressions).values(email_key=key, topic=topic, reason=reason, at=at, source=source)
            )
    before, text = rows(scene), exported(scene)
    again = load(text, topic="news", reason="bounced")
    assert (again.shape, again.read, again.unchanged, again.new, again.stronger) == ("drumbeat", 8, 8, 0, 0)
    assert rows(scene) == before
    with writing(scene.engine) as connection:
        connection.execute(suppressions.delete())
    fresh = load(text, topic="news", reason="bounced")
    assert (fresh.new, fresh.rejected) == (8, 0)
    assert {key: (r, at, source or None) for key, (r, at, source) in before.items()} == rows(scene)
    assert exported(scene).splitlines()[0] == "address,topic,reason,at,source"


def test_a_stronger_reason_replaces_a_weaker_one_and_never_the_other_way(scene, load):
    with writing(scene.engine) as connection:
        suppress(connection, "a@example.com", reason="unsubscribed", at=NOW, source="x")
        suppress(connection, "b@example.com", reason="bounced", at=NOW, source="x")
    loaded = load("email,reason\na@example.com,complaint\nb@example.com,unsubscribe\nc@example.com,bounce\n")
    assert (loaded.new, loaded.stronger, loaded.unchanged) == (1, 1, 1)
    assert {key: reason for (key, _), (reason, _, _) in rows(scene).items()} == {
        "a@example.com": "complained",
        "b@example.com": "bounced",
        "c@example.com": "bounced",
    }


def test_of_rows_that_repeat_an_address_the_strongest_stays(scene, load):
    loaded = load("email,reason\nA@Example.com,manual\na@example.com,bounce\na@EXAMPLE.com,unsubscribe\n")
    assert (loaded.read, loaded.new, loaded.repeated) == (3, 1, 2)
    assert [reason for reason, _, _ in rows(scene).values()] == ["bounced"]


TOOLS = {
    "addresses": (
        "a@example.com\n\n# a remark\n B@Example.com \n",
        {"a@example.com": "manual", "b@example.com": "manual"},
    ),
    "addresses ": (
        "a@example.com,BOUNCE\nb@example.com,COMPLAINT\n",
        {"a@example.com": "bounced", "b@example.com": "complained"},
    ),
    "mailchimp unsubscribed": (
        (
            '"Email Address","First Name","MEMBER_RATING","UNSUB_TIME","UNSUB_REASON"\n'
            'a@example.com,Ann,2,"2011-11-01 10:00:00","NORMAL (no longer interested)"\n'
        ),
        {"a@example.com": "unsubscribed"},
    ),
    "mailchimp cleaned": (
        '"Email Address","CLEAN_TIME","CLEAN_CAMPAIGN_TITLE"\na@example.com,"2011-11-01 10:00:00","News; of May"\n',
        {"a@example.com": "bounced"},
    ),
    "sendgrid bounces": (
        'status,reason,email,created\n5.1.1,"550 5.1.1 no ""such"" user,\nsorry",a@example.com,1320141600\n',
        {"a@example.com": "bounced"},
    ),
    "sendgrid spam reports": (
        "email,ip,created\na@example.com,192.0.2.1,1320141600\n",
        {"a@example.com": "complained"},
    ),
    "sendgrid invalid emails": (
        "email,reason,created\na@example.com,Mail domain mentioned in email address is unknown,1320141600\n",
        {"a@example.com": "bounced"},
    ),
    "sendgrid unsubscribes": (
        "email,created\na@example.com,2011-11-01T10:00:00Z\n",
        {"a@example.com": "unsubscribed"},
    ),
    "postmark": (
        (
            "EmailAddress,SuppressionReason,Origin,CreatedAt\n"
            "a@example.com,HardBounce,Recipient,2011-11-01T06:00:00-04:00\n"
            "b@example.com,SpamComplaint,Recipient,2011-11-01T06:00:00-04:00\n"
            "c@example.com,ManualSuppression,Customer,2011-11-01T06:00:00-04:00\n"
        ),
        {"a@example.com": "bounced", "b@example.com": "complained", "c@example.com": "manual"},
    ),
    "amazon ses": (
        "EmailAddress\tReason\tLastUpdateTime\na@example.com\tBOUNCE\t2011-11-01T10:00:00.5+00:00\n",
        {"a@example.com": "bounced"},
    ),
    "mailgun bounces": (
        'address,code,error,created_at\na@example.com,550,no such user,"Tue, 01 Nov 2011 10:00:00 UTC"\n',
        {"a@example.com": "bounced"},
    ),
    "mailgun unsubscribes": (
        'address,tags,created_at\na@example.com,*,"Tue, 01 Nov 2011 10:00:00 UTC"\n',
        {"a@example.com": "unsubscribed"},
    ),
    "mailgun complaints": (
        'address,created_at\na@example.com,"Tue, 01 Nov 2011 10:00:00 GMT"\n',
        {"a@example.com": "complained"},
    ),
    "a list": ("Name;E-Mail;Type\nAnn;a@example.com;opt-out\n", {"a@example.com": "unsubscribed"}),
}


@pytest.mark.parametrize("shape", TOOLS)
def test_a_list_of_another_tool_is_known_by_its_first_line(scene, load, shape):
    text, expected = TOOLS[shape]
    for _ in range(2):
        loaded = load(text)
    assert (loaded.shape, loaded.rejected, loaded.unchanged) == (shape.strip(), 0, len(expected))
    assert {key: reason for (key, _), (reason, _, _) in rows(scene).items()} == expected
    for reason, at, source in rows(scene).values():
        assert reason in STRENGTH
        assert source in ("import:list.csv", "Recipient", "Customer")
        assert at in (
            NOW,
            datetime(2011, 11, 1, 10, tzinfo=UTC),
            datetime(2011, 11, 1, 10, 0, 0, 500000, tzinfo=UTC),
        )


def test_every_shape_of_the_table_has_a_case():
    assert {shape.name for shape in SHAPES} - {"drumbeat"} <= set(TOOLS)
    assert set(REASONS.values()) == set(STRENGTH)


def test_rows_that_cannot_be_used_go_to_a_file_with_line_and_reason(scene, load, tmp_path):
    loaded = load(
        "\ufeffaddress,topic,reason,at,source\n"
        "good@example.com,,manual,2011-11-01,x\n"
        "nobody,,manual,2011-11-01,x\n"
        "@nodots,,manual,2011-11-01,x\n"
        "a@example.com,,softbounce,2011-11-01,x\n"
        "a@example.com,,unsubscribd,2011-11-01,x\n"
        "a@example.com,,manual,yesterday,x\n"
        "a@example.com,,manual,2012-11-01,x\n"
        "a@example.com,,manual,2011-11-01\n"
        "@example.com,,unsubscribed,2011-11-01,x\n"
        "tel:12,,manual,2011-11-01,x\n"
        ",,manual,2011-11-01,x\n"
        '"open,,manual\n'
    )
    assert (loaded.read, loaded.new, loaded.rejected) == (12, 1, 11)
    with (tmp_path / "list.csv.rejected.csv").open(encoding="utf-8", newline="") as file:
        header, *rejected = csv.reader(file)
    assert header == ["line", "reason", "address", "topic", "reason", "at", "source"]
    found = [(int(row[0]), row[1]) for row in rejected]
    assert found == [
        (3, "'nobody' is no address; expected name@example.com, or @example.com for a whole domain"),
        (4, "'@nodots' is no domain; expected for example @example.com"),
        (5, "'softbounce' says that a mail failed once, not that the address is dead"),
        (6, "unknown reason 'unsubscribd'. Did you mean 'unsubscribed'?"),
        (7, "'yesterday' is not a time; expected for example 2011-12-05T09:00:00Z"),
        (8, "the time '2012-11-01' lies in the future"),
        (9, "has 4 fields; expected 5"),
        (10, "a reader unsubscribes an address, not a whole domain; for a domain say manual"),
        (11, "'tel:12' is neither a phone such as tel:+442079460000 nor a chat such as tg:12345"),
        (12, "'' is no address; expected name@example.com, or @example.com for a whole domain"),
        (13, "has 1 fields; expected 5"),
    ]
    assert load("email\ngood@example.com\n").rejected == 0
    assert not (tmp_path / "list.csv.rejected.csv").exists(), "its rows are good now"


def test_a_zipped_list_is_opened_and_defaults_fill_in_what_it_does_not_say(scene, load):
    loaded = load(
        gzip.compress(b"a@example.com\r\n@Example.ORG\r\n"),
        name="list.txt.gz",
        reason="complained",
        topic="news",
    )
    assert (loaded.new, loaded.topics) == (2, ("news",))
    assert rows(scene) == {
        (key, "news"): ("complained", NOW, "import:list.txt.gz") for key in ("a@example.com", "@example.org")
    }


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "is empty"),
        (b"\n\n \n", "is empty"),
        (b"name,city\nAnn,London\n", "its first line names no column with addresses and is none itself"),
        (b"Ann\nBob\n", "its first line names no column with addresses"),
        (b"a@example.com,x,y\n", "its first line names no column with addresses"),
        (b"email\n\xff\xfe@example.com\n", "is not UTF-8 text"),
        (b"\x1f\x8b broken", "is not UTF-8 text"),
        (b"\x00" * 100, "its first line names no column"),
        (b"x" * 1_000_000, "its first line names no column"),
    ],
)
def test_a_file_that_is_no_list_is_told_in_one_line_and_changes_nothing(scene, load, content, fault):
    with pytest.raises(InputError, match=fault) as caught:
        load(content)
    assert "\n" not in str(caught.value)
    assert scene.count("suppressions") == 0


def test_a_broken_zip_and_a_missing_file_are_told_in_one_line(scene, load, tmp_path):
    with pytest.raises(InputError, match="not a whole gzip file"):
        load(gzip.compress(b"a@example.com\n" * 10_000)[:-30], name="list.gz")
    with pytest.raises(InputError, match="cannot be read"):
        load_list(
            scene.engine,
            tmp_path / "none.csv",
            Defaults(None, "", "x", NOW),
            rejects=tmp_path / "r.csv",
            ours=True,
            note=lambda _c, _l: None,
        )
    assert scene.count("suppressions") == 0


def test_an_import_that_fails_at_its_end_leaves_nothing(scene, load):
    def fail(_connection, _loaded):
        raise RuntimeError("the audit log cannot be written")

    with pytest.raises(RuntimeError):
        load("a@example.com\n", noted=fail)
    assert scene.count("suppressions") == 0
    assert load("a@example.com\n").new == 1


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("2011-11-01", datetime(2011, 11, 1, tzinfo=UTC)),
        ("2011-11-01 10:00:00 UTC", datetime(2011, 11, 1, 10, tzinfo=UTC)),
        ("2011-11-01T10:00:00+02:00", datetime(2011, 11, 1, 8, tzinfo=UTC)),
        ("1320141600", datetime(2011, 11, 1, 10, tzinfo=UTC)),
        ("1320141600500", datetime(2011, 11, 1, 10, 0, 0, 500000, tzinfo=UTC)),
        ("Tue, 1 Nov 2011 12:00:00 +0200", datetime(2011, 11, 1, 10, tzinfo=UTC)),
        ("2011-12-05 20:00", NOW),
    ],
)
def test_times_are_read_as_tools_write_them(text, at):
    assert read_time(text, NOW) == at


@pytest.mark.parametrize(
    "text", ["", "x", "9" * 40, "Tue", "2011-13-01", "²", "0001-01-01T00:00:00+23:59", "-5", "Mon, 99 Foo"]
)
def test_no_other_text_is_taken_for_a_time(text):
    with pytest.raises(ValueError, match="time"):
        read_time(text, NOW)


@pytest.mark.parametrize(
    "text",
    ["a@example.com", "@example.com", "tel:+15550100", "tg:-100", "a@bücher.example", "@bücher.example"],
)
def test_a_key_is_its_own_key(text):
    assert address_key(address_key(f" {text.upper() if '@' in text else text} ")) == address_key(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "@",
        "@@",
        "a@",
        "x" * 400,
        "tel:+0123456",
        "tg:me",
        "a b@example.com",
        "a@b@c",
        "\0@example.com",
        "\ud800@example.com",
        "@-x.example",
        "tel:",
    ],
)
def test_what_is_no_address_is_no_key(text):
    with pytest.raises(ValueError):  # noqa: PT011 - what it says differs from text to text
        address_key(text)


@pytest.mark.slow
def test_a_long_list_needs_no_more_memory_than_a_short_one(scene, load, tmp_path):
    """Peak of the Python heap, which would hold the rows: 20 times the rows, the same memory."""
    import tracemalloc

    peaks = []
    for count in (5_000, 100_000):
        text = "\n".join(f"n{i}@example.com" for i in range(count))
        load("warm@example.com\n")
        file = tmp_path / "list.csv"
        file.write_text(text)
        del text
        tracemalloc.start()
        load_list(
            scene.engine,
            file,
            Defaults(None, "", "x", NOW),
            rejects=tmp_path / "r.csv",
            ours=True,
            note=lambda _c, _l: None,
        )
        with (tmp_path / "out.csv").open("w", newline="") as out, reading(scene.engine) as connection:
            assert export_list(connection, out) == count + 1
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 3_000_000, peaks
