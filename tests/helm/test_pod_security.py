"""Every pod passes the Pod Security Standard *restricted*, with a read-only root and no API token besides."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from rendering import ALL, SERVICES, manifests, of_kind, pod

ALLOWED_VOLUMES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}


def containers(spec: dict[str, Any]) -> list[dict[str, Any]]:
    return [c for key in ("initContainers", "containers", "ephemeralContainers") for c in spec.get(key, [])]


def violations(spec: dict[str, Any]) -> list[str]:
    """What the restricted profile (kubernetes.io, Pod Security Standards) and our own rules find wrong."""
    found = [f"host: {key}" for key in ("hostNetwork", "hostPID", "hostIPC") if spec.get(key)]
    found += [f"volume: {v['name']}" for v in spec.get("volumes", []) if not v.keys() - {"name"} <= ALLOWED_VOLUMES]
    if spec.get("automountServiceAccountToken") is not False:
        found.append("token")
    whole = spec.get("securityContext", {})
    found += ["sysctls"] if whole.get("sysctls") else []
    for container in containers(spec):
        own = container.get("securityContext", {})
        either = whole | own
        rules = {
            "privileged": not own.get("privileged", False),
            "escalation": own.get("allowPrivilegeEscalation") is False,
            "capabilities": own.get("capabilities", {}).get("drop") == ["ALL"]
            and set(own.get("capabilities", {}).get("add", [])) <= {"NET_BIND_SERVICE"},
            "root": either.get("runAsNonRoot") is True and either.get("runAsUser", 1) != 0,
            "seccomp": either.get("seccompProfile", {}).get("type") in {"RuntimeDefault", "Localhost"},
            "apparmor": either.get("appArmorProfile", {}).get("type") != "Unconfined",
            "selinux": not either.get("seLinuxOptions"),
            "proc": own.get("procMount", "Default") == "Default",
            "ports": not any(port.get("hostPort") for port in container.get("ports", [])),
            "read-only root": own.get("readOnlyRootFilesystem") is True,
            "limits": "memory" in container.get("resources", {}).get("limits", {}),
            "probes": {"livenessProbe", "readinessProbe", "startupProbe"} <= container.keys(),
        }
        found += [f"{container['name']}: {rule}" for rule, kept in rules.items() if not kept]
    return found


@pytest.mark.parametrize("name", ALL)
def test_every_pod_is_restricted(name):
    documents = manifests(ALL[name])
    checked = [d["spec"]["template"]["spec"] for d in documents if "template" in d.get("spec", {})]
    assert len(checked) == len(SERVICES)
    for spec in checked:
        assert violations(spec) == []
    # No workload slipped in by another kind, and no permissions.
    assert not {d["kind"] for d in documents} & {"Pod", "Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding"}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("hostNetwork", True),
        ("hostPID", True),
        ("automountServiceAccountToken", True),
        ("securityContext.runAsNonRoot", False),
        ("securityContext.runAsUser", 0),
        ("securityContext.seccompProfile.type", "Unconfined"),
        ("securityContext.sysctls", [{"name": "net.core.somaxconn", "value": "1"}]),
        ("volumes", [{"name": "host", "hostPath": {"path": "/"}}]),
        ("containers.0.securityContext.privileged", True),
        ("containers.0.securityContext.allowPrivilegeEscalation", True),
        ("containers.0.securityContext.readOnlyRootFilesystem", False),
        ("containers.0.securityContext.capabilities", {"drop": ["NET_RAW"]}),
        ("containers.0.securityContext.capabilities", {"drop": ["ALL"], "add": ["SYS_ADMIN"]}),
        ("containers.0.securityContext", {}),
        ("containers.0.resources", {}),
        ("containers.0.ports", [{"containerPort": 1, "hostPort": 1}]),
    ],
)
def test_the_check_can_refuse(path, value):
    spec = copy.deepcopy(pod(manifests({}), "auth"))
    *parents, last = path.split(".")
    node: Any = spec
    for key in parents:
        node = node[int(key)] if key.isdigit() else node[key]
    node[last] = value
    assert violations(spec) != []


def test_probes_ask_the_admin_port():
    for service in SERVICES:
        (container,) = pod(manifests({}), service)["containers"]
        assert {"name": "admin", "containerPort": 9464, "protocol": "TCP"} in container["ports"]
        paths = {probe: container[probe]["httpGet"] for probe in ("livenessProbe", "readinessProbe", "startupProbe")}
        assert paths == {
            "livenessProbe": {"path": "/livez", "port": "admin"},
            "readinessProbe": {"path": "/readyz", "port": "admin"},
            "startupProbe": {"path": "/livez", "port": "admin"},
        }


def test_each_service_has_its_own_account_without_a_token():
    documents = manifests({})
    accounts = of_kind(documents, "ServiceAccount")
    used = [pod(documents, service)["serviceAccountName"] for service in SERVICES]
    assert sorted(used) == sorted(accounts)
    assert all(account["automountServiceAccountToken"] is False for account in accounts.values())


def test_secrets_are_not_readable_by_the_world():
    documents = manifests({})
    for service in SERVICES:
        spec = pod(documents, service)
        assert spec["securityContext"]["fsGroup"] == spec["securityContext"]["runAsGroup"] == 65532
        modes = [volume["secret"]["defaultMode"] for volume in spec["volumes"] if "secret" in volume]
        assert modes and set(modes) == {0o440}
