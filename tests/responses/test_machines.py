"""What must hold when one request is judged."""

from __future__ import annotations

import pytest

from drumbeat.cli import cli
from drumbeat.cli.output import guarded
from drumbeat.errors import ProjectError, UsageError
from drumbeat.responses.kinds import Actor, Kind
from drumbeat.responses.machines import Machines, Rule, judge, load_machines, rules, shipped
from drumbeat.responses.networks import Networks

CHROME = (
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36"
)


@pytest.mark.parametrize(
    ("kind", "method", "headers", "actor", "rule"),
    [
        ("opened", "GET", {"user-agent": "Mozilla/5.0"}, "machine", "apple_privacy_proxy"),
        ("clicked", "GET", {"user-agent": "Mozilla/5.0"}, "unknown", ""),
        ("opened", "GET", {"user-agent": "x (via ggpht.com GoogleImageProxy)"}, "unknown", "gmail_image_proxy"),
        ("opened", "GET", {"user-agent": "YahooMailProxy; https://help.yahoo.com"}, "unknown", "yahoo_image_proxy"),
        ("opened", "GET", {"user-agent": "OutlookImageProxy"}, "unknown", "outlook_image_proxy"),
        ("clicked", "GET", {"user-agent": "Microsoft Office Existence Discovery"}, "machine", "office_link_check"),
        ("clicked", "HEAD", {"user-agent": CHROME}, "machine", "head_request"),
        ("clicked", "GET", {"user-agent": CHROME}, "unknown", ""),
        ("clicked", "GET", {"user-agent": CHROME, "sec-fetch-user": "?1"}, "human", "navigated"),
        ("clicked", "GET", {"user-agent": CHROME, "sec-purpose": "prefetch"}, "machine", "declared_prefetch"),
        ("clicked", "GET", {"user-agent": CHROME, "sec-purpose": "prefetch;prerender"}, "machine", "declared_prerender"),
        ("opened", "GET", {"user-agent": "BarracudaLinkProtect/1"}, "machine", "security_gateway"),
        ("clicked", "GET", {"user-agent": "Googlebot/2.1"}, "machine", "declared_bot"),
        ("clicked", "GET", {"user-agent": "Mozilla/5.0 (Linux; CUBOT X30)"}, "unknown", ""),
        ("opened", "GET", {}, "machine", "no_agent"),
    ],
)  # fmt: skip
def test_a_request_is_judged_by_the_first_rule_that_fits(kind, method, headers, actor, rule):
    assert judge(Kind(kind), method, headers) == (Actor(actor), rule)


def test_rule_names_are_unique_and_each_network_has_a_source():
    names = [rule.rule for rule in rules()]
    assert len(names) == len(set(names))
    assert all(rule.source for rule in rules() if rule.network)


@pytest.mark.parametrize(
    ("ip", "rule"),
    [
        ("40.107.3.9", "microsoft_365_protection"),
        ("2a01:111:f403:8000::25", "microsoft_365_protection"),
        ("::ffff:104.47.1.1", "microsoft_365_protection"),
        ("209.222.82.7", "barracuda_email_gateway"),
        ("40.99.1.1", "navigated"),
        ("192.0.2.1", "navigated"),
        ("", "navigated"),
        ("not an address", "navigated"),
    ],
)
def test_a_scanners_network_says_more_than_its_browser(ip, rule):
    assert judge(Kind.CLICKED, "GET", {"user-agent": CHROME, "sec-fetch-user": "?1"}, ip)[1] == rule


def test_what_a_provider_leaves_out_says_nothing():
    told = shipped().judge_told
    assert told(Kind.OPENED, None, None) == (Actor.UNKNOWN, "")
    assert told(Kind.OPENED, "Mozilla/5.0", None) == (Actor.MACHINE, "apple_privacy_proxy")
    assert told(Kind.CLICKED, CHROME, "40.107.3.9") == (Actor.MACHINE, "microsoft_365_protection")
    assert told(Kind.CLICKED, "Googlebot/2.1", None) == (Actor.MACHINE, "declared_bot")


def test_a_projects_own_rules_are_asked_first_and_its_lists_of_networks_are_read(tmp_path):
    (tmp_path / "machines.yaml").write_text(
        "- {rule: our_office, class: human, network: [192.0.2.0/24]}\n"
        "- {rule: apple_relay, class: machine, kind: opened, network_file: egress-ip-ranges.csv}\n"
    )
    (tmp_path / "egress-ip-ranges.csv").write_text(
        "172.224.226.0/27,GB,GB-EN,London,\n\n# a comment\n2a02:26f7::/64,DE,DE-BE,Berlin,\n"
    )
    machines = load_machines(tmp_path)
    agent = {"user-agent": CHROME}
    assert machines.judge(Kind.OPENED, "HEAD", agent, "192.0.2.9") == (Actor.HUMAN, "our_office")
    assert machines.judge(Kind.OPENED, "GET", agent, "172.224.226.30")[1] == "apple_relay"
    assert machines.judge(Kind.OPENED, "GET", agent, "2a02:26f7::1")[1] == "apple_relay"
    assert machines.judge(Kind.CLICKED, "GET", agent, "172.224.226.30")[1] == ""
    assert machines.judge(Kind.CLICKED, "HEAD", agent, "203.0.113.1")[1] == "head_request"


def test_without_rules_of_its_own_a_project_has_ours(tmp_path):
    assert load_machines(tmp_path) is shipped()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("- {rule: x, class: robot}\n", r":1:20 DB020 0\.class: found 'robot'; expected 'human', 'machine' or 'unknown'"),
        ("- {rule: x, clas: human}\n", r"machines\.yaml:1:13 DB021 unknown key 'clas'\. Did you mean 'class'"),
        ("- {rule: x, class: human, network: [10.0.0.300/8]}\n", r"machines\.yaml:1:3 DB070 x: '10\.0\.0\.300/8' is no network"),
        ("- {rule: x, class: human, network_file: gone.csv}\n", r":1:3 DB070 x: cannot read gone\.csv: No such file"),
        ("rules: []\n", r"machines\.yaml:1:1 DB020 the file: expected a list of rules"),
        ("", r"machines\.yaml:1:1 DB020 the file: expected a list of rules"),
    ],
)  # fmt: skip
def test_a_fault_in_machines_yaml_names_its_place(tmp_path, text, told):
    (tmp_path / "machines.yaml").write_text(text)
    with pytest.raises(ProjectError, match=told):
        load_machines(tmp_path)


def test_a_rule_that_names_an_empty_list_of_networks_fits_nobody(tmp_path):
    (tmp_path / "none.csv").write_text("\n")
    rule = Rule.model_validate({"rule": "x", "class": "machine", "network_file": "none.csv"})
    assert Machines([rule], tmp_path).judge(Kind.CLICKED, "GET", {"user-agent": CHROME}, "192.0.2.1")[1] == ""


def test_networks_of_every_length_are_found_and_none_beside_them():
    networks = Networks(["0.0.0.0/32", "10.1.2.3/8", "192.0.2.128/25", "198.51.100.7", "2001:db8::/33"])
    inside = ("0.0.0.0", "10.255.255.255", "192.0.2.128", "198.51.100.7", "2001:db8:7fff::1")
    outside = ("0.0.0.1", "11.0.0.0", "192.0.2.127", "198.51.100.8", "2001:db8:8000::", "::", "a", "")
    assert all(address in networks for address in inside)
    assert not any(address in networks for address in outside)
    assert not Networks([])
    with pytest.raises(UsageError, match="is no network"):
        Networks(["10.0.0.0/99"])


def test_validate_tells_faults_in_machines_yaml_with_all_others(make_project, capsys):
    root = make_project().root
    (root / "machines.yaml").write_text("- {rule: x, class: human}\n")
    guarded(cli, ["validate", "-C", str(root)])
    assert "machines.yaml" not in capsys.readouterr().err
    (root / "machines.yaml").write_text("- {rule: x, class: human, network: [nowhere]}\n")
    assert guarded(cli, ["validate", "-C", str(root)]) == 3
    told = capsys.readouterr().err
    assert "machines.yaml:1:3 DB070 x: 'nowhere' is no network" in told
