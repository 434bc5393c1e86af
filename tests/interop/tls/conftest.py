"""The portal under test, served over TLS, and what it counted of handshakes."""

import os
import re
import sys
import urllib.request
from collections import Counter
from pathlib import Path
from urllib.parse import urlsplit

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "python"))

from generate import generate  # noqa: E402

NEEDED = ("PORTAL_URL", "PORTAL_ADMIN_URL", "PORTAL_CA_FILE", "PORTAL_DATA_DIR")
HANDSHAKE = re.compile(r"portal_tls_handshakes_total\{(.*)\} (\d+)")


def pytest_configure(config):
    missing = [name for name in NEEDED if not os.environ.get(name)]
    if missing or not os.environ["PORTAL_URL"].startswith("https://"):
        raise pytest.UsageError("run this by tests/tour/with_portal.py --tls")


@pytest.fixture(scope="session", autouse=True)
def generated(tmp_path_factory):
    with generate(tmp_path_factory.mktemp("stubs")) as out:
        yield out


@pytest.fixture(scope="session")
def port():
    return urlsplit(os.environ["PORTAL_URL"]).port


@pytest.fixture(scope="session")
def roots():
    return Path(os.environ["PORTAL_CA_FILE"])


def handshakes():
    """(outcome, version, group, signature) → how many, of the edge."""
    with urllib.request.urlopen(f"{os.environ['PORTAL_ADMIN_URL']}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    counted = Counter()
    for labels, value in HANDSHAKE.findall(text):
        told = dict(re.findall(r'(\w+)="([^"]*)"', labels))
        if told["listener"] == "edge":
            counted[tuple(told[key] for key in ("outcome", "version", "group", "signature"))] += int(value)
    return counted


@pytest.fixture
def agreed():
    """What the handshakes of a test agreed on, by a function that is called at its end."""
    before = handshakes()
    return lambda: set(handshakes() - before)
