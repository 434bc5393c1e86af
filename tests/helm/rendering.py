"""Renders the chart with the real Helm engine, no cluster and no network."""

from __future__ import annotations

import copy
import functools
import json
import pathlib
import tomllib
from typing import Any

import helm_python
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHART = ROOT / "helm" / "portal"
GOLDEN = ROOT / "tests" / "golden" / "helm"
SERVICES = ("auth", "consent", "gateway", "valuation")


def values_file(name: str) -> dict[str, Any]:
    return yaml.safe_load((CHART / name).read_text())


# Every values file the chart ships.
EXAMPLES: dict[str, dict[str, Any]] = {
    "default": {},
    "dev": values_file("values-dev.yaml"),
    "production": values_file("values-production.yaml"),
}

# One set per toggle, so that every branch of the templates is rendered and checked.
TOGGLES: dict[str, dict[str, Any]] = {
    "passkeys": {"passkeys": {"rpId": "portal.example.org", "origins": ["https://portal.example.org"]}},
    "policies": {
        "authorization": {
            "policies": {
                "house.cedar": '@id("house.office")\n'
                'forbid (principal in Portal::Role::"operator", action, resource)\n'
                'unless { context has address && context.address.isInRange(ip("10.0.0.0/8")) };\n',
            },
        },
    },
    "sqlite-persistent": {
        **EXAMPLES["dev"],
        "database": {"kind": "sqlite", "sqlite": {"persistent": True, "storageClass": "fast"}},
    },
    "policies-off": {"networkPolicy": {"enabled": False}, "podDisruptionBudget": {"enabled": False}},
    "by-digest": {"image": {"digest": "sha256:" + "0f" * 32, "pullSecrets": ["pull"]}},
    "load-balancer": {"edge": {"serviceType": "LoadBalancer"}},
    "edge-tls": {"edge": {"tls": {"mlDsaSecret": "edge-pq", "ecdsaSecret": "edge-tls"}}},
    "edge-tls-ecdsa": {"edge": {"tls": {"ecdsaSecret": "edge-tls"}}},
    "own-secrets": {
        "operator": {"passwordSecret": "1234"},
        "services": {"auth": {"tlsSecret": "a", "keysSecret": "b", "databaseSecret": "c"}},
    },
    "sealed-keyring": {"keys": {"file": {"passphrase": True}}},
    "import": {"keys": {"importServiceSecret": True}},
    "vault-sqlite": {
        **EXAMPLES["dev"],
        "keys": {"provider": "vault", "vault": {"address": "https://[fd00::7]:443"}, "importServiceSecret": True},
    },
    "mail-open": {
        "mail": {"host": "mail", "sender": "portal@example.org", "publicUrl": "https://portal.example.org"},
    },
    "mail-private-ca": {
        "mail": {
            "host": "mail",
            "sender": "portal@example.org",
            "publicUrl": "https://portal.example.org",
            "privateCa": True,
        },
    },
    "logouts": {"oauth": {"logoutPorts": [443, 8443], "clientCaSecret": "clients"}},
    "decisions-from-database": {"consent": {"decisions": "database"}},
    "address-range": {"networkPolicy": {"databaseTo": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}},
}
ALL = EXAMPLES | TOGGLES


@functools.cache
def chart() -> helm_python.Chart:
    return helm_python.Chart.load(CHART)


def render(values: dict[str, Any], name: str = "portal", namespace: str = "mesh") -> dict[str, str]:
    """Template file → text, of the files that render to something."""
    return dict(_render(json.dumps(values, sort_keys=True), name, namespace))


@functools.cache
def _render(values: str, name: str, namespace: str) -> dict[str, str]:
    rendered = chart().render(json.loads(values), name=name, namespace=namespace)
    return {path: text for path, text in sorted(rendered.items()) if text.strip()}


def manifests(values: dict[str, Any], **release: str) -> list[dict[str, Any]]:
    """The Kubernetes objects."""
    return [
        document
        for path, text in render(values, **release).items()
        if path.endswith(".yaml")
        for document in yaml.load_all(text, Loader=yaml.CSafeLoader)
        if document
    ]


def of_kind(documents: list[dict[str, Any]], kind: str) -> dict[str, dict[str, Any]]:
    """Name → object."""
    found = [document for document in documents if document["kind"] == kind]
    by_name = {document["metadata"]["name"]: document for document in found}
    assert len(by_name) == len(found), f"two objects of kind {kind} share a name"
    return by_name


def config(documents: list[dict[str, Any]], service: str, release: str = "portal") -> dict[str, Any]:
    """The service's configuration, parsed."""
    return tomllib.loads(of_kind(documents, "ConfigMap")[f"{release}-{service}"]["data"]["config.toml"])


def pod(documents: list[dict[str, Any]], service: str, release: str = "portal") -> dict[str, Any]:
    """The service's pod specification."""
    return of_kind(documents, "Deployment")[f"{release}-{service}"]["spec"]["template"]["spec"]


def with_value(values: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy of `values` where the dotted `path` is `value`."""
    changed = copy.deepcopy(values)
    *parents, last = path.split(".")
    node = changed
    for key in parents:
        node = node.setdefault(key, {})
    node[last] = value
    return changed
