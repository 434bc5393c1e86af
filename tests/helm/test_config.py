"""The rendered TOML has exactly the keys the services read, and each path and address in it leads somewhere."""

from __future__ import annotations

import pathlib

import pytest
from rendering import ALL, SERVICES, chart, config, manifests, of_kind, pod

OWNERS = {"auth", "consent", "valuation"}
UPSTREAMS = {
    "auth": set(),
    "consent": {"auth"},
    "gateway": {"auth", "consent", "valuation"},
    "valuation": {"auth", "consent"},
}


def expected_keys(service: str, sqlite: bool) -> dict[str, set[str]]:
    sections = {
        "server": {"listen", "admin_listen", "drain_seconds"},
        "identity": {"trust_domain", "certificate_file", "private_key_file", "trust_bundle_file"},
        "telemetry": {"log"},
    }
    if service in OWNERS:
        sections["database"] = {"url" if sqlite else "url_file", "max_connections"}
        sections["secrets"] = {"service_secret_file"}
    if UPSTREAMS[service]:
        sections["upstreams"] = UPSTREAMS[service]
    if service == "auth":
        sections["operator"] = {"email", "password_file"}
    if service == "gateway":
        sections["edge"] = {"cors_origins"}
    return sections


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("name", ALL)
def test_exactly_the_keys(name, service):
    parsed = config(manifests(ALL[name]), service)
    kind = chart().merge_values(ALL[name])["database"]["kind"]
    assert {section: set(keys) for section, keys in parsed.items()} == expected_keys(service, kind == "sqlite")


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
    # And nothing is mounted that the configuration does not name.
    assert mounted - {container["command"][-1]} == named


@pytest.mark.parametrize("service", sorted(OWNERS))
@pytest.mark.parametrize("name", ["dev", "sqlite-persistent"])
def test_the_embedded_database_is_on_a_writable_volume(name, service):
    documents = manifests(ALL[name])
    path = pathlib.PurePosixPath(config(documents, service)["database"]["url"].removeprefix("sqlite:"))
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
        "operator": {"email": "o'brien&co@example.org"},
        "edge": {"corsOrigins": ["https://a.example.org", "http://localhost:5173"]},
    }
    documents = manifests(values)
    auth, gateway = config(documents, "auth"), config(documents, "gateway")
    assert auth["identity"]["trust_domain"] == "portal.example.org"
    assert auth["server"]["drain_seconds"] == 7
    assert auth["telemetry"]["log"] == "info,portal=debug"
    assert auth["database"]["max_connections"] == 33
    assert auth["operator"]["email"] == "o'brien&co@example.org"
    assert gateway["edge"]["cors_origins"] == values["edge"]["corsOrigins"]
    # The process has its drain to itself before the node kills it.
    assert pod(documents, "gateway")["terminationGracePeriodSeconds"] > 7
