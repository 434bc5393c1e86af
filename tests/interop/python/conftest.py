"""The portal under test, the stubs made from `proto/`, and the people of the story."""

import os
import uuid
from pathlib import Path
from urllib.parse import urlsplit

import grpc
import pytest

from generate import generate
from stubs import Person, Portal, Study


def pytest_configure(config):
    missing = [name for name in ("PORTAL_URL", "PORTAL_OPERATOR_PASSWORD_FILE") if not os.environ.get(name)]
    if missing:
        raise pytest.UsageError(f"set {' and '.join(missing)} (or run this by tests/tour/with_portal.py)")


@pytest.fixture(scope="session", autouse=True)
def generated(tmp_path_factory):
    with generate(tmp_path_factory.mktemp("stubs")) as out:
        yield out


@pytest.fixture(scope="session")
def channel():
    with grpc.insecure_channel(urlsplit(os.environ["PORTAL_URL"]).netloc) as channel:
        yield channel


@pytest.fixture(scope="session")
def portal(channel, generated):
    return Portal(channel)


@pytest.fixture(scope="session")
def operator(portal) -> Person:
    password = Path(os.environ["PORTAL_OPERATOR_PASSWORD_FILE"]).read_text().strip()
    return Person(portal, "operator@portal.local", password).sign_in()


@pytest.fixture(scope="session")
def controller(portal, operator) -> Person:
    controller = new_person(portal, "controller")
    account = operator.accounts.SetRoles(account_id=controller.account_id, roles=["controller"])
    assert set(account.roles) == {"subject", "controller"}
    return controller.sign_in()


@pytest.fixture(scope="session")
def study(controller) -> Study:
    """Two published purposes, and the published notice that explains them."""
    return Study.publish(controller)


@pytest.fixture
def person(portal):
    """Registers someone new under a name."""
    return lambda name: new_person(portal, name).sign_in()


def new_person(portal, name) -> Person:
    tag = uuid.uuid4().hex[:12]
    return Person(portal, f"{name}-{tag}@example.org", f"{name} has a long password {tag}").register(name.title())
