"""An erased address that comes back: by an import it gets no mail; by its owner's own confirmed wish it does."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from privacy.crowd import EMAIL, EMMA, KEY, PHONE, SECRET, Crowd
from sqlalchemy import select, update

from drumbeat.document import parse_document
from drumbeat.errors import UsageError
from drumbeat.ingest.load import import_file
from drumbeat.ingest.mapping import parse_mapping
from drumbeat.ledger.reach import unreachable
from drumbeat.privacy.keys import erased_of, secrets_of
from drumbeat.project.load import Project
from drumbeat.responses.opt_ins import Asked, ask, confirm, find
from drumbeat.store.engine import reading, writing
from drumbeat.store.erased import Erased
from drumbeat.store.tables import customers, erased_addresses, suppressions

CUSTOMERS = "into: customers\ncolumns: {external_id: id, email: mail, first_name: name}\n"
CONSENTS = "into: consents\ncolumns: {customer: id, topic: topic, granted: yes_or_no, at: at}\n"


@pytest.fixture
def imports(crowd: Crowd, project: Project, tmp_path: Path) -> Callable[..., Any]:
    """Imports rows of customers, or of another mapping, an hour later each time."""
    hours = iter(range(1, 1000))

    def run(*rows: str, mapping: str = CUSTOMERS, head: str = "id,mail,name", **more: Any) -> Any:
        file = tmp_path / "in.csv"
        file.write_text("\n".join([head, *rows]) + "\n", encoding="utf-8")
        at = crowd.now + timedelta(hours=next(hours))
        read = parse_mapping(parse_document(mapping, Path("m.yaml")))
        return import_file(crowd.engine, file, read, loaded_at=at, **{"erased": erased_of(project), **more})

    return run


def reached(crowd: Crowd, external_id: str, *, marketing: bool = True, days: float = 0) -> Any:
    """Why a customer may not be written to; None where they may."""
    at = crowd.now + timedelta(days=days)
    with reading(crowd.engine) as connection:
        verdict = unreachable(marketing=marketing, topic="offers", at=at)
        return connection.execute(select(verdict).where(customers.c.external_id == external_id)).scalar_one()


def erased_suppressions(crowd: Crowd) -> list[tuple[str, str]]:
    return [(row.email_key, row.topic) for row in crowd.rows("suppressions") if row.reason == "erased"]


def test_an_import_brings_the_customer_back_without_any_mail(
    crowd: Crowd, imports: Callable[..., Any]
) -> None:
    crowd.erase()
    imports(f"{EMMA},{EMAIL},Emma", "n1,new@example.com,Nina")
    imports(
        f"{EMMA},offers,true,2011-12-06",
        "n1,offers,true,2011-12-06",
        mapping=CONSENTS,
        head="id,topic,yes_or_no,at",
    )
    assert erased_suppressions(crowd) == [(KEY, "")]
    assert [reached(crowd, EMMA, marketing=kind) for kind in (True, False)] == ["suppressed"] * 2
    assert reached(crowd, "n1") is None
    new = next(row for row in crowd.rows("customers") if row.external_id == EMMA)
    assert new.person_id == new.id, "the figures of what is left are another person's"


def test_a_known_customer_whose_address_becomes_an_erased_one_is_looked_at_too(
    crowd: Crowd, imports: Callable[..., Any]
) -> None:
    crowd.erase()
    imports(f"b1,{EMAIL.upper()},Ben")
    assert erased_suppressions(crowd) == [(KEY, "")]
    imports("b1,ben@example.com,Ben")
    assert reached(crowd, "b1") is None


def test_the_same_import_again_changes_nothing(crowd: Crowd, imports: Callable[..., Any]) -> None:
    crowd.erase()
    imports(f"{EMMA},{EMAIL},Emma")
    before = crowd.rows("suppressions")
    assert imports(f"{EMMA},{EMAIL},Emma").unchanged == 1
    imports(f"{EMMA},{EMAIL},Emma Maria")
    assert crowd.rows("suppressions") == before


def test_a_phone_number_of_an_erased_person_is_suppressed_in_its_channel(
    crowd: Crowd, imports: Callable[..., Any]
) -> None:
    crowd.erase()
    crowd.customer("other", phone=PHONE, email=None, email_key=None)
    imports("other,,Somebody")
    assert erased_suppressions(crowd) == [(f"tel:{PHONE}", "")]


def test_a_weaker_suppression_does_not_hide_that_somebody_was_erased(
    crowd: Crowd, imports: Callable[..., Any]
) -> None:
    crowd.erase()
    crowd.add("suppressions", email_key=KEY, topic="", reason="unsubscribed", at=crowd.now)
    imports(f"{EMMA},{EMAIL},Emma")
    assert erased_suppressions(crowd) == [(KEY, "")]


def test_thousands_of_customers_are_looked_through_in_portions(
    crowd: Crowd, imports: Callable[..., Any]
) -> None:
    crowd.erase()
    imports(*(f"m{n},m{n}@example.com,M" for n in range(4_500)), f"{EMMA},{EMAIL},Emma")
    assert erased_suppressions(crowd) == [(KEY, "")]


def test_after_a_change_of_the_secret_the_address_is_known_as_long_as_the_old_one_stands_behind(
    crowd: Crowd, imports: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    crowd.erase()
    monkeypatch.setenv("DRUMBEAT_SECRET", f"another-secret-of-the-tests {SECRET}")
    imports(f"{EMMA},{EMAIL},Emma")
    assert erased_suppressions(crowd) == [(KEY, "")]
    crowd.erase()
    assert len({row.address_hash[:8] for row in crowd.rows("erased_addresses")}) == 2


def test_without_the_old_secret_an_import_does_not_go_on(
    crowd: Crowd, imports: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It could not tell whom to leave alone; nothing is imported."""
    crowd.erase()
    monkeypatch.setenv("DRUMBEAT_SECRET", "another-secret-of-the-tests")
    before = crowd.rows("customers")
    with pytest.raises(UsageError, match="4 erased addresses cannot be known again"):
        imports(f"{EMMA},{EMAIL},Emma")
    with pytest.raises(UsageError, match="no secret to know them again"):
        imports(f"{EMMA},{EMAIL},Emma", erased=None)
    assert crowd.rows("customers") == before


def test_a_secret_that_links_gave_up_can_stay_for_erased_addresses(
    crowd: Crowd, imports: Callable[..., Any], project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`privacy.key_env` names the variable; the first secret in it makes new hashes."""
    crowd.erase()
    monkeypatch.setenv("DRUMBEAT_SECRET", "another-secret-of-the-tests")
    monkeypatch.setenv("ERASED", f"a-secret-for-hashes-alone {SECRET}")
    config = project.config.model_copy(
        update={"privacy": project.config.privacy.model_copy(update={"key_env": "ERASED"})}
    )
    own = Project(project.root, config, project.segments, project.campaigns)
    assert secrets_of(own)[0] == b"a-secret-for-hashes-alone"
    imports(f"{EMMA},{EMAIL},Emma", erased=erased_of(own))
    assert erased_suppressions(crowd) == [(KEY, "")]
    monkeypatch.delenv("ERASED")
    with pytest.raises(UsageError, match=r"ERASED is not set; privacy\.key_env in project\.yaml names it"):
        secrets_of(own)


def test_where_nobody_was_erased_an_import_needs_no_secret(crowd: Crowd, imports: Callable[..., Any]) -> None:
    def asked() -> list[bytes]:
        raise AssertionError("the secret was asked for")

    assert imports("n1,new@example.com,Nina", erased=Erased(asked)).inserted == 1


def test_the_hashes_tell_nobody_an_address_without_the_secret(crowd: Crowd) -> None:
    crowd.erase()
    names = {row.address_hash for row in crowd.rows("erased_addresses")}
    assert names == {Erased(lambda: [SECRET.encode()]).names(key)[0] for key in crowd_keys()}
    assert not names & {Erased(lambda: [b"some-other-secret-of-tests"]).names(key)[0] for key in crowd_keys()}


def crowd_keys() -> list[str]:
    return [KEY, f"tel:{PHONE}", "tg:98765432101", "oldest.address@example.com"]


def sign_up(crowd: Crowd, at: Any, topics: tuple[str, ...] = ("offers",)) -> Asked:
    with writing(crowd.engine) as connection:
        return ask(
            connection,
            email=EMAIL,
            email_key=KEY,
            topics=topics,
            external_id="signup:1",
            language="en",
            first_name="Emma",
            at=at,
            proof={"topics": {}},
        )


def confirm_last(crowd: Crowd, at: Any) -> str | None:
    with writing(crowd.engine) as connection:
        last = max(row.id for row in crowd.rows("opt_ins"))
        found = find(connection, last, at)
        assert found is not None
        return confirm(connection, found, at=at, proof={})


def test_who_signs_up_again_and_confirms_gets_mail_again(crowd: Crowd, imports: Callable[..., Any]) -> None:
    """The mail that asks for it can go out; nothing else can before, and no marketing without a confirmation."""
    crowd.erase()
    imports(f"{EMMA},{EMAIL},Emma")
    at = crowd.now + timedelta(days=1)
    assert sign_up(crowd, at) is Asked.NOTED
    assert reached(crowd, EMMA, days=1) == "suppressed"
    assert reached(crowd, EMMA, marketing=False, days=1) is None
    assert reached(crowd, EMMA, marketing=False, days=9) == "suppressed", "the request is over"
    assert confirm_last(crowd, at + timedelta(hours=1)) is None
    assert erased_suppressions(crowd) == []
    assert reached(crowd, EMMA, days=1) is None
    imports(f"{EMMA},{EMAIL},Emma Maria")
    assert erased_suppressions(crowd) == [], "their own new will is younger than the erasure"


def test_what_an_import_says_they_agreed_to_does_not_come_back_with_it(
    crowd: Crowd, imports: Callable[..., Any]
) -> None:
    crowd.erase()
    imports(f"{EMMA},{EMAIL},Emma")
    head = "id,topic,yes_or_no,at"
    imports(f"{EMMA},offers,true,2011-12-06", f"{EMMA},news,true,2011-12-06", mapping=CONSENTS, head=head)
    at = crowd.now + timedelta(days=1)
    sign_up(crowd, at, ("offers",))
    confirm_last(crowd, at)
    kept = [
        (row.email_key, row.topic, row.reason) for row in crowd.rows("suppressions") if row.email_key == KEY
    ]
    assert kept == [(KEY, "news", "unsubscribed")]


def test_who_signs_up_before_any_import_is_not_suppressed_by_one(
    crowd: Crowd, imports: Callable[..., Any]
) -> None:
    crowd.erase()
    at = crowd.now + timedelta(minutes=5)
    assert sign_up(crowd, at) is Asked.NOTED
    confirm_last(crowd, at)
    imports(f"{EMMA},{EMAIL},Emma")
    assert erased_suppressions(crowd) == []


def test_a_request_that_nobody_confirmed_lifts_nothing(crowd: Crowd, imports: Callable[..., Any]) -> None:
    crowd.erase()
    sign_up(crowd, crowd.now + timedelta(minutes=5))
    imports(f"{EMMA},{EMAIL},Emma")
    assert erased_suppressions(crowd) == [(KEY, "")]


def test_who_was_erased_once_more_stays_without_mail(crowd: Crowd, imports: Callable[..., Any]) -> None:
    crowd.erase()
    at = crowd.now + timedelta(minutes=5)
    sign_up(crowd, at)
    confirm_last(crowd, at)
    crowd.erase(EMAIL, terms={"at": crowd.now + timedelta(minutes=10)})
    imports(f"{EMMA},{EMAIL},Emma")
    assert erased_suppressions(crowd) == [(KEY, "")]
    assert crowd.rows("erased_addresses")


def test_a_bounce_is_not_lifted_by_a_new_wish(crowd: Crowd, imports: Callable[..., Any]) -> None:
    crowd.erase()
    imports(f"{EMMA},{EMAIL},Emma")
    with writing(crowd.engine) as connection:
        mine = suppressions.c.email_key == KEY
        connection.execute(update(suppressions).where(mine).values(reason="bounced"))
    assert sign_up(crowd, crowd.now + timedelta(days=1)) is Asked.BLOCKED


def test_an_erasure_is_kept_once_however_often_it_happens(crowd: Crowd, imports: Callable[..., Any]) -> None:
    crowd.erase()
    first = {row.address_hash for row in crowd.rows("erased_addresses")}
    imports(f"{EMMA},{EMAIL},Emma")
    crowd.erase(EMAIL)
    with reading(crowd.engine) as connection:
        assert set(connection.execute(select(erased_addresses.c.address_hash)).scalars()) == first
