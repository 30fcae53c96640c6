"""A short run of each fuzzer, the same damage each time; and what the long ones (`python -m tests.fuzz`) have found."""

from collections.abc import Iterator
from random import Random

import pytest

from acmehub.models.problems import Problem, ProblemType
from acmehub.rules.csr import check_csr
from tests.fuzz.certificates import ACCOUNT, CHAIN, CSR, NAMES, A
from tests.fuzz.http import Server
from tests.fuzz.jws import JWS
from tests.fuzz.running import Target, as_in_production, fuzz
from tests.rules.certificates import alternative_names, common_name, extension, extension_list, raw_request, tlv

TLS_FEATURE = "1.3.6.1.5.5.7.1.24"
BIT_STRING = 0x03


@pytest.mark.parametrize(("target", "inputs"), [(JWS, 500), (CSR, 1000), (CHAIN, 500)], ids=["jws", "csr", "chain"])
def test_nothing_but_a_refusal_comes_of_damaged_input_and_quickly(target: Target, inputs: int) -> None:
    report = fuzz(target, inputs=inputs)
    assert report.findings == {}, report
    assert "taken" in report.outcomes  # the damage is such that not everything is refused at the door
    assert len(report.outcomes) > 5


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()


def test_the_server_answers_damaged_payloads_and_urls_with_no_500(server: Server) -> None:
    report = fuzz(server.target(), inputs=300)
    assert report.findings == {}, report
    assert {"201 ", "400 malformed", "400 badCSR"} <= set(report.outcomes)


@pytest.mark.parametrize("text", ['{"type":"","value":"a.corp.test"}', '{"type":"dns","value":"\x7fa.corp.test"}'])
def test_an_odd_identifier_is_told_in_json_that_every_client_can_read(server: Server, text: str) -> None:
    """Found by fuzzing: an empty string, and a control character, in the problem (docs/client-rules.md rule 17)."""
    for path, payload in (("new-authz", f'{{"identifier":{text}}}'), ("new-order", f'{{"identifiers":[{text}]}}')):
        assert server.take(f"/acme/{path}\n{payload}".encode()).startswith("400 ")


def test_the_fuzzer_tells_of_an_exception_and_of_an_input_that_takes_long() -> None:
    def take(data: bytes) -> str:
        if data[0] < 128:
            raise KeyError(data)
        return "taken"

    found = fuzz(Target("t", lambda chance: chance.randbytes(1), take, longest=0.0), inputs=50)
    assert any(what.startswith("KeyError at test_fuzz.py") for what in found.findings)
    assert "too slow" in found.findings


@pytest.mark.parametrize("number", [99, 2**23 - 1], ids=["a small one", "a large one"])
def test_a_csr_with_a_tls_feature_that_is_not_known_is_refused(number: int) -> None:
    """Found by fuzzing: `cryptography` raises KeyError, which came out as status 500."""
    feature = tlv(0x30, tlv(0x02, number.to_bytes(number.bit_length() // 8 + 1, "big")))
    refused(raw_request(extension_list(alternative_names(A.encode()), extension(TLS_FEATURE, feature))))


def test_a_csr_with_an_empty_list_of_tls_features_is_refused() -> None:
    refused(raw_request(extension_list(alternative_names(A.encode()), extension(TLS_FEATURE, tlv(0x30)))))


def test_a_csr_for_a_directory_name_that_is_a_bit_string_is_refused() -> None:
    """Found by fuzzing: a TypeError."""
    directory_name = tlv(0xA4, tlv(0x30, common_name(b"\0" + A.encode(), BIT_STRING)))
    names = extension("2.5.29.17", tlv(0x30, tlv(0x82, A.encode()), directory_name))
    refused(raw_request(extension_list(names)))


def refused(der: bytes) -> None:
    with as_in_production(), pytest.raises(Problem) as caught:
        check_csr(der, NAMES, ACCOUNT)
    assert caught.value.type is ProblemType.BAD_CSR
    assert caught.value.detail.isascii()


def test_an_input_is_the_same_for_the_same_seed() -> None:
    assert CHAIN.make(Random(7)) == CHAIN.make(Random(7))
