"""The rendered TOML has exactly the keys the services read, and each path and address in it leads somewhere."""

from __future__ import annotations

import pathlib
import re
from typing import Any

import pytest
from rendering import ALL, SERVICES, chart, config, manifests, of_kind, pod

OWNERS = {"auth", "consent", "valuation"}
UPSTREAMS = {
    "auth": set(),
    "consent": {"auth"},
    "gateway": {"auth", "consent", "valuation"},
    "valuation": {"auth", "consent"},
}


# Of every provider, and of each: what config.rs of crates/keys reads.
KEYS = {"provider", "provider_timeout_seconds", "cache_ttl_seconds", "epoch_days", "disabled_algorithms"}
PROVIDERS = {
    "file": {"root_key_file"},
    "vault": {"vault_address", "vault_token_file", "vault_ca_file", "vault_mount", "vault_key"},
}


def snake(key: str) -> str:
    return re.sub("[A-Z]", lambda big: f"_{big[0].lower()}", key)


def expected_keys(service: str, values: dict[str, Any]) -> dict[str, set[str]]:
    sqlite, keys = values["database"]["kind"] == "sqlite", values["keys"]
    sections = {
        "server": {"listen", "admin_listen", "drain_seconds"},
        "identity": {"trust_domain", "certificate_file", "private_key_file", "trust_bundle_file"},
        "telemetry": {"log"},
    }
    if service in OWNERS:
        sections["database"] = {"url" if sqlite else "url_file", "max_connections"}
        if values["authorization"]["policies"]:
            sections["authorization"] = {"policies"}
        sections["keys"] = KEYS | PROVIDERS[keys["provider"]] | {"database_url" if sqlite else "database_url_file"}
        if keys["provider"] == "file" and keys["file"]["passphrase"]:
            sections["keys"].add("passphrase_file")
        if keys["importServiceSecret"]:
            sections["keys"].add("import_service_secret_file")
    if UPSTREAMS[service]:
        sections["upstreams"] = UPSTREAMS[service]
    if service == "auth":
        sections["operator"] = {"email", "password_file"}
        sections["passwords"] = {snake(key) for key, value in values["passwords"].items() if value or key != "perSecond"}
        mail = values["mail"]
        if mail["host"]:
            sections["mail"] = {"transport", "sender", "public_url", "host", "port", "tls"}
            sections["mail"] |= {"user", "password_file"} if mail["user"] else set()
            sections["mail"] |= {"ca_file"} if mail["privateCa"] else set()
        sections["oauth"] = {"grants_per_minute", "questions_per_minute", "user_codes_per_minute"}
        sections["tokens"] = {"rotation_days"}
        if values["oauth"]["clientCaSecret"]:
            sections["oauth"] |= {"client_ca_file"}
        sections["totp"] = {"issuer"}
        if values["passkeys"]["rpId"]:
            sections["passkeys"] = {"rp_id", "rp_name", "origins"}
    if service == "consent":
        sections["decisions"] = {"source"}
        if values["consent"]["requestDays"]:
            sections["renewal"] = {"request_days"}
        organisation = values["consent"]["organisation"]
        if organisation["partyId"]:
            told = (key for key, value in organisation.items() if value)
            sections["organisation"] = {snake(key) for key in told}
    if service == "gateway":
        sections["edge"] = {"cors_origins", "trusted_proxies"}
        sections["edge"] |= {"public_url"} if values["edge"]["publicUrl"] else set()
        named = {kind for kind, key in (("ml_dsa", "mlDsaSecret"), ("ecdsa", "ecdsaSecret")) if values["edge"]["tls"][key]}
        if named:
            sections["edge_tls"] = {f"{kind}_{file}_file" for kind in named for file in ("certificate", "private_key")}
    return sections


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("name", ALL)
def test_exactly_the_keys(name, service):
    parsed = config(manifests(ALL[name]), service)
    values = chart().merge_values(ALL[name])
    assert {section: set(keys) for section, keys in parsed.items()} == expected_keys(service, values)


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("name", ALL)
def test_every_file_is_mounted(name, service):
    documents = manifests(ALL[name])
    spec = pod(documents, service)
    volumes = {volume["name"]: volume for volume in spec["volumes"]}
    (container,) = spec["containers"]
    mounted = set()
    for mount in container["volumeMounts"]:
        volume = volumes[mount["name"]]
        items = volume.get("secret", {}).get("items", [])
        mounted |= {f"{mount['mountPath']}/{item['path']}" for item in items}
        if "configMap" in volume:
            data = of_kind(documents, "ConfigMap")[volume["configMap"]["name"]]["data"]
            mounted |= {f"{mount['mountPath']}/{key}" for key in data}
    assert {mount["name"] for mount in container["volumeMounts"]} == set(volumes)

    assert container["command"] == ["/portal", service, "--config", "/etc/portal/config/config.toml"]
    assert container["command"][-1] in mounted
    parsed = config(documents, service)
    named = {value for keys in parsed.values() for key, value in keys.items() if key.endswith("_file")}
    if folder := parsed.get("authorization", {}).get("policies"):
        named |= {f"{folder}/{file}" for file in chart().merge_values(ALL[name])["authorization"]["policies"]}
    # And nothing is mounted that the configuration does not name.
    assert mounted - {container["command"][-1]} == named


@pytest.mark.parametrize("name", ALL)
def test_keys_and_data_are_in_two_databases(name):
    documents = manifests(ALL[name])
    for service in OWNERS:
        parsed = config(documents, service)
        data = parsed["database"].get("url") or parsed["database"]["url_file"]
        keys = parsed["keys"].get("database_url") or parsed["keys"]["database_url_file"]
        assert data != keys


@pytest.mark.parametrize("service", sorted(OWNERS))
@pytest.mark.parametrize("name", ["dev", "sqlite-persistent"])
def test_the_embedded_databases_are_on_a_writable_volume(name, service):
    documents = manifests(ALL[name])
    parsed = config(documents, service)
    urls = parsed["database"]["url"], parsed["keys"]["database_url"]
    path, beside = (pathlib.PurePosixPath(url.removeprefix("sqlite:")) for url in urls)
    assert (path.name, beside.name) == (f"{service}.db", f"{service}.keys.db")
    assert beside.parent == path.parent
    spec = pod(documents, service)
    (mount,) = (m for m in spec["containers"][0]["volumeMounts"] if m["mountPath"] == str(path.parent))
    assert not mount.get("readOnly", False)
    (volume,) = (v for v in spec["volumes"] if v["name"] == mount["name"])
    if name == "dev":
        assert "emptyDir" in volume
    else:
        claim = of_kind(documents, "PersistentVolumeClaim")[volume["persistentVolumeClaim"]["claimName"]]
        assert claim["spec"]["storageClassName"] == "fast"
        assert claim["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"


@pytest.mark.parametrize("release", ["portal", "other"])
def test_addresses_lead_to_services(release):
    documents = manifests({}, name=release)
    addresses = {
        service: f"{release}-{service}:{of_kind(documents, 'Service')[f'{release}-{service}']['spec']['ports'][0]['port']}"
        for service in SERVICES
    }
    for service in SERVICES:
        parsed = config(documents, service, release)
        for upstream, address in parsed.get("upstreams", {}).items():
            assert address == addresses[upstream]
        named = {p["name"]: p["containerPort"] for p in pod(documents, service, release)["containers"][0]["ports"]}
        assert parsed["server"]["listen"] == f"0.0.0.0:{named['grpc']}"
        assert parsed["server"]["admin_listen"] == f"0.0.0.0:{named['admin']}"


def test_a_proxy_is_told_how_to_speak_to_the_gateway():
    def protocol(values):
        (port,) = of_kind(manifests(values), "Service")["portal-gateway"]["spec"]["ports"]
        return port["appProtocol"]

    assert protocol({}) == "kubernetes.io/h2c"
    assert protocol(ALL["edge-tls"]) == protocol(ALL["edge-tls-ecdsa"]) == "https"


def test_each_certificate_comes_from_its_own_secret():
    documents = manifests(ALL["edge-tls"])
    spec = pod(documents, "gateway")
    secrets = {volume["name"]: volume["secret"]["secretName"] for volume in spec["volumes"] if "secret" in volume}
    places = {mount["mountPath"]: secrets.get(mount["name"]) for mount in spec["containers"][0]["volumeMounts"]}
    files = config(documents, "gateway")["edge_tls"]
    found = {key: places[file.rpartition("/")[0]] for key, file in files.items()}
    assert found == {
        "ml_dsa_certificate_file": "edge-pq",
        "ml_dsa_private_key_file": "edge-pq",
        "ecdsa_certificate_file": "edge-tls",
        "ecdsa_private_key_file": "edge-tls",
    }


def test_the_contract_of_ports():
    listens = {service: config(manifests({}), service)["server"]["listen"] for service in SERVICES}
    assert listens == {
        "auth": "0.0.0.0:3001",
        "consent": "0.0.0.0:3000",
        "gateway": "0.0.0.0:8080",
        "valuation": "0.0.0.0:3002",
    }


def test_values_arrive():
    values = {
        "trustDomain": "portal.example.org",
        "drainSeconds": 7,
        "telemetry": {"log": "info,portal=debug"},
        "database": {"maxConnections": 33},
        "keys": {
            "providerTimeoutSeconds": 3,
            "cacheTtlSeconds": 30,
            "epochDays": 3650,
            "disabledAlgorithms": ["ML-DSA-65+Ed25519", "XAES-256-GCM"],
        },
        "operator": {"email": "o'brien&co@example.org"},
        "passwords": {"memoryKib": 1048576, "perSecond": 1000000, "leastStrength": 0},
        "mail": {
            "host": "smtp.example.org",
            "port": 465,
            "tls": "implicit",
            "sender": "Portal <portal@example.org>",
            "publicUrl": "https://portal.example.org",
        },
        "edge": {
            "publicUrl": "https://portal.example.org:8443",
            "corsOrigins": ["https://a.example.org", "http://localhost:5173"],
            "trustedProxies": ["10.0.0.0/8", "2001:db8::/32"],
        },
    }
    documents = manifests(values)
    auth, gateway = config(documents, "auth"), config(documents, "gateway")
    assert auth["identity"]["trust_domain"] == "portal.example.org"
    assert auth["server"]["drain_seconds"] == 7
    assert auth["telemetry"]["log"] == "info,portal=debug"
    assert auth["database"]["max_connections"] == 33
    assert auth["keys"] == {
        "provider": "file",
        "root_key_file": "/etc/portal/keys/root-keys.json",
        "database_url_file": "/etc/portal/db/keys-url",
        "provider_timeout_seconds": 3,
        "cache_ttl_seconds": 30,
        "epoch_days": 3650,
        "disabled_algorithms": ["ML-DSA-65+Ed25519", "XAES-256-GCM"],
    }
    assert auth["operator"]["email"] == "o'brien&co@example.org"
    assert gateway["edge"]["cors_origins"] == values["edge"]["corsOrigins"]
    assert gateway["edge"]["public_url"] == "https://portal.example.org:8443"
    assert gateway["edge"]["trusted_proxies"] == values["edge"]["trustedProxies"]
    assert auth["passwords"] == {
        "memory_kib": 1048576,
        "iterations": 2,
        "parallelism": 1,
        "least_strength": 0,
        "account_per_minute": 30,
        "client_per_minute": 300,
        "per_second": 1000000,
    }
    assert auth["mail"] == {
        "transport": "smtp",
        "sender": "Portal <portal@example.org>",
        "public_url": "https://portal.example.org",
        "host": "smtp.example.org",
        "port": 465,
        "tls": "implicit",
    }
    # The process has its drain to itself before the node kills it.
    assert pod(documents, "gateway")["terminationGracePeriodSeconds"] > 7


def test_each_service_has_a_transit_key_of_its_own():
    vault = {"address": "https://vault.example.org:8200"}

    def transit(name, **more):
        documents = manifests({"keys": {"provider": "vault", "vault": vault | more}}, name=name)
        sections = {service: config(documents, service, name)["keys"] for service in OWNERS}
        places = {(keys["vault_address"], keys["vault_mount"]) for keys in sections.values()}
        return {service: keys["vault_key"] for service, keys in sections.items()}, places

    own = {service: f"other-{service}" for service in OWNERS}
    assert transit("other") == (own, {(vault["address"], "transit")})
    shared = dict.fromkeys(OWNERS, "portal_1.a")
    assert transit("other", key="portal_1.a", mount="teams/privacy") == (shared, {(vault["address"], "teams/privacy")})


@pytest.mark.parametrize("service", sorted(OWNERS))
def test_a_pod_has_its_own_keys_secret_and_no_other(service):
    def mounted(name):
        volumes = {volume["name"]: volume for volume in pod(manifests(ALL[name]), service)["volumes"]}
        secret = volumes["keys"]["secret"]
        assert all(item["key"] == item["path"] for item in secret["items"])
        return secret["secretName"], [item["key"] for item in secret["items"]]

    assert mounted("default") == (f"portal-{service}-keys", ["root-keys.json"])
    assert mounted("sealed-keyring")[1] == ["root-keys.json", "passphrase"]
    assert mounted("import")[1] == ["root-keys.json", "service-secret"]
    assert mounted("production")[1] == ["vault-token", "vault-ca.crt"]
    assert mounted("vault-sqlite")[1] == ["vault-token", "vault-ca.crt", "service-secret"]
    assert mounted("own-secrets")[0] == ("b" if service == "auth" else f"portal-{service}-keys")


def test_the_gateway_has_no_keys():
    documents = manifests({})
    assert "keys" not in config(documents, "gateway")
    assert {volume["name"] for volume in pod(documents, "gateway")["volumes"]} == {"config", "tls"}
