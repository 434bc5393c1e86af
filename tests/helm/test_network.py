"""Deny by default; open are exactly the edges that the services' own configuration names."""

from __future__ import annotations

import pytest
from rendering import ALL, EXAMPLES, SERVICES, config, manifests, of_kind, render

DNS = [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}]


def component(peer):
    """The service a peer selects, in this release only."""
    labels = peer["podSelector"]["matchLabels"]
    assert peer.keys() == {"podSelector"}
    assert labels["app.kubernetes.io/instance"] == "portal"
    return labels["app.kubernetes.io/component"]


def tcp(rule):
    (port,) = rule["ports"]
    assert port["protocol"] == "TCP"
    return port["port"]


@pytest.mark.parametrize("name", EXAMPLES)
def test_everything_is_denied_first(name):
    documents = manifests(EXAMPLES[name])
    deny = of_kind(documents, "NetworkPolicy")["portal-default-deny"]["spec"]
    assert deny["policyTypes"] == ["Ingress", "Egress"]
    assert "ingress" not in deny and "egress" not in deny
    selected = deny["podSelector"]["matchLabels"].items()
    for deployment in of_kind(documents, "Deployment").values():
        assert selected <= deployment["spec"]["template"]["metadata"]["labels"].items()


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_edges_are_those_of_the_mesh(name):
    documents = manifests(EXAMPLES[name])
    policies = of_kind(documents, "NetworkPolicy")
    configured = {
        (service, upstream, int(address.rpartition(":")[2]))
        for service in SERVICES
        for upstream, address in config(documents, service).get("upstreams", {}).items()
    }
    incoming, outgoing = set(), set()
    for service in SERVICES:
        spec = policies[f"portal-{service}"]["spec"]
        assert spec["policyTypes"] == ["Ingress", "Egress"]
        if service != "gateway":
            rule = spec["ingress"][0]
            incoming |= {(component(peer), service, tcp(rule)) for peer in rule["from"]}
        first, *rules = spec["egress"]
        assert first == {"ports": DNS}
        for rule in rules:
            # The rules of the databases and of Vault name no pod of ours.
            for peer in (peer for peer in rule.get("to", []) if "podSelector" in peer):
                outgoing.add((service, component(peer), tcp(rule)))
    assert incoming == configured
    assert outgoing == configured


def test_only_owners_of_a_database_reach_it():
    def reach(values):
        policies = of_kind(manifests(values), "NetworkPolicy")
        return {
            service
            for service in SERVICES
            for rule in policies[f"portal-{service}"]["spec"]["egress"]
            if {"protocol": "TCP", "port": 5432} in rule["ports"]
        }

    assert reach({}) == {"auth", "consent", "valuation"}
    assert reach(EXAMPLES["dev"]) == set()


@pytest.mark.parametrize(("name", "port"), [("production", 8200), ("vault-sqlite", 443)])
def test_only_owners_of_keys_reach_vault(name, port):
    def rules(values, service):
        spec = of_kind(manifests(values), "NetworkPolicy")[f"portal-{service}"]["spec"]
        return [rule for rule in spec["egress"] if {"protocol": "TCP", "port": port} in rule["ports"]]

    to = ALL[name].get("networkPolicy", {}).get("vaultTo")
    for service in ("auth", "consent", "valuation"):
        (rule,) = rules(ALL[name], service)
        assert rule.get("to") == to
        assert config(manifests(ALL[name]), service)["keys"]["vault_address"].endswith(f":{port}")
    assert rules(ALL[name], "gateway") == []
    assert rules(EXAMPLES["default"], "auth") == []


def test_the_gateway_is_open_and_metrics_are_shut_unless_told():
    policies = of_kind(manifests({}), "NetworkPolicy")
    assert policies["portal-gateway"]["spec"]["ingress"] == [{"ports": [{"protocol": "TCP", "port": 8080}]}]
    assert "9464" not in str(policies)
    told = of_kind(manifests(EXAMPLES["production"]), "NetworkPolicy")
    for service in SERVICES:
        rules = told[f"portal-{service}"]["spec"]["ingress"]
        (metrics,) = (rule for rule in rules if tcp(rule) == 9464)
        assert "monitoring" in str(metrics["from"])
    assert "ingress" in str(told["portal-gateway"]["spec"]["ingress"][0]["from"])
    assert "postgresql" in str(told["portal-auth"]["spec"]["egress"])


def test_off_means_off():
    assert "portal/templates/networkpolicy.yaml" not in render({"networkPolicy": {"enabled": False}})
