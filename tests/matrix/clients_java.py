"""Clients from Maven Central: a small program around acme4j, built by Maven into .run/matrix/java."""

import re

from tests.matrix import ways
from tests.matrix.contract import Client, Limit, Way
from tests.matrix.mains import BUILT, HERE, Main, build, missing

SOURCES = HERE / "java" / "acme4j"
TARGET = BUILT / "java" / "acme4j"
INSTALL = "apt-get install maven openjdk-17-jdk-headless"
ACME4J = Main(("java", "-XX:TieredStopAtLevel=1", "-cp", f"{TARGET}/classes:{TARGET}/lib/*", "matrix.Main"))
LIMIT = Limit(
    60,
    "it waits as long as its caller says: 60 s for each step in its example",
    "order.waitForCompletion(Duration.ofSeconds(300))",
    ways.one_name(ACME4J.issue(timeout=300)),
)


def version() -> str:
    found = re.search(r"acme4j-client</artifactId>\s*<version>([^<]+)", (SOURCES / "pom.xml").read_text())
    return found[1] if found else ""


CLIENTS = [
    Client(
        "acme4j",
        "Maven",
        version,
        missing=lambda: missing(TARGET / "classes" / "matrix" / "Main.class", SOURCES, "mvn", INSTALL),
        ways=[
            Way("library", ways.two_names(ACME4J.issue()), LIMIT),
            Way("wildcard", ways.wildcard(ACME4J.issue()), LIMIT),
            Way("no EAB", ways.one_name(ACME4J.issue(eab=False)), LIMIT),
            Way("profile", ACME4J.with_profile, LIMIT),
            Way("renewal", ways.renewal(ACME4J.issue(), ACME4J.renew()), LIMIT),
            Way("ARI renewal", ways.ari_renewal(ACME4J.issue(), ACME4J.renew("ari")), LIMIT),
            Way("revocation", ways.revocation(ACME4J.issue(), ACME4J.revoke), LIMIT),
            Way("key roll-over", ways.roll_over(ACME4J.issue(), ACME4J.roll, ACME4J.renew()), LIMIT),
        ],
        build=lambda: build(SOURCES, "mvn", "-B", "-q", "compile"),
    ),
]
