"""Issued chains against their order, before it turns valid: docs/reliability.md 2.7 and F25."""

import base64
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given
from hypothesis import strategies as st

from acmehub.models.identifiers import Identifier
from acmehub.rules.chains import MAX_CHAIN, ChainMismatch, Issuers, Leaf, check_leaf, serial_of, serial_text
from acmehub.rules.csr import CheckedCsr, check_csr
from acmehub.testing.fake_ca import FakeCa
from tests.rules.certificates import (
    ca_certificate,
    certificate,
    common_names,
    dns_names,
    leaf_certificate,
    pem,
    request,
)
from tests.rules.samples import NOW, ec_key, rsa_key

A, B = "a.corp.test", "*.a.corp.test"
CSR = request(A)
CA = ca_certificate()
LEAF = leaf_certificate(A)
CHAIN = pem(LEAF, CA)


def check(chain: str = CHAIN, *names: str, csr: bytes | CheckedCsr = CSR, **fields: Any) -> Leaf:
    identifiers = [Identifier("dns", name) for name in names or (A,)]
    return check_leaf(chain, csr, identifiers, NOW, **fields)


def assert_mismatch(chain: str, word: str, *names: str, **fields: Any) -> ChainMismatch:
    with pytest.raises(ChainMismatch) as caught:
        check(chain, *names, **fields)
    assert word in caught.value.detail
    assert str(caught.value) == caught.value.detail
    return caught.value


# ------------------------------------------------------------------------------------------------ what is taken


def test_control_characters_in_the_name_of_an_issuer_are_escaped() -> None:
    forging = FakeCa(NOW, "CA\x1b[2J\nforged \u202e\x9b")
    leaf = check(forging.chains(CSR, [A], NOW)[0])
    assert leaf.issuer == "CN=CA\\x1b[2J\\x0aforged \\u202e\\x9b X1"


def test_a_right_chain_tells_what_is_kept_of_it() -> None:
    leaf = check()
    assert (leaf.serial, leaf.issuer, leaf.names) == ("0abc", "CN=Issuing CA", (A,))
    assert (leaf.not_before, leaf.not_after) == (NOW - timedelta(hours=1), NOW + timedelta(days=90))
    assert leaf.chain == CHAIN
    checked = check_csr(CSR, [Identifier("dns", A)], b"")
    assert leaf.spki_sha256 == checked.spki_sha256
    assert check(csr=checked) == leaf


@pytest.mark.parametrize(
    ("leaf", "names"),
    [
        (leaf_certificate(A, B), [A, B]),
        (leaf_certificate(B, A), [A, B]),
        (leaf_certificate(A.upper()), [A]),
        (leaf_certificate(A), [A.upper()]),
        (leaf_certificate(A, cn=[A]), [A]),
    ],
)
def test_names_are_compared_as_sets_in_lower_case(leaf: x509.Certificate, names: list[str]) -> None:
    assert check(pem(leaf, CA), *names).names == tuple(sorted(name.lower() for name in names))


@pytest.mark.parametrize("around", ["subject=/CN=x\n", "\r\n\r\n", "# comment\n"])
def test_text_around_the_certificates_is_dropped(around: str) -> None:
    noisy = f"{around}{pem(LEAF)}{around}{pem(CA)}{around}"
    assert check(noisy).chain == CHAIN
    assert check(CHAIN.replace("\n", "\r\n")).chain == CHAIN


@pytest.mark.parametrize("key", [ec_key("ES384", 7), rsa_key()], ids=["P-384", "RSA"])
def test_other_kinds_of_keys_fit_as_well(key: Any) -> None:
    check(pem(leaf_certificate(A, key=key), CA), csr=request(A, key=key))


def test_other_extensions_of_the_leaf_are_the_cas_affair() -> None:
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
    no_ca = x509.BasicConstraints(ca=False, path_length=None)
    check(pem(leaf_certificate(extensions=[no_ca, usage, dns_names(A)]), CA))


def test_a_longer_chain_and_a_root_in_it_are_taken() -> None:
    root_extensions = [x509.BasicConstraints(ca=True, path_length=None)]
    root_key = ec_key("ES256", 9)
    root = certificate(common_names("Root"), root_key.public_key(), common_names("Root"), root_key, root_extensions)
    assert check(pem(LEAF, CA, root)).chain == pem(LEAF, CA, root)


@pytest.mark.parametrize("hours", [-2, 2])
def test_a_ca_whose_clock_is_two_hours_off_is_taken(hours: int) -> None:
    begins = NOW + timedelta(hours=hours)
    check(pem(leaf_certificate(A, begins=begins, ends=begins + timedelta(days=6)), CA))


# ----------------------------------------------------------------------------------------------- what is refused


def test_a_certificate_for_another_key_is_refused() -> None:
    wrong = leaf_certificate(A, key=ec_key("ES256", 1))
    caught = assert_mismatch(pem(wrong, CA), "another key")
    assert caught.leaf is not None
    assert serial_of(caught.leaf) == serial_text(wrong.serial_number)
    assert assert_mismatch(pem(leaf_certificate(A)), "alone").leaf is None


@pytest.mark.parametrize(
    ("leaf", "names", "word"),
    [
        (leaf_certificate(A, B), [A], f"for {B}, {A}"),
        (leaf_certificate(A), [A, B], f"ordered was {B}, {A}"),
        (leaf_certificate(B), [A], B),
        (leaf_certificate(), [A], "no name"),
        (leaf_certificate(A, cn=["evil.test"]), [A], "evil.test"),
        (leaf_certificate(f"{A}.", A), [A], f"{A}."),
    ],
)
def test_other_names_than_those_of_the_order_are_refused(leaf: x509.Certificate, names: list[str], word: str) -> None:
    assert_mismatch(pem(leaf, CA), word, *names)


def test_names_of_another_kind_are_refused() -> None:
    both = x509.SubjectAlternativeName([x509.DNSName(A), x509.RFC822Name("a@corp.test")])
    assert_mismatch(pem(leaf_certificate(extensions=[both]), CA), "other alternative names")


def test_the_leaf_alone_is_refused_unless_allowed() -> None:
    assert_mismatch(pem(LEAF), "alone")
    assert check(pem(LEAF), allow_leaf_only=True).chain == pem(LEAF)


def test_the_ca_certificate_alone_or_first_is_refused() -> None:
    for chain in (pem(CA), pem(CA, LEAF)):
        assert_mismatch(chain, "a CA's" if chain else "")


def test_certificates_that_do_not_link_up_are_refused() -> None:
    stranger = ca_certificate(key=ec_key("ES256", 2))
    named = ca_certificate("Other CA")
    end_entity = ca_certificate(extensions=[])
    assert_mismatch(pem(LEAF, stranger), "certificate 1 of the chain is not issued by the next one")
    assert_mismatch(pem(LEAF, named), "certificate 1 of the chain is not issued by the next one")
    assert_mismatch(pem(LEAF, end_entity), "certificate 2 of the chain is not a CA's")
    assert_mismatch(pem(LEAF, CA, CA), "certificate 2 of the chain is not issued")
    assert_mismatch(pem(LEAF, LEAF), "certificate 2 of the chain is not a CA's")


def test_dates_out_of_range_are_refused() -> None:
    late = leaf_certificate(A, begins=NOW + timedelta(hours=4))
    over = leaf_certificate(A, begins=NOW - timedelta(days=2), ends=NOW)
    old_ca = ca_certificate(begins=NOW - timedelta(days=2), ends=NOW - timedelta(seconds=1))
    assert_mismatch(pem(late, CA), "not valid before")
    assert_mismatch(pem(over, CA), "certificate 1 of the chain was valid until")
    assert_mismatch(pem(LEAF, old_ca), "certificate 2 of the chain was valid until")
    assert_mismatch(pem(leaf_certificate(A, begins=NOW + timedelta(minutes=2)), CA), "not valid", skew=timedelta(0))


@pytest.mark.parametrize(
    ("chain", "word"),
    [
        ("", "no chain"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "no chain"),
        ("x" * (MAX_CHAIN + 1), "larger"),
        (CHAIN + "x" * 5_000_000, "larger"),
        (CHAIN + "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "private key"),
        (CHAIN + pem(CA) * 10, "at most 10"),
        ("\ud800" + CHAIN, "no chain"),
    ],
    ids=["empty", "rubbish", "large", "5 MB", "private key", "many", "surrogate"],
)
def test_what_is_no_sensible_chain_is_refused(chain: str, word: str) -> None:
    assert_mismatch(chain, word)


@pytest.mark.parametrize("key", [ed25519.Ed25519PrivateKey.generate(), ec.generate_private_key(ec.SECP256K1())])
def test_a_leaf_with_a_key_of_a_kind_that_no_csr_can_have_is_refused(key: Any) -> None:
    assert_mismatch(pem(leaf_certificate(A, key=key), CA), "not supported")


def test_a_certificate_of_another_version_is_refused() -> None:
    der = LEAF.public_bytes(Encoding.DER)
    odd = base64.encodebytes(der.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x3e", 1)).decode()
    assert_mismatch(f"-----BEGIN CERTIFICATE-----\n{odd}-----END CERTIFICATE-----\n{pem(CA)}", "version")


def test_extensions_that_cannot_be_read_are_refused() -> None:
    twice = x509.UnrecognizedExtension(x509.SubjectAlternativeName.oid, b"\x30\x03\x82\x05a")
    assert_mismatch(pem(leaf_certificate(extensions=[twice]), CA), "cannot be read")


@given(st.text(max_size=200))
def test_any_text_is_a_mismatch_and_nothing_else(chain: str) -> None:
    assert_mismatch(chain, "")


@given(st.data())
def test_a_good_chain_with_a_byte_changed_is_a_mismatch_or_the_same(data: st.DataObject) -> None:
    body = bytearray(CHAIN.encode())
    body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(32, 126))
    try:
        leaf = check(body.decode())
    except ChainMismatch:
        return
    assert leaf.chain.startswith(pem(LEAF))


@pytest.mark.parametrize(("number", "text"), [(0, "00"), (10, "0a"), (0xABC, "0abc"), (2**64, "010000000000000000")])
def test_serials_are_whole_bytes_in_lower_case(number: int, text: str) -> None:
    assert serial_text(number) == text


# ---------------------------------------------------------------------------------------------- remembered issuers


def test_what_stands_above_a_leaf_is_read_once_and_checked_against_each_leaf() -> None:
    issuers = Issuers()
    assert check(issuers=issuers) == check(issuers=issuers) == check()
    assert issuers.above(pem(CA)) is issuers.above(pem(CA))
    stranger = leaf_certificate(A, issuer_key=ec_key("ES256", 99))
    assert_mismatch(pem(stranger, CA), "certificate 1 of the chain is not issued by the next one", issuers=issuers)


def test_only_the_latest_issuers_are_remembered() -> None:
    issuers = Issuers()
    first = issuers.above(pem(CA))
    for number in range(63):
        issuers.above(f"{number}\n{pem(CA)}")
    assert issuers.above(pem(CA)) is first
    for number in range(100, 164):
        issuers.above(f"{number}\n{pem(CA)}")
    assert issuers.above(pem(CA)) is not first
