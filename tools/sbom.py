"""What is in a wheel, as a CycloneDX document: `sbom.py FILE`.

That is zchttpd and the liburing that tools/liburing builds into it, with the checksum of its source; and what
pip installs beside it. Exit status: 0 written.
"""

from __future__ import annotations

import os
import re
import sys
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from uuid import NAMESPACE_URL, uuid5

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import ExternalReference, ExternalReferenceType, HashAlgorithm, HashType, XsUri
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentScope, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

TOP = Path(__file__).resolve().parents[1]


def liburing() -> Component:
    """The library inside."""
    pinned = dict(re.findall(r"^(\w+)=(\S+)$", (TOP / "tools" / "liburing").read_text(), re.MULTILINE))
    version = pinned["version"]
    source = ExternalReference(
        type=ExternalReferenceType.SOURCE_DISTRIBUTION,
        url=XsUri(pinned["url"].replace("$version", version)),
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=pinned["sum"])],
    )
    return Component(
        type=ComponentType.LIBRARY,
        name="liburing",
        version=version,
        bom_ref="liburing",
        scope=ComponentScope.REQUIRED,
        purl=PackageURL("github", "axboe", "liburing", f"liburing-{version}"),
        licenses=[LicenseFactory().make_from_string("MIT")],
        external_references=[source],
    )


def main() -> int:
    """Write the document."""
    project = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]
    name, version = project["name"], project["version"]
    itself = Component(
        type=ComponentType.APPLICATION,
        name=name,
        version=version,
        bom_ref=name,
        description=project["description"],
        purl=PackageURL("pypi", None, name, version),
        licenses=[LicenseFactory().make_from_string(project["license"])],
    )
    beside = [re.split(r"[^\w.-]", line, maxsplit=1)[0] for line in project["dependencies"]]
    parts = [liburing()]
    parts += [
        Component(name=each, bom_ref=each, scope=ComponentScope.REQUIRED, purl=PackageURL("pypi", None, each))
        for each in beside
    ]
    bom = Bom(components=parts, serial_number=uuid5(NAMESPACE_URL, f"pkg:pypi/{name}@{version}"))
    bom.metadata.component = itself
    # The same commit gives the same bytes.
    bom.metadata.timestamp = datetime.fromtimestamp(int(os.environ["SOURCE_DATE_EPOCH"]), UTC)
    bom.register_dependency(itself, parts)
    JsonV1Dot6(bom).output_to_file(sys.argv[1], allow_overwrite=True, indent=2)
    return 0


if __name__ == "__main__":
    sys.exit(main())
