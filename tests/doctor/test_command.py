"""`drumbeat doctor` as people and programs meet it: a table, JSON, an exit code, no hang and no secret."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from servers.dns import DnsServer
from servers.smtp import smtp_server

from drumbeat.cli import cli
from drumbeat.cli.output import guarded
from drumbeat.doctor.checks import CHECKS, MANUAL, examine
from drumbeat.doctor.findings import TITLES, Finding, Level
from drumbeat.doctor.setup import Setup

SENDER = {
    "address": "shop@example.com",
    "postal_address": "1 High Street",
    "bounces": "bounces@mail.example.com",
    "dkim": {"selector": "s1", "key_env": "SHOP_DKIM"},
}
Make = Callable[..., Setup]
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(setup: Make, dns: Callable[..., DnsServer], capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command in a project, against a DNS server: exit code, stdout, stderr."""

    def made(*arguments: str, zones: dict[str, Any] | None = None, **options: Any) -> tuple[int, str, str]:
        root = setup(**options).project.root
        server = dns(zones)
        code = guarded(cli, ["doctor", "-C", str(root), "--resolver", f"127.0.0.1:{server.port}", *arguments])
        out, err = capsys.readouterr()
        return code, out, err

    return made


SOUND = ("--check", "spf", "--check", "dkim", "--check", "dmarc", "--check", "mx", "--check", "ptr")


def test_a_sound_set_up_leaves_with_0(run: Run) -> None:
    code, out, err = run(*SOUND, "--ip", "192.0.2.10")
    assert (code, err) == (0, "")
    assert "✓ ok    mail.example.com" in out
    assert out.splitlines()[-1].endswith(" ok")
    assert "failed" not in out


def test_a_failure_leaves_with_7_and_says_what_to_do(run: Run) -> None:
    code, out, err = run(*SOUND, "--ip", "192.0.2.10", zones={"_dmarc.example.com": None})
    assert code == 7
    assert "✗ FAIL  example.com" in out
    assert "→ Publish at _dmarc.example.com:" in out
    assert err.startswith("drumbeat: 1 of ")
    assert err.count("\n") == 1


def test_json_is_one_document_with_the_same_findings(run: Run) -> None:
    code, out, err = run(*SOUND, "--ip", "192.0.2.10", "--json", zones={"_dmarc.example.com": None})
    told = json.loads(out)
    assert (code, err, told["ok"]) == (7, "", False)
    assert told["resolver"].startswith("127.0.0.1:")
    assert {tuple(finding) for finding in told["findings"]} == {
        ("check", "about", "level", "found", "advice")
    }
    assert [f["about"] for f in told["findings"] if f["level"] == "fail"] == ["example.com"]
    code, out, _ = run(*SOUND, "--ip", "192.0.2.10", "--json")
    assert (code, json.loads(out)["ok"]) == (0, True)


def test_a_warning_alone_leaves_with_0(run: Run) -> None:
    zones = {"mail.example.com": {"TXT": ["v=spf1 ip4:192.0.2.10 ?all"], "MX": ["10 mx.example.com."]}}
    code, out, _ = run("--check", "spf", "--ip", "192.0.2.10", zones=zones)
    assert code == 0
    assert "! warn" in out
    assert "1 warning ·" in out


def test_one_sender_of_several_can_be_examined(run: Run) -> None:
    senders = {
        name: {"name": name, "address": f"a@{name}.example", "postal_address": "x"} for name in ("one", "two")
    }
    _, out, _ = run("--sender", "two", "--check", "mx", senders=senders)
    assert "two.example" in out
    assert "one.example" not in out


def test_what_senders_have_in_common_is_told_once(setup: Make) -> None:
    senders = {name: {**SENDER, "name": name} for name in ("one", "two")}
    found = examine(setup(senders=senders), only=["spf", "dkim", "dmarc", "mx"])
    assert len(found) == len(set(found))
    assert found == examine(setup(senders={"one": senders["one"]}), only=["spf", "dkim", "dmarc", "mx"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--sender", "shpo"], "unknown sender 'shpo'. Did you mean 'shop'?"),
        (["--ip", "mx.example.com"], "'mx.example.com' is no IP address"),
        (["--resolver", "dns.example"], "'dns.example' is no resolver"),
        (["--check", "dkmi"], "unknown check 'dkmi'. Did you mean 'dkim'?"),
        (["--explain", "dkmi"], "unknown check 'dkmi'. Did you mean 'dkim'?"),
    ],
)
def test_what_cannot_be_meant_is_a_line_with_the_nearest(run: Run, arguments: list[str], words: str) -> None:
    code, _, err = run(*arguments)
    assert code == 2
    assert words in err


def test_a_sender_whose_address_is_none_is_a_finding(run: Run) -> None:
    code, out, _ = run(sender={"address": "shop@-example.com"})
    assert code == 7
    assert "Correct senders.shop in project.yaml." in out


@pytest.mark.parametrize("name", MANUAL)
def test_each_check_explains_itself_there_and_in_the_manual(run: Run, name: str, project_root: Path) -> None:
    code, out, _ = run("--explain", name)
    assert code == 0
    assert out.startswith("Whether ")
    manual = " ".join((project_root / "docs" / "doctor.md").read_text().split())
    assert f"### `{name}`: {TITLES[name]} {' '.join(out.split())}" in manual


def test_every_check_has_a_title_and_every_title_a_check() -> None:
    assert set(TITLES) == {check.name for check in CHECKS} | {"senders", "resolver", "bulk"}


@pytest.mark.smtp
def test_nothing_is_sent_and_no_secret_is_shown(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SMTP_USER", "shop")
    monkeypatch.setenv("SMTP_PASSWORD", "very-secret")
    with smtp_server(tmp_path / "log", "--user", "shop:very-secret") as server:
        smtp = {
            "host": "127.0.0.1",
            "port": server.port,
            "username_env": "SMTP_USER",
            "password_env": "SMTP_PASSWORD",
        }
        code, out, err = run("--ip", "192.0.2.10", delivery={"backend": "smtp", "smtp": smtp})
        assert server.mails == []
    assert code == 0, out
    assert "very-secret" not in out + err
    assert "PRIVATE KEY" not in out + err


def test_the_rules_of_bulk_senders_are_summed_up(setup: Make) -> None:
    def told(findings: list[Finding]) -> dict[str, tuple[Level, str]]:
        return {f.about: (f.level, f.found) for f in findings if f.check == "bulk"}

    sound = told(examine(setup()))
    assert sound["Outlook.com"] == (Level.OK, "met, as far as can be seen from here")
    assert sound["Gmail"][0] is Level.NOTE, "there is no mail server to look at, and nobody answers the links"
    broken = told(examine(setup({"_dmarc.example.com": None, "10.2.0.192.in-addr.arpa": None})))
    assert broken["Gmail"] == (Level.WARN, "not met: DMARC, Reverse DNS (PTR)")
    assert broken["Outlook.com"] == (Level.WARN, "not met: DMARC")


def test_whatever_the_dns_says_is_a_line_and_never_an_error(setup: Make) -> None:
    """Records full of control characters, brackets and rich's own markup, at every name that is asked for."""
    nasty = ["v=spf1 [bold]\x1b[31m a:\x00 -all", "v=DMARC1; p=[red]; rua=mailto:\x1b]8;;", "p=\x07; v=DKIM1"]
    zones: dict[str, Any] = {
        name: {"TXT": nasty, "MX": ["0 \\000.\\[x\\]."], "A": ["192.0.2.10"], "PTR": ["\\007.x."]}
        for name in (
            "example.com",
            "mail.example.com",
            "s1._domainkey.example.com",
            "_dmarc.example.com",
            "10.2.0.192.in-addr.arpa",
        )
    }
    from drumbeat.cli.output import show
    from drumbeat.doctor.terminal import rendered

    findings = examine(setup(zones))
    show(*rendered("x", findings))
    assert all(text.isprintable() for f in findings for text in (f.about, f.found, f.advice))
