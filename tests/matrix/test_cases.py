"""How the matrix judges: what excuses a client, and what does not."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, cast

import pytest

from acmehub.testing.hub_process import HubProcess
from tests.matrix import clients_old
from tests.matrix.__main__ import main
from tests.matrix.cases import Case, Outcome, Result, not_run, run_case
from tests.matrix.clients_sources import VARIABLE
from tests.matrix.contract import Act, Client, Limit, Speed, Way
from tests.matrix.device import Around, ClientFailed, Device
from tests.matrix.table import tables

CREDENTIALS = {"directory": "https://hub.test/acme/directory", "kid": "k", "hmac_key": "h"}


class World(NamedTuple):
    hub: HubProcess


def passes(device: Device) -> None:
    device.certificates += 1


def fails(_device: Device) -> None:
    raise ClientFailed("timed out")


def gets_nothing(_device: Device) -> None:
    return None


@pytest.fixture
def judged(tmp_path: Path) -> Callable[[Act, Limit | None, Speed], Result]:
    folders = iter(tmp_path / str(number) for number in range(9))

    def judge(act: Act, limit: Limit | None, speed: Speed) -> Result:
        client = Client("thing", "here", lambda: "1.0", lambda: "", [Way("way", act, limit)])
        around = cast(Around, World(HubProcess(tmp_path / "hub")))
        return run_case(
            Case(client, client.ways[0], speed),
            lambda: Device(around, next(folders), "host.test", CREDENTIALS, 10.0),
            "1.0",
        )

    return judge


LIMIT = Limit(0.0, "30 s for an answer", "--patience 300", passes)


def test_a_limit_of_its_own_excuses_a_client_at_170_s_when_its_setting_cures_it(
    judged: Callable[[Act, Limit | None, Speed], Result],
) -> None:
    result = judged(fails, LIMIT, Speed.SLOW_170)
    assert (result.outcome, result.words, result.setting) == (Outcome.IMPOSSIBLE, LIMIT.words, LIMIT.setting)
    assert "passes with `--patience 300`" in tables([result])


@pytest.mark.parametrize("speed", [Speed.FAST, Speed.SLOW_60])
def test_no_limit_excuses_a_client_sooner(judged: Callable[[Act, Limit | None, Speed], Result], speed: Speed) -> None:
    assert judged(fails, LIMIT, speed).outcome is Outcome.FAILED


def test_a_client_that_fails_before_its_limit_has_failed(
    judged: Callable[[Act, Limit | None, Speed], Result],
) -> None:
    result = judged(fails, Limit(60.0, "a minute", "--patience 300", passes), Speed.SLOW_170)
    assert result.outcome is Outcome.FAILED
    assert "before its own limit" in result.words


def test_a_setting_that_does_not_cure_is_a_failure(judged: Callable[[Act, Limit | None, Speed], Result]) -> None:
    result = judged(fails, Limit(0.0, "a minute", "--patience 300", fails), Speed.SLOW_170)
    assert result.outcome is Outcome.FAILED
    assert "not even with --patience 300" in result.words


@pytest.mark.parametrize("act", [fails, gets_nothing])
def test_without_a_certificate_a_way_has_failed(judged: Callable[[Act, Limit | None, Speed], Result], act: Act) -> None:
    result = judged(act, None, Speed.SLOW_170)
    assert result.outcome is Outcome.FAILED
    assert "**failed**" in tables([result])


def test_a_command_that_hangs_is_ended(tmp_path: Path) -> None:
    around = cast(Around, World(HubProcess(tmp_path / "hub")))
    device = Device(around, tmp_path / "device", "host.test", CREDENTIALS, 0.5)
    with pytest.raises(ClientFailed, match="not done after"):
        device.shell("echo working; sleep 60 & wait")
    assert "working" in device.last_lines()


def test_a_client_that_this_machine_cannot_run_has_rows_that_say_so() -> None:
    client = Client("thing", "here", lambda: "1.0", lambda: "", [Way("way", fails)], unfit=lambda: "Python 3.11 alone")
    results = not_run(client, [*Speed])
    assert {result.outcome for result in results} == {Outcome.NOT_RUN}
    assert "| thing | 1.0 | way | – | – | – | not run: Python 3.11 alone |" in tables(results)


@pytest.mark.parametrize(("version", "words"), [((3, 11), ""), ((3, 13), "Python 3.11 alone runs it; here is 3.13")])
def test_certbot_1_is_run_on_python_3_11_only(
    monkeypatch: pytest.MonkeyPatch, version: tuple[int, int], words: str
) -> None:
    monkeypatch.setattr("sys.version_info", version)
    assert [client.unfit() for client in clients_old.CLIENTS] == [words, words]


def test_clients_from_source_are_there_when_it_is_said_where(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["--list", "--client", "nginx-acme", "--client", "OpenBSD", "--client", "getssl"]
    monkeypatch.delenv(VARIABLE, raising=False)
    assert main(asked) == 0
    assert capsys.readouterr().out.strip() == ""
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    assert main(asked) == 0
    told = capsys.readouterr().out
    for folders in ("nginx, nginx-acme", "acme-client-portable", "getssl"):
        assert f"{VARIABLE} has no {folders}\n" in told
