"""What the image consists of, as `make sbom` writes it."""

import json
import re
from typing import Any

import pytest
from packaging.requirements import Requirement

from tests.deploy.rendered import ROOT

pytestmark = pytest.mark.deploy


@pytest.fixture(scope="module")
def sbom() -> dict[str, Any]:
    """The bill of materials that `make check-deploy` has had written."""
    found: dict[str, Any] = json.loads((ROOT / "build/sbom.cdx.json").read_text())
    return found


def locked() -> dict[str, str]:
    """The packages of the image's lock file, less what this Python does not take."""
    text = (ROOT / "requirements/image.txt").read_text()
    lines = re.findall(r"^[a-z0-9][^\\\n]*", text, re.MULTILINE)
    asked = [Requirement(line.strip()) for line in lines]
    return {
        one.name: str(one.specifier).removeprefix("==")
        for one in asked
        if one.marker is None or one.marker.evaluate()
    }


def test_it_names_every_package_of_the_image_with_its_version_and_no_other(
    sbom: dict[str, Any],
) -> None:
    named = {
        re.sub(r"[._-]+", "-", one["name"]).lower(): one["version"] for one in sbom["components"]
    }

    assert named.pop("argocd-token-refresh")
    assert named == locked()


def test_it_is_cyclonedx_and_says_where_each_package_is_from(sbom: dict[str, Any]) -> None:
    assert sbom["bomFormat"] == "CycloneDX"
    others = [one for one in sbom["components"] if one["name"] != "argocd-token-refresh"]
    assert all(one["purl"].startswith("pkg:pypi/") for one in others)


@pytest.mark.parametrize("name", ["build", "run", "test", "image", "deploy"])
def test_every_locked_package_has_its_hashes(name: str) -> None:
    text = (ROOT / f"requirements/{name}.txt").read_text()
    pinned = re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE)[1:]

    assert pinned
    assert [one.split()[0] for one in pinned if "--hash=sha256:" not in one] == []
