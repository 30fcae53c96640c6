"""Backups on file systems of other kinds, tokens with conditions, rows that are gone: what the services say then."""

import errno
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace

from acmehub.admin.access.errors import Refused
from acmehub.admin.operations.backup_file import new_backup
from acmehub.admin.operations.check import _disabled
from acmehub.admin.operations.check_results import NameCheck
from acmehub.admin.operations.moving import _put
from acmehub.admin.operations.orders import _refuse_finished
from acmehub.admin.operations.requesters import anybody, refusal_of, warning_of
from acmehub.admin.resources.profiles import _problem
from acmehub.admin.resources.rows import MAX_VALUE, _brief
from acmehub.dns01 import Explanation
from acmehub.models import Authority, AuthorizationMode, ManagedChallenge, Order, OrderStatus, Profile, Stage
from acmehub.models.tokens import TokenLimits
from acmehub.ports.copying import OtherSchema

NOW = datetime(2026, 11, 28, tzinfo=UTC)


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOTSUP])
def test_a_backup_gets_its_name_on_a_file_system_without_hard_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def link(*_arguments: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("acmehub.admin.operations.backup_file.os.link", link)
    with new_backup(tmp_path / "hub.backup", force=False) as writer:
        writer.drop()
    assert [item.name for item in tmp_path.iterdir()] == ["hub.backup"]


def test_a_backup_that_gets_no_name_is_refused_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def link(*_arguments: object) -> None:
        raise OSError(errno.EIO, "input/output error")

    monkeypatch.setattr("acmehub.admin.operations.backup_file.os.link", link)
    with (
        pytest.raises(Refused, match="cannot be written: input/output error"),
        new_backup(tmp_path / "hub.backup", force=False) as writer,
    ):
        writer.drop()
    assert list(tmp_path.iterdir()) == []


def test_a_backup_without_a_name_is_refused() -> None:
    with pytest.raises(Refused, match="name a file"), new_backup(Path("/"), force=True):
        pass


async def test_a_storage_of_another_version_takes_no_copy() -> None:
    class Another:
        async def import_rows(self, *_arguments: object) -> None:
            raise OtherSchema("it is newer")

    with pytest.raises(Refused, match=r"^the target: it is newer$"):
        await _put(Another(), "the target", (), None, ())  # type: ignore[arg-type]


@pytest.mark.parametrize(("status", "words"), [(OrderStatus.VALID, "is valid"), (OrderStatus.INVALID, "is invalid")])
def test_a_finished_order_is_not_changed(status: OrderStatus, words: str) -> None:
    order = Order(
        account_id="a",
        token_id="t",
        principal_id="p",
        authority_id="ca",
        identifiers=(),
        name_set="",
        mode=AuthorizationMode.PREAPPROVED,
        stage=Stage.DONE,
        status=status,
        expires=NOW,
        deadline=NOW,
        created=NOW,
    )
    with pytest.raises(Refused, match=f"the order {words}.* it cannot be cancelled"):
        _refuse_finished(order, "cancelled")
    _refuse_finished(replace(order, status=OrderStatus.READY), "cancelled")


def test_what_a_token_refuses_and_warns_of() -> None:
    requester = anybody(NOW)
    assert (refusal_of(requester, 1, NOW), warning_of(requester, NOW)) == ("", "")
    token = replace(requester.token, networks=("192.0.2.0/24", "2001:db8::/32"))
    near = replace(requester, token=token)
    assert warning_of(near, NOW) == "binds accounts from 192.0.2.0/24, 2001:db8::/32 only"
    token = replace(requester.token, expires=NOW - timedelta(days=1))
    assert refusal_of(replace(requester, token=token), 1, NOW) == "token 'any' has expired, and has bound no account"
    used = replace(requester, token=replace(token, uses=2))
    assert refusal_of(used, 1, NOW) == ""
    assert warning_of(used, NOW).startswith("has expired: accounts that it has bound (2) may order")
    for name in ("names", "token_names"):
        limited = replace(requester, token=replace(requester.token, limits=TokenLimits(**{name: 2})))
        assert refusal_of(limited, 2, NOW) == ""
        assert refusal_of(limited, 3, NOW) == f"token 'any' has the limit {name} = 2, and the order has 3 names"
    off = replace(requester, principal=replace(requester.principal, enabled=False))
    assert refusal_of(off, 1, NOW) == "principal 'anybody' is disabled"


def test_what_is_wrong_with_a_profile() -> None:
    authority = Authority(name="ca", plugin="ca_acme", sealed_settings=b"", created=NOW)
    profile = Profile(name="short", description="", created=NOW)
    assert _problem(profile, None) == ""
    led = replace(profile, authority_id=authority.id)
    assert _problem(led, None) == "its authority is gone"
    assert _problem(led, authority) == ""
    assert _problem(led, replace(authority, enabled=False)) == "its authority 'ca' is disabled"


def test_a_name_is_good_when_nothing_speaks_against_it() -> None:
    check = NameCheck(name="www.corp.test")
    assert check.good
    assert replace(check, dns=Explanation(name="www.corp.test")).good
    assert not replace(check, dns=Explanation(name="www.corp.test", error="SERVFAIL")).good
    assert not replace(check, refusal="no").good
    assert not replace(check, rehearsal_error="no").good


def test_a_disabled_managed_challenge_that_covers_a_name_is_named() -> None:
    rows = [
        ManagedChallenge(name="on", plugin="p", match="a.corp.test", sealed_settings=b"", created=NOW),
        ManagedChallenge(name="else", plugin="p", match="b.test", enabled=False, sealed_settings=b"", created=NOW),
        ManagedChallenge(name="off", plugin="p", match="*.corp.test", enabled=False, sealed_settings=b"", created=NOW),
    ]
    assert _disabled(rows, "a.corp.test") == "off"
    assert _disabled(rows[:2], "a.corp.test") == ""


def test_a_value_in_the_audit_is_shown_up_to_its_limit() -> None:
    assert _brief("x" * (MAX_VALUE - 2)) == f'"{"x" * (MAX_VALUE - 2)}"'
    assert _brief("x" * (MAX_VALUE - 1)) == f'"{"x" * (MAX_VALUE - 1)}...'
