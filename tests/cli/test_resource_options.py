"""Options made from fields: a new field has them without another line, and they say what is meant."""

from datetime import datetime
from typing import Annotated, Any

import click
import msgspec
import pytest
from click.testing import CliRunner

from acmehub.admin.resources.fields import described, patch_of
from acmehub.admin.resources.principals import NewPrincipal, PrincipalPatch
from acmehub.admin.resources.profiles import NewProfile, ProfilePatch
from acmehub.admin.resources.tokens import NewToken, TokenPatch
from acmehub.cli.shared.resource_options import add_options, new_of, other_fields, patch_from, set_options
from acmehub.models import AuthorizationMode, PrincipalType, Role, RoleAssignment

AUDITOR = RoleAssignment(Role.AUDITOR, ("a",))


class Labelled(NewPrincipal, frozen=True, kw_only=True):
    label: Annotated[str | None, described("A label.", change="Another label.", clear="No label.")] = None


def options_of(decorator: Any, *arguments: str) -> dict[str, Any]:
    """What a command with these options is given."""
    given: dict[str, Any] = {}

    def command(**options: Any) -> None:
        given.update(options)

    done = CliRunner().invoke(click.command()(decorator(command)), arguments)
    assert done.exit_code == 0, done.output
    return given


def changed(patch: Any, new: type[msgspec.Struct], *arguments: str) -> dict[str, Any]:
    """What `set` changes with these arguments."""
    result: dict[str, Any] = patch_from(patch, new, options_of(set_options(new), "x", *arguments)).given()
    return result


def test_a_new_field_has_its_options() -> None:
    assert new_of(Labelled, options_of(add_options(Labelled), "x", "--label", "y")).label == "y"
    patch = patch_of("LabelledPatch", Labelled)
    assert changed(patch, Labelled, "--label", "y") == {"label": "y"}
    assert changed(patch, Labelled, "--label", "") == {"label": None}
    assert changed(patch, Labelled, "--no-label") == {"label": None}
    item = Labelled(name="x", label="y")
    known = ("name", "type", "roles", "enabled", "profiles", "tags")
    assert other_fields(item, *known) == [("label", "y")]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), {}),
        (("--name", "y"), {"name": "y"}),
        (("--name", ""), {}),
        (("--type", "user"), {"type": PrincipalType.USER}),
        (("--role", "auditor:a", "--role", "operator"), {"roles": (AUDITOR, RoleAssignment(Role.OPERATOR))}),
        (("--no-roles",), {"roles": ()}),
        (("--no-roles", "--role", "operator"), {"roles": (RoleAssignment(Role.OPERATOR),)}),
        (("--disable",), {"enabled": False}),
        (("--enabled",), {"enabled": True}),
    ],
)
def test_what_set_changes_of_a_principal(arguments: tuple[str, ...], expected: dict[str, Any]) -> None:
    assert changed(PrincipalPatch, NewPrincipal, *arguments) == expected


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--description", ""), {"description": ""}),
        (("--authority", ""), {"authority": ""}),
        (("--upstream-profile", ""), {"upstream_profile": None}),
        (("--lifetime-days", "3"), {"lifetime_days": 3}),
        (("--no-lifetime",), {"lifetime_days": None}),
        (("--key-type", "RSA"), {"key_types": ("RSA",)}),
        (("--no-key-types",), {"key_types": ()}),
    ],
)
def test_what_set_changes_of_a_profile(arguments: tuple[str, ...], expected: dict[str, Any]) -> None:
    assert changed(ProfilePatch, NewProfile, *arguments) == expected


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--names", ""), {"names": ""}),
        (("--scope", "auditor"), {"scope": (Role.AUDITOR,)}),
        (("--authorization", "accept"), {"authorization": AuthorizationMode.ACCEPT}),
        (("--no-use-limit", "--use-limit", "3"), {"use_limit": None}),
        (("--no-expires",), {"expires": None}),
        (("--secret-directory",), {"secret_directory": True}),
        (("--no-secret-directory",), {"secret_directory": False}),
        (("--no-networks",), {"networks": ()}),
    ],
)
def test_what_set_changes_of_a_token(arguments: tuple[str, ...], expected: dict[str, Any]) -> None:
    assert changed(TokenPatch, NewToken, *arguments) == expected


def test_an_option_that_is_not_given_leaves_the_default() -> None:
    assert new_of(NewToken, options_of(add_options(NewToken), "x"), principal="p") == NewToken(title="x", principal="p")
    given = options_of(add_options(NewToken), "x", "--expires", "2099-01-01", "--disabled", "--network", "192.0.2.0/24")
    made = new_of(NewToken, given, principal="p")
    assert (made.enabled, made.networks) == (False, ("192.0.2.0/24",))
    assert isinstance(made.expires, datetime)
