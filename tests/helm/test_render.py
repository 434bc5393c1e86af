"""The chart lints, renders the same bytes twice, and what it renders is valid Kubernetes."""

from __future__ import annotations

import copy
import os
import re

import helm_python
import kubernetes_validate
import pytest
from rendering import ALL, CHART, EXAMPLES, GOLDEN, SERVICES, chart, manifests, of_kind, pod, render

KUBERNETES = ("1.25", "1.30", "1.37")


@pytest.mark.parametrize("name", ALL)
def test_lint(name):
    report = helm_python.lint(CHART, ALL[name], strict=True, namespace="mesh")
    assert report["errors"] == []
    # 1 is information (there is no icon); 2 and 3 are warnings and errors.
    assert [message for message in report["messages"] if message["severity"] > 1] == []


@pytest.mark.parametrize("name", ALL)
def test_objects_are_valid(name):
    documents = manifests(ALL[name])
    for document in documents:
        # Toggles are variations: the newest schemas do.
        for version in KUBERNETES if name in EXAMPLES else KUBERNETES[-1:]:
            kubernetes_validate.validate(document, version, strict=True)
    assert len(of_kind(documents, "Deployment")) == len(SERVICES)
    assert "Secret" not in {document["kind"] for document in documents}


def test_validation_can_refuse():
    broken = copy.deepcopy(of_kind(manifests({}), "Deployment")["portal-auth"])
    broken["spec"]["template"]["spec"]["containers"][0]["imagePullPolice"] = "Always"
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, KUBERNETES[-1], strict=True)


@pytest.mark.parametrize("name", ALL)
def test_two_renders_are_identical(name):
    with helm_python.Chart.load(CHART) as again:
        other = again.render(ALL[name], name="portal", namespace="mesh")
    assert render(ALL[name]) == {path: text for path, text in sorted(other.items()) if text.strip()}


@pytest.mark.parametrize("name", EXAMPLES)
def test_golden(name):
    """UPDATE_GOLDEN=1 writes the files; their diff is reviewed."""
    text = "".join(f"# Source: {path}\n{body.strip(chr(10))}\n" for path, body in render(EXAMPLES[name]).items())
    golden = GOLDEN / f"{name}.yaml"
    if os.environ.get("UPDATE_GOLDEN") == "1":
        golden.parent.mkdir(parents=True, exist_ok=True)
        golden.write_text(text)
    assert golden.exists(), "no golden file: run with UPDATE_GOLDEN=1"
    assert text == golden.read_text(), "the render changed: look at it, then run with UPDATE_GOLDEN=1"


def test_every_example_file_is_tested():
    shipped = {path.name for path in CHART.glob("values*.yaml")}
    assert shipped == {"values.yaml", *(f"values-{name}.yaml" for name in EXAMPLES if name != "default")}


def test_two_releases_share_a_namespace():
    def keys(release):
        return {(document["kind"], document["metadata"]["name"]) for document in manifests({}, name=release)}

    assert not keys("one") & keys("two")
    one, two = (of_kind(manifests({}, name=name), "Deployment") for name in ("one", "two"))
    selectors = [str(d["spec"]["selector"]) for d in (*one.values(), *two.values())]
    assert len(set(selectors)) == 2 * len(SERVICES)


def test_the_longest_release_name_fits():
    release = "p" * 53
    for document in manifests({}, name=release):
        limit = 63 if document["kind"] == "Service" else 253
        assert len(document["metadata"]["name"]) <= limit
        assert all(len(value) <= 63 for value in document["metadata"]["labels"].values())


@pytest.mark.parametrize("release", ["1portal", "my.portal"])
def test_a_name_no_service_can_have_is_refused(release):
    with pytest.raises(helm_python.HelmRenderError, match="must start with a letter"):
        render({}, name=release)


def test_a_namespace_of_digits_stays_a_string():
    assert {document["metadata"]["namespace"] for document in manifests({}, namespace="42")} == {"42"}


@pytest.mark.parametrize("name", ALL)
def test_services_reach_their_pods(name):
    documents = manifests(ALL[name])
    services = of_kind(documents, "Service")
    for service in SERVICES:
        spec = services[f"portal-{service}"]["spec"]
        labels = of_kind(documents, "Deployment")[f"portal-{service}"]["spec"]["template"]["metadata"]["labels"]
        assert spec["selector"].items() <= labels.items()
        (port,) = spec["ports"]
        named = {p["name"]: p["containerPort"] for p in pod(documents, service)["containers"][0]["ports"]}
        # Headless: the caller dials the pod, so the Service's port has to be the container's.
        assert port["port"] == named[port["targetPort"]]
        assert (spec.get("clusterIP") == "None") == (service != "gateway")


def test_disruption_budgets_select_the_deployments():
    documents = manifests({})
    budgets = of_kind(documents, "PodDisruptionBudget")
    for name, deployment in of_kind(documents, "Deployment").items():
        assert budgets[name]["spec"]["selector"] == deployment["spec"]["selector"]
        assert budgets[name]["spec"]["maxUnavailable"] == 1


def test_a_changed_configuration_replaces_the_pods():
    def checksums(values):
        return {
            name: deployment["spec"]["template"]["metadata"]["annotations"]["checksum/config"]
            for name, deployment in of_kind(manifests(values), "Deployment").items()
        }

    before = checksums({})
    after = checksums({"edge": {"corsOrigins": ["https://app.example.org"]}})
    assert {name for name in before if before[name] != after[name]} == {"portal-gateway"}


def test_one_writer_per_embedded_database():
    for service in ("auth", "consent", "valuation"):
        spec = of_kind(manifests(EXAMPLES["dev"]), "Deployment")[f"portal-{service}"]["spec"]
        assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})


def test_image_by_tag_or_digest():
    def images(values):
        return {pod(manifests(values), service)["containers"][0]["image"] for service in SERVICES}

    assert images({}) == {f"portal:{chart().metadata['appVersion']}"}
    assert images({"image": {"tag": "1.2.3"}}) == {"portal:1.2.3"}
    digest = "sha256:" + "0f" * 32
    assert images({"image": {"tag": "1.2.3", "digest": digest}}) == {f"portal@{digest}"}


@pytest.mark.parametrize("name", ALL)
def test_notes_name_every_secret_that_is_mounted(name):
    notes = render(ALL[name])["portal/templates/NOTES.txt"]
    documents = manifests(ALL[name])
    for service in SERVICES:
        for volume in pod(documents, service)["volumes"]:
            if "secret" in volume:
                keys = ", ".join(item["key"] for item in volume["secret"]["items"])
                assert f"{volume['secret']['secretName']}: {keys}" in notes


@pytest.mark.parametrize("name", ALL)
def test_the_readme_makes_every_secret_that_is_mounted(name):
    text = (CHART / "README.md").read_text()
    documents = manifests(ALL[name])
    for service in SERVICES:
        for volume in pod(documents, service)["volumes"]:
            for item in volume.get("secret", {}).get("items", []):
                key = re.escape(item["key"])
                assert re.search(rf'--from-file="?({key}=|\./\S*/{key}["`\n ])', text), item["key"]
