"""values.schema.json: self-contained, every value described and used, unknown keys and bad values refused."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import helm_python
import pytest
from rendering import ALL, CHART, EXAMPLES, ROOT, chart, render, values_file, with_value

SCHEMA = json.loads((CHART / "values.schema.json").read_text())

# What a good value of each leaf looks like, other than the default, and the example where it shows.
OTHER: dict[str, tuple[Any, str]] = {
    "image.repository": ("registry.example.org:5000/portal", "default"),
    "image.tag": ("1.2.3", "default"),
    "image.digest": ("sha256:" + "ab" * 32, "default"),
    "image.pullPolicy": ("Always", "default"),
    "image.pullSecrets": (["pull"], "default"),
    "trustDomain": ("portal.example.net", "default"),
    "drainSeconds": (31, "default"),
    "telemetry.log": ("warn", "default"),
    "authorization.policies": ({"other.cedar": "@id(\"a\") forbid (principal, action, resource);"}, "default"),
    "database.kind": ("postgresql", "dev"),
    "database.maxConnections": (11, "default"),
    "database.port": (26257, "default"),
    "database.sqlite.persistent": (True, "dev"),
    "database.sqlite.size": ("5Gi", "dev"),
    "database.sqlite.storageClass": ("slow", "sqlite-persistent"),
    "keys.provider": ("file", "production"),
    "keys.file.passphrase": (True, "default"),
    "keys.vault.address": ("https://10.0.0.7:8201", "production"),
    "keys.vault.mount": ("teams/privacy/transit", "production"),
    "keys.vault.key": ("other", "production"),
    "keys.providerTimeoutSeconds": (60, "default"),
    "keys.cacheTtlSeconds": (1, "default"),
    "keys.epochDays": (3650, "default"),
    "keys.disabledAlgorithms": (["X-Wing"], "default"),
    "keys.importServiceSecret": (True, "default"),
    "operator.email": ("someone@example.org", "default"),
    "operator.passwordSecret": ("other", "default"),
    "passwords.memoryKib": (65536, "default"),
    "passwords.iterations": (3, "default"),
    "passwords.parallelism": (2, "default"),
    "passwords.leastStrength": (3, "default"),
    "passwords.accountPerMinute": (10, "default"),
    "passwords.clientPerMinute": (1000, "default"),
    "passwords.perSecond": (50, "default"),
    "mail.host": ("mail.example.net", "production"),
    "mail.port": (465, "production"),
    "mail.tls": ("implicit", "production"),
    "mail.sender": ("other@example.net", "production"),
    "mail.publicUrl": ("https://portal.example.net", "production"),
    "mail.user": ("other", "production"),
    "mail.secret": ("other", "production"),
    "mail.privateCa": (True, "production"),
    "oauth.questionsPerMinute": (1000, "default"),
    "oauth.grantsPerMinute": (10, "default"),
    "oauth.userCodesPerMinute": (5, "default"),
    "tokens.rotationDays": (90, "default"),
    "oauth.logoutPorts": ([8443], "default"),
    "oauth.clientCaSecret": ("other", "default"),
    "totp.issuer": ("Example", "default"),
    "passkeys.rpId": ("example.org", "passkeys"),
    "passkeys.rpName": ("Example", "passkeys"),
    "passkeys.origins": (["https://other.portal.example.org"], "passkeys"),
    "consent.decisions": ("database", "default"),
    "consent.requestDays": (7, "default"),
    "consent.organisation.partyId": ("https://example.net", "production"),
    "consent.organisation.name": ("Other", "production"),
    "consent.organisation.address": ("Other", "production"),
    "consent.organisation.email": ("other@example.org", "production"),
    "consent.organisation.phone": ("+49 30 1", "production"),
    "consent.organisation.url": ("https://example.net", "production"),
    "consent.organisation.country": ("AT", "production"),
    "consent.organisation.jurisdiction": ("AT", "production"),
    "consent.organisation.storageLocations": (["AT", "DE"], "production"),
    "consent.organisation.storageConditions": ("Encrypted", "production"),
    "consent.organisation.retentionEvent": ("A year after", "production"),
    "consent.organisation.withdrawalMethod": ("By letter", "production"),
    "consent.organisation.dataSource": ("Other", "production"),
    "consent.organisation.rights": (["eu-gdpr:A20"], "production"),
    "edge.serviceType": ("NodePort", "default"),
    "edge.publicUrl": ("https://portal.example.org:8443", "default"),
    "edge.corsOrigins": (["https://other.example.org"], "default"),
    "edge.trustedProxies": (["10.0.0.0/8"], "default"),
    "edge.tls.mlDsaSecret": ("other", "default"),
    "edge.tls.ecdsaSecret": ("other", "default"),
    "podDisruptionBudget.enabled": (False, "default"),
    "networkPolicy.enabled": (False, "default"),
    "networkPolicy.gatewayFrom": ([{"podSelector": {}}], "default"),
    "networkPolicy.databaseTo": ([{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}}], "default"),
    "networkPolicy.vaultTo": ([{"ipBlock": {"cidr": "10.0.0.7/32"}}], "production"),
    "networkPolicy.mailTo": ([{"ipBlock": {"cidr": "10.0.0.8/32"}}], "production"),
    "networkPolicy.logoutTo": ([{"ipBlock": {"cidr": "10.0.0.9/32"}}], "logouts"),
    "networkPolicy.metricsFrom": ([{"namespaceSelector": {"matchLabels": {"a": "b"}}}], "default"),
}
for _service in ("auth", "consent", "gateway", "valuation"):
    OTHER[f"services.{_service}.replicas"] = (5, "default")
    OTHER[f"services.{_service}.tlsSecret"] = ("other", "default")
    OTHER[f"services.{_service}.resources"] = ({"requests": {"cpu": 1}, "limits": {"memory": "1Gi"}}, "default")
    if _service != "gateway":
        OTHER[f"services.{_service}.keysSecret"] = ("other", "default")
        OTHER[f"services.{_service}.databaseSecret"] = ("other", "default")

# (path, refused value); the message must name the last key of the path.
BAD: list[tuple[str, Any]] = [
    ("unknown", 1),
    ("image.repo", "portal"),
    ("image.repository", ""),
    ("image.repository", "Portal"),
    ("image.repository", "portal image"),
    ("image.repository", None),
    ("image.tag", 1.0),
    ("image.tag", "-bad"),
    ("image.tag", "a" * 129),
    ("image.digest", "sha256:abc"),
    ("image.digest", "md5:" + "0" * 32),
    ("image.pullPolicy", "Sometimes"),
    ("image.pullSecrets", "pull"),
    ("image.pullSecrets", [{"name": "pull"}]),
    ("image.pullSecrets", [""]),
    ("trustDomain", ""),
    ("trustDomain", "spiffe://portal.local"),
    ("trustDomain", "Portal.Local"),
    ("trustDomain", "a" * 256),
    ("drainSeconds", 0),
    ("drainSeconds", 301),
    ("drainSeconds", "20s"),
    ("drainSeconds", 2.5),
    ("telemetry.log", ""),
    ("telemetry.log", 'info"\nx = 1'),
    ("telemetry.level", "info"),
    ("authorization.policies", []),
    ("authorization.policies", {"house.rego": "x"}),
    ("authorization.policies", {"../house.cedar": "x"}),
    ("authorization.policies", {"house.cedar": ""}),
    ("authorization.folder", "/policies"),
    ("database.kind", "mysql"),
    ("database.kind", "PostgreSQL"),
    ("database.url", "postgres://user:password@host/db"),
    ("database.maxConnections", 0),
    ("database.maxConnections", "10"),
    ("database.port", 0),
    ("database.port", 65536),
    ("database.sqlite.persistent", "yes"),
    ("database.sqlite.size", "1 GB"),
    ("database.sqlite.size", 0),
    ("database.sqlite.size", -1),
    ("database.sqlite.path", "/data"),
    ("database.sqlite.storageClass", "Fast_Disk"),
    ("passwords.memoryKib", 19455),
    ("passwords.iterations", 1),
    ("passwords.parallelism", 0),
    ("passwords.leastStrength", 5),
    ("passwords.accountPerMinute", 0),
    ("passwords.clientPerMinute", "300"),
    ("passwords.perSecond", -1),
    ("passwords.pepper", "secret"),
    ("mail.host", "https://smtp.example.org"),
    ("mail.port", 0),
    ("mail.tls", "none"),
    ("mail.sender", "portal"),
    ("mail.publicUrl", "portal.example.org"),
    ("mail.publicUrl", "https://portal.example.org/#x"),
    ("mail.user", 1),
    ("mail.secret", "Mail"),
    ("mail.privateCa", "yes"),
    ("mail.password", "secret"),
    ("oauth.questionsPerMinute", 0),
    ("oauth.grantsPerMinute", "120"),
    ("oauth.userCodesPerMinute", 0),
    ("tokens.rotationDays", 0),
    ("tokens.rotationDays", 366),
    ("consent.decisions", "memory"),
    ("consent.requestDays", -1),
    ("consent.requestDays", 3651),
    ("consent.requestDays", "30d"),
    ("consent.organisation.partyId", None),
    ("consent.organisation.rights", "eu-gdpr:A17"),
    ("consent.organisation.party_id", "https://example.org"),
    ("keys.provider", "pkcs11"),
    ("keys.provider", "vault-transit"),
    ("keys.file.passphrase", "secret"),
    ("keys.file.path", "/root-keys.json"),
    ("keys.vault.address", "vault:8200"),
    ("keys.vault.address", "https://vault"),
    ("keys.vault.address", "https://vault:8200/"),
    ("keys.vault.address", "https://vault:0"),
    ("keys.vault.address", "https://vault:65536"),
    ("keys.vault.address", "https://user@vault:8200"),
    # Not of the machine that the service is on: a pod has no other container.
    ("keys.vault.address", "http://127.0.0.1:8200"),
    ("keys.vault.token", "secret"),
    ("keys.vault.mount", ""),
    ("keys.vault.mount", "/transit"),
    ("keys.vault.mount", "teams//transit"),
    ("keys.vault.mount", "../sys"),
    ("keys.vault.key", "a/b"),
    ("keys.vault.key", ".."),
    ("keys.vault.key", "a b"),
    ("keys.providerTimeoutSeconds", 0),
    ("keys.providerTimeoutSeconds", 61),
    ("keys.cacheTtlSeconds", 0),
    ("keys.cacheTtlSeconds", 61),
    ("keys.cacheTtlSeconds", "60s"),
    ("keys.epochDays", 0),
    ("keys.epochDays", 3651),
    ("keys.epochDays", 1.5),
    ("keys.disabledAlgorithms", "X-Wing"),
    ("keys.disabledAlgorithms", ["x-wing"]),
    ("keys.disabledAlgorithms", ["X-Wing", "X-Wing"]),
    ("keys.importServiceSecret", "yes"),
    ("keys.databaseUrl", "postgres://user:password@host/db"),
    ("operator.email", "operator"),
    ("operator.email", "a b@example.org"),
    ("operator.email", ""),
    ("operator.password", "secret"),
    ("operator.passwordSecret", "Not_A_Name"),
    ("edge.serviceType", "ExternalName"),
    ("edge.corsOrigins", "https://app.example.org"),
    ("edge.corsOrigins", ["*"]),
    ("edge.corsOrigins", ["https://app.example.org/"]),
    ("edge.corsOrigins", ["https://app.example.org", "https://app.example.org"]),
    ("edge.corsOrigins", ["app.example.org"]),
    ("edge.publicUrl", "http://portal.example.org"),
    ("edge.publicUrl", "https://portal.example.org/"),
    ("edge.trustedProxies", "10.0.0.0/8"),
    ("edge.trustedProxies", ["10.0.0.1"]),
    ("edge.trustedProxies", ["proxy/8"]),
    ("edge.port", 80),
    ("edge.tls", True),
    ("edge.tls.mlDsaSecret", "Not_A_Name"),
    ("edge.tls.ecdsaSecret", ["a"]),
    ("edge.tls.key", "secret"),
    ("services.billing", {}),
    ("services.auth", None),
    ("services.auth.replicas", 0),
    ("services.auth.replicas", -1),
    ("services.auth.replicas", "2"),
    ("services.auth.replicas", 101),
    ("services.auth.port", 3001),
    ("services.auth.tlsSecret", "UPPER"),
    ("services.auth.tlsSecret", "a" * 254),
    ("services.consent.keysSecret", "under_score"),
    ("services.consent.serviceSecret", "secret"),
    ("services.consent.databaseSecret", 5),
    ("services.consent.resources", {"request": {}}),
    ("services.consent.resources", {"requests": {"cpu": "lots"}}),
    ("services.consent.resources", {"limits": {"memory": "1GB"}}),
    ("services.gateway.databaseSecret", "db"),
    ("services.gateway.keysSecret", "keys"),
    ("podDisruptionBudget.enabled", "true"),
    ("podDisruptionBudget.minAvailable", 1),
    ("networkPolicy.enabled", 1),
    ("networkPolicy.gatewayFrom", {}),
    ("networkPolicy.gatewayFrom", [{}]),
    ("networkPolicy.gatewayFrom", [{"pods": {}}]),
    ("networkPolicy.gatewayFrom", [{"podSelector": {"labels": {}}}]),
    ("networkPolicy.databaseTo", [{"ipBlock": {"cidr": "10.0.0.0"}}]),
    ("networkPolicy.databaseTo", [{"ipBlock": {"except": []}}]),
    ("networkPolicy.vaultTo", ["vault"]),
    ("networkPolicy.metricsFrom", [{"namespaceSelector": {"matchLabels": {"a": 1}}}]),
]


def resolve(node: dict[str, Any]) -> dict[str, Any]:
    if "$ref" in node:
        return SCHEMA["definitions"][node["$ref"].removeprefix("#/definitions/")]
    return node


def nodes(node: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema below `node`, as it is written (references not followed)."""
    for key, child in node.get("properties", {}).items():
        yield f"{path}.{key}", child
        yield from nodes(child, f"{path}.{key}")
    if "items" in node:
        yield f"{path}[]", node["items"]
        yield from nodes(node["items"], f"{path}[]")


def everywhere() -> Iterator[tuple[str, dict[str, Any]]]:
    yield "", SCHEMA
    yield from nodes(SCHEMA)
    for name, definition in SCHEMA["definitions"].items():
        yield f"#{name}", definition
        yield from nodes(definition, f"#{name}")


def leaves(node: dict[str, Any], path: str = "") -> Iterator[str]:
    """Dotted paths of the values a user sets; `resources` counts as one."""
    for key, child in node.get("properties", {}).items():
        here = f"{path}.{key}" if path else key
        target = resolve(child)
        if target.get("properties") and key != "resources":
            yield from leaves(target, here)
        elif here != "global":
            yield here


def flat(values: dict[str, Any], path: str = "") -> Iterator[str]:
    for key, value in values.items():
        here = f"{path}.{key}" if path else key
        if isinstance(value, dict) and key not in ("resources", "policies"):
            yield from flat(value, here)
        else:
            yield here


def test_self_contained():
    text = json.dumps(SCHEMA)
    references = [node["$ref"] for _, node in everywhere() if "$ref" in node]
    assert references and all(reference.startswith("#/definitions/") for reference in references)
    assert text.count('"$ref"') == len(references)


def test_every_value_is_described():
    plain = [
        path for path, node in everywhere() if len(node.get("description", "")) < 5 and not path.endswith("values[]")
    ]
    assert plain == []


def test_unknown_keys_are_refused_everywhere():
    lax = [
        path
        for path, node in everywhere()
        if node.get("type") == "object" and node.get("additionalProperties") is not False
    ]
    # Labels are free-form; `global` is Helm's own.
    assert {path.rpartition(".")[2] for path in lax} == {"global", "matchLabels"}


def test_values_and_schema_name_the_same():
    assert sorted(flat(values_file("values.yaml"))) == sorted(leaves(SCHEMA)) == sorted(OTHER)


@pytest.mark.parametrize("path", OTHER)
def test_every_value_is_used(path):
    value, example = OTHER[path]
    changed = with_value(ALL[example], path, value)
    for choice in ("database.kind", "keys.provider"):
        section, key = choice.split(".")
        assert path != choice or ALL[example][section][key] != value
    assert render(changed) != render(ALL[example])


@pytest.mark.parametrize(("path", "value"), BAD, ids=[f"{path}={value!r}"[:70] for path, value in BAD])
def test_refused(path, value):
    with pytest.raises(helm_python.HelmValuesError) as refusal:
        chart().validate_schema(with_value(EXAMPLES["default"], path, value))
    assert path.rpartition(".")[2] in str(refusal.value)


@pytest.mark.parametrize("service", ["auth", "consent", "valuation"])
def test_an_embedded_database_has_one_writer(service):
    with pytest.raises(helm_python.HelmValuesError, match="replicas"):
        chart().validate_schema(with_value(EXAMPLES["dev"], f"services.{service}.replicas", 2))


def test_vault_has_an_address():
    with pytest.raises(helm_python.HelmValuesError, match="address"):
        chart().validate_schema({"keys": {"provider": "vault"}})
    chart().validate_schema({"keys": {"provider": "vault", "vault": {"address": "https://vault:8200"}}})


def test_the_algorithms_are_those_that_some_service_uses():
    crypto = (ROOT / "crates" / "crypto" / "src" / "suite.rs").read_text()
    names = re.search(r"pub const fn name\(self\).*?\n    }\n", crypto, re.DOTALL).group()
    keys = (ROOT / "crates" / "keys" / "src" / "config.rs").read_text()
    uses = re.search(r"fn uses\(&self.*?\n    }\n", keys, re.DOTALL).group()
    unused = set(re.findall(r"Algorithm::(\w+)", "".join(re.findall(r"([^}>;]*)=> (?:\{\s*)?false", uses))))
    named = dict(re.findall(r'Self::(\w+) => "([^"]+)"', names))
    assert unused and unused < set(named)
    items = SCHEMA["properties"]["keys"]["properties"]["disabledAlgorithms"]["items"]
    assert items["enum"] == [name for variant, name in named.items() if variant not in unused]


def test_the_gateway_scales_on_embedded_databases():
    chart().validate_schema(with_value(EXAMPLES["dev"], "services.gateway.replicas", 2))


@pytest.mark.parametrize("name", ALL)
def test_accepted(name):
    chart().validate_schema(ALL[name])


def test_render_refuses_what_the_schema_refuses():
    with pytest.raises(helm_python.HelmError):
        render({"unknown": 1})
