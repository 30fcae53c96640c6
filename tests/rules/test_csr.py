"""Certificate requests against their order: RFC 8555 section 7.4, docs/client-rules.md rule 28,
docs/reliability.md section 5.
"""

import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, padding
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier
from hypothesis import given
from hypothesis import strategies as st

from acmehub.models.identifiers import Identifier
from acmehub.models.problems import Problem, ProblemType
from acmehub.rules.chains import check_leaf
from acmehub.rules.csr import CheckedCsr, check_csr, load_csr
from acmehub.rules.jws import jwk_of, thumbprint
from acmehub.rules.keys import spki_of
from acmehub.testing.acme_keys import with_version
from tests.rules.certificates import (
    alternative_names,
    ca_certificate,
    close_primes_key,
    common_name,
    common_names,
    extension,
    extension_list,
    leaf_certificate,
    pem,
    raw_request,
    request,
    roca_key,
    rsa_spki,
    small_factor_key,
    tlv,
)
from tests.rules.samples import NOW, ec_key, rsa_key

ACCOUNT = jwk_of(ec_key().public_key())
A, B = "a.corp.test", "b.corp.test"


def check(der: bytes, *names: str, account: bytes = ACCOUNT, former: Sequence[str] = ()) -> CheckedCsr:
    return check_csr(der, [Identifier("dns", name) for name in names], account, former)


def assert_refused(
    der: bytes,
    *names: str,
    word: str,
    account: bytes = ACCOUNT,
    former: Sequence[str] = (),
    type: ProblemType = ProblemType.BAD_CSR,
) -> None:
    with pytest.raises(Problem) as caught:
        check(der, *names, account=account, former=former)
    assert caught.value.type is type
    assert word in caught.value.detail
    assert caught.value.detail.isascii()


# ------------------------------------------------------------------------------------------------ what is taken

KEY_USAGE = x509.KeyUsage(True, False, True, False, False, False, False, False, False)
ALL_USES = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
MUST_STAPLE = x509.TLSFeature([x509.TLSFeatureType.status_request])
NO_CA = x509.BasicConstraints(ca=False, path_length=None)
KEY_ID = x509.SubjectKeyIdentifier(bytes(20))
SMIME = x509.UnrecognizedExtension(ObjectIdentifier("1.2.840.113549.1.9.15"), b"\x30\x00")
NETSCAPE = x509.UnrecognizedExtension(ObjectIdentifier("2.16.840.1.113730.1.1"), b"\x03\x02\x07\x80")
POLICIES = x509.UnrecognizedExtension(ObjectIdentifier("1.3.6.1.4.1.311.21.10"), b"\x30\x00")
STRANGE = x509.UnrecognizedExtension(ObjectIdentifier("1.3.6.1.4.1.99999.1"), b"\x05\x00")


@pytest.mark.parametrize(
    ("der", "names"),
    [
        (request(A), [A]),
        (request(B, A, A), [A, B]),
        (request(cn=[A]), [A]),
        (request(A, B, cn=[A]), [A, B]),
        (request(B, cn=[A]), [A, B]),
        (request(f"*.{B}", B), [B, f"*.{B}"]),
        (request(A.upper(), cn=["A.Corp.Test"]), [A]),
        (request(A), [A.upper()]),
    ],
    ids=["SAN", "SAN twice", "CN", "CN in SAN", "CN beside SAN", "wildcard", "upper CSR", "upper order"],
)
def test_a_csr_with_exactly_the_names_of_the_order_is_taken(der: bytes, names: list[str]) -> None:
    checked = check(der, *names)
    assert checked.names == tuple(sorted(name.lower() for name in names))
    assert checked.der == der


@pytest.mark.parametrize(
    "asked",
    [
        [(KEY_USAGE, True)],
        [(ALL_USES, False)],
        [(ALL_USES, True)],
        [(MUST_STAPLE, False)],
        [(NO_CA, True)],
        [(KEY_ID, False)],
        [(SMIME, False), (POLICIES, False)],
        [(KEY_USAGE, False), (NETSCAPE, False)],
        [(KEY_USAGE, False), (ALL_USES, False), (MUST_STAPLE, True), (NO_CA, False)],
    ],
)
def test_extensions_that_clients_ask_for_do_no_harm(asked: list[tuple[x509.ExtensionType, bool]]) -> None:
    check(request(A, extensions=asked), A)


@pytest.mark.parametrize("algorithm", ["ES256", "ES384", "ES512"])
@pytest.mark.parametrize("digest", [hashes.SHA256(), hashes.SHA384(), hashes.SHA512()])
def test_ec_keys_of_each_curve_with_each_hash_are_taken(algorithm: str, digest: Any) -> None:
    checked = check(request(A, key=ec_key(algorithm, 7), digest=digest), A)
    assert checked.public_key == ec_key(algorithm, 7).public_key()
    assert len(checked.spki_sha256) == 64


@pytest.mark.parametrize("bits", [2048, 3072, 4096])
def test_rsa_keys_from_2048_to_4096_bits_are_taken(bits: int) -> None:
    check(request(A, key=rsa_key(bits)), A)


def test_an_rsa_pss_signature_is_taken() -> None:
    builder = x509.CertificateSigningRequestBuilder().subject_name(common_names(A))
    pss = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=32)
    check(builder.sign(rsa_key(), hashes.SHA256(), rsa_padding=pss).public_bytes(Encoding.DER), A)


PARTS = {
    NameOID.COUNTRY_NAME: "NL",
    NameOID.STATE_OR_PROVINCE_NAME: "Utrecht",
    NameOID.LOCALITY_NAME: "Utrecht",
    NameOID.STREET_ADDRESS: "1 Main Street",
    NameOID.POSTAL_CODE: "3500",
    NameOID.ORGANIZATION_NAME: "Printer Inc",
    NameOID.ORGANIZATIONAL_UNIT_NAME: "IT",
    NameOID.SERIAL_NUMBER: "4711",
    NameOID.EMAIL_ADDRESS: "ops@corp.test",
    NameOID.DOMAIN_COMPONENT: "corp",
    NameOID.USER_ID: "printer",
    NameOID.UNSTRUCTURED_NAME: "router.corp.test",
    ObjectIdentifier("1.2.840.113549.1.9.8"): "192.0.2.1",
}


def test_other_parts_of_the_subject_that_clients_send_are_left_to_the_ca() -> None:
    check(request(A, subject=x509.Name([x509.NameAttribute(oid, value) for oid, value in PARTS.items()])), A)


@pytest.mark.parametrize("oid", [NameOID.GIVEN_NAME, NameOID.JURISDICTION_COUNTRY_NAME, ObjectIdentifier("1.2.3.4")])
def test_a_part_of_the_subject_that_no_client_sends_is_refused_by_its_number(oid: ObjectIdentifier) -> None:
    for subject in ([x509.NameAttribute(oid, "NL")], [*x509.Name(common_names(A)), x509.NameAttribute(oid, "NL")]):
        assert_refused(request(A, subject=x509.Name(subject)), A, word=oid.dotted_string)


def test_a_request_without_attributes_is_read() -> None:
    check(raw_request(subject=common_name(A.encode())), A)


# ---------------------------------------------------------------------------------------------------- the names


@pytest.mark.parametrize(
    ("der", "names", "word"),
    [
        (request(A, B), [A], f"asks for {B}"),
        (request(A), [A, B], f"lacks {B}"),
        (request(A), [B], f"asks for {A}, which the order has not and lacks {B}"),
        (request(), [A], f"lacks {A}"),
        (request(A, cn=[B]), [A], f"asks for {B}"),
        (request(A, cn=["My Printer"]), [A], "my printer"),
        (request(f"*.{A}"), [A], f"*.{A}"),
        (request(A), [f"*.{A}"], f"lacks *.{A}"),
        (request(f"{A}."), [A], f"asks for {A}."),
        (request(*(f"n{i}.test" for i in range(20))), ["n0.test"], "and 14 more"),
    ],
)
def test_other_names_than_those_of_the_order_are_refused(der: bytes, names: list[str], word: str) -> None:
    assert_refused(der, *names, word=word)


@pytest.mark.filterwarnings("ignore:Attribute's length")  # as in production, where the library only warns
@pytest.mark.parametrize("name", [b"", b"a" * 61 + b".test"])
def test_a_common_name_of_a_length_that_none_can_have_is_refused(name: bytes) -> None:
    alternatives = extension_list(alternative_names(A.encode()))
    assert_refused(raw_request(alternatives, subject=common_name(name)), A, word="1 to 64 characters")


@pytest.mark.parametrize(
    ("order", "name"),
    [("k.corp.test", "\u212a.corp.test"), ("i.corp.test", "\u0131.corp.test"), (A, "\uff41.corp.test")],
)
def test_a_common_name_is_compared_in_ascii(order: str, name: str) -> None:
    assert_refused(request(cn=[name]), order, word="not ASCII")
    assert_refused(request(order, cn=[name]), order, word="not ASCII")


def test_more_than_one_common_name_is_refused() -> None:
    assert_refused(request(A, cn=[A, B]), A, B, word="more than one common name")


@pytest.mark.parametrize(
    "other",
    [
        x509.RFC822Name("a@corp.test"),
        x509.UniformResourceIdentifier("https://a.corp.test"),
        x509.DirectoryName(common_names("x")),
        x509.RegisteredID(ObjectIdentifier("1.2.3")),
        x509.OtherName(ObjectIdentifier("1.2.3"), b"\x05\x00"),
    ],
)
def test_names_of_another_kind_are_refused(other: x509.GeneralName) -> None:
    both = x509.SubjectAlternativeName([x509.DNSName(A), other])
    assert_refused(request(extensions=[(both, False)]), A, word=type(other).__name__)


@pytest.mark.parametrize("name", [b"a.corp.test\0", b"a.corp.test\0.evil.test", b"\xe4.test", b"", b"a.corp.test "])
def test_nul_and_other_odd_bytes_in_a_name_are_refused(name: bytes) -> None:
    assert_refused(raw_request(extension_list(alternative_names(name))), A, word="")
    assert_refused(raw_request(extension_list(alternative_names(name, A.encode()))), A, word="")
    assert_refused(raw_request(extension_list(alternative_names(A.encode())), subject=common_name(name)), A, word="")


def test_a_second_list_of_extensions_cannot_smuggle_a_name() -> None:
    mine, theirs = alternative_names(A.encode()), alternative_names(B.encode())
    for kind in ("1.2.840.113549.1.9.14", "1.3.6.1.4.1.311.2.1.14"):
        for first, second in ((mine, theirs), (theirs, mine)):
            lists = extension_list(first), extension_list(second, kind=kind)
            assert_refused(raw_request(*lists), A, word="more than one list")


def test_two_lists_in_one_attribute_or_two_alternative_names_in_one_list_are_refused() -> None:
    mine, theirs = alternative_names(A.encode()), alternative_names(B.encode())
    assert_refused(raw_request(extension_list(mine, theirs)), A, word="cannot be read")
    kind = extension_list(mine)[2:13]
    assert_refused(raw_request(tlv(0x30, kind, tlv(0x31, tlv(0x30, mine), tlv(0x30, theirs)))), A, word="")


# -------------------------------------------------------------------------------------------------- the extensions


def test_an_unknown_critical_extension_is_refused_by_its_number() -> None:
    assert_refused(request(A, extensions=[(STRANGE, True)]), A, word="1.3.6.1.4.1.99999.1")


@pytest.mark.parametrize(
    "asked",
    [
        STRANGE,
        x509.NameConstraints([x509.DNSName("test")], None),
        x509.CertificatePolicies([x509.PolicyInformation(ObjectIdentifier("2.23.140.1.1"), None)]),
        x509.OCSPNoCheck(),
        x509.PrecertPoison(),
        x509.UnrecognizedExtension(ObjectIdentifier("1.3.6.1.4.1.311.20.2"), b"\x0c\x02CA"),  # a template's name
        x509.MSCertificateTemplate(ObjectIdentifier("1.2.3"), 1, 0),
    ],
    ids=lambda asked: asked.oid.dotted_string,
)
def test_an_extension_that_no_client_sends_is_refused_by_its_number(asked: x509.ExtensionType) -> None:
    assert_refused(request(A, extensions=[(asked, False)]), A, word=f"not supported ({asked.oid.dotted_string})")


@pytest.mark.parametrize("asked", [SMIME, POLICIES, NETSCAPE, KEY_ID], ids=lambda asked: asked.oid.dotted_string)
def test_an_extension_that_is_only_a_note_is_refused_where_it_is_critical(asked: x509.ExtensionType) -> None:
    assert_refused(request(A, extensions=[(asked, True)]), A, word="critical extension that is not supported")


def test_a_critical_extension_that_a_leaf_has_no_use_for_is_refused() -> None:
    constraints = x509.NameConstraints([x509.DNSName("test")], None)
    assert_refused(request(A, extensions=[(constraints, True)]), A, word="2.5.29.30")


@pytest.mark.parametrize("critical", [True, False])
def test_asking_for_a_ca_is_refused(critical: bool) -> None:
    constraints = x509.BasicConstraints(ca=True, path_length=None)
    assert_refused(request(A, extensions=[(constraints, critical)]), A, word="CA certificate")


def test_an_extension_that_cannot_be_read_is_refused() -> None:
    broken = extension("2.5.29.15", b"\x02\x01")
    assert_refused(raw_request(extension_list(alternative_names(A.encode()), broken)), A, word="cannot be read")


# --------------------------------------------------------------------------------------------- key and signature


def test_a_signature_by_another_key_is_refused() -> None:
    for key in (ec_key("ES256", 7), rsa_key()):
        good = request(A, key=key)
        for position in (-1, -20, good.index(b"corp")):
            bad = bytearray(good)
            bad[position] ^= 1
            with pytest.raises(Problem, match=r"signature|asks for|read"):
                check(bytes(bad), A)


def test_the_own_key_must_have_signed() -> None:
    mine, other = (spki_of(ec_key("ES256", number).public_key()) for number in (7, 1))
    assert_refused(request(A).replace(mine, other), A, word="not by its own key")


@pytest.mark.parametrize(
    ("old", "new", "word"),
    [
        ("2a8648ce3d040302", "2a8648ce3d040301", "sha224"),
        ("2a8648ce3d040302", "2a8648ce3d040101", ""),  # ecdsa-with-SHA1, its OID shorter in truth
        ("2a864886f70d01010b", "2a864886f70d010105", "sha1"),
        ("2a864886f70d01010b", "2a864886f70d010104", "md5"),
        ("2a864886f70d01010b", "2a864886f70d010102", ""),
    ],
)
def test_broken_hashes_are_refused(old: str, new: str, word: str) -> None:
    der = request(A, key=rsa_key() if "f70d" in old else None)
    assert bytes.fromhex(old) in der
    assert_refused(der.replace(bytes.fromhex(old), bytes.fromhex(new)), A, word=word)


def test_an_ec_key_under_an_rsa_signature_is_refused() -> None:
    der = request(A)
    swapped = der.replace(bytes.fromhex("06082a8648ce3d040302"), bytes.fromhex("06092a864886f70d01010b"))
    grown = bytearray(swapped)
    grown[2] += 1
    grown[grown.index(bytes.fromhex("300a06092a8648")) + 1] += 1
    assert_refused(bytes(grown), A, word="")


@pytest.mark.parametrize(
    ("key", "digest", "word"),
    [
        (rsa_key(1024), hashes.SHA256(), "1024 bits"),
        (close_primes_key(), hashes.SHA256(), "too close"),
        (roca_key(), hashes.SHA256(), "ROCA"),
        (small_factor_key(), hashes.SHA256(), "small factor"),
    ],
    ids=["RSA 1024", "Fermat", "ROCA", "small factor"],
)
def test_weak_keys_are_refused(key: Any, digest: Any, word: str) -> None:
    assert_refused(request(A, key=key, digest=digest), A, word=word)


@pytest.mark.parametrize(
    ("key", "digest", "word"),
    [
        (ec.generate_private_key(ec.SECP256K1()), hashes.SHA256(), "secp256k1"),
        (ec.generate_private_key(ec.SECP224R1()), hashes.SHA256(), "secp224r1"),
        (ed25519.Ed25519PrivateKey.generate(), None, "Ed25519"),
        (ed448.Ed448PrivateKey.generate(), None, "Ed448"),
        (dsa.generate_private_key(1024), hashes.SHA256(), "DSA"),
    ],
    ids=["secp256k1", "secp224r1", "Ed25519", "Ed448", "DSA"],
)
def test_a_key_of_another_type_is_a_bad_public_key_and_the_types_that_are_taken_are_named(
    key: Any, digest: Any, word: str
) -> None:
    der = request(A, key=key, digest=digest)
    assert_refused(der, A, word=word, type=ProblemType.BAD_PUBLIC_KEY)
    assert_refused(der, A, word="RSA keys of 2048 to 4096 bits and EC keys on P-256", type=ProblemType.BAD_PUBLIC_KEY)


@pytest.mark.parametrize("oid", ["2b656e", "2b0601"], ids=["X25519", "unknown"])
def test_a_key_of_an_unknown_type_is_a_bad_public_key(oid: str) -> None:
    kind = bytes.fromhex(oid)
    spki = tlv(0x30, tlv(0x30, tlv(0x06, kind)), tlv(0x03, b"\0", bytes(31) + b"\x09"))
    der = raw_request(subject=common_name(A.encode()), spki=spki)
    assert_refused(der, A, word="are taken", type=ProblemType.BAD_PUBLIC_KEY)


@pytest.mark.parametrize("exponent", [1, 2, 65536])
def test_a_bad_rsa_exponent_is_refused(exponent: int) -> None:
    modulus = rsa_key().public_key().public_numbers().n
    assert_refused(raw_request(subject=common_name(A.encode()), spki=rsa_spki(modulus, exponent)), A, word="")


@pytest.mark.parametrize("key", [ec_key("ES256", 7), ec_key("ES384", 7), rsa_key()], ids=["P-256", "P-384", "RSA"])
def test_the_accounts_own_key_is_refused(key: Any) -> None:
    assert_refused(request(A, key=key), A, word="account's key", account=jwk_of(key.public_key()))


@pytest.mark.parametrize("key", [ec_key("ES256", 7), ec_key("ES384", 7), rsa_key()], ids=["P-256", "P-384", "RSA"])
def test_a_former_key_of_the_account_is_refused(key: Any) -> None:
    der, former = request(A, key=key), [thumbprint(ACCOUNT), thumbprint(jwk_of(key.public_key()))]
    check(der, A, former=former[:1])
    assert_refused(der, A, word="a former key of the account", former=former)


# --------------------------------------------------------------------------------------------- the version field


def of_version(number: int, key: Any = None) -> bytes:
    """A CSR as old clients make it: the number is in what they sign."""
    owner = key or ec_key("ES256", 7)
    return with_version(request(A, key=owner), number, owner)


@pytest.mark.parametrize("key", [ec_key("ES256", 7), rsa_key()], ids=["P-256", "RSA"])
@pytest.mark.parametrize("number", [1, 2])
def test_a_csr_of_version_1_or_2_is_read_and_kept_as_it_is(number: int, key: Any) -> None:
    der = of_version(number, key)
    with pytest.raises(x509.InvalidVersion):
        x509.load_der_x509_csr(der)
    checked = check(der, A)
    assert checked.der == der
    assert checked.names == (A,)
    assert checked.public_key == key.public_key()
    assert load_csr(der).public_key() == key.public_key()


@pytest.mark.parametrize("number", [3, 17, 127, 255])
def test_a_csr_of_any_other_version_is_refused(number: int) -> None:
    assert_refused(of_version(number), A, word="cannot be read")


@pytest.mark.parametrize("key", [ec_key("ES256", 7), rsa_key()], ids=["P-256", "RSA"])
def test_the_signature_is_over_the_version_that_was_sent(key: Any) -> None:
    for signed, sent in ((0, 2), (2, 0), (1, 2)):
        der = request(A, key=key) if signed == 0 else of_version(signed, key)
        place = der.index(b"\x02\x01" + bytes([signed])) + 2
        assert_refused(der[:place] + bytes([sent]) + der[place + 1 :], A, word="not by its own key")


def test_a_chain_is_compared_with_a_csr_of_version_2() -> None:
    chain = pem(leaf_certificate(A), ca_certificate())
    assert check_leaf(chain, of_version(2), [Identifier("dns", A)], NOW).names == (A,)


def test_one_function_reads_csrs_in_the_whole_hub() -> None:
    root = Path(__file__).resolve().parents[2]
    modules = [path for folder in ("core", "plugins") for path in (root / folder).rglob("*.py")]
    found = {path.name for path in modules if re.search(r"load_(der|pem)_x509_csr", path.read_text())}
    assert found == {"csr.py", "acme_keys.py"}  # the second makes CSRs for tests


# --------------------------------------------------------------------------------------------------- hostile input


@pytest.mark.parametrize("der", [b"", b"\x30", b"\x30\x00", b"-----BEGIN CERTIFICATE REQUEST-----", request(A) + b"\0"])
def test_what_is_not_a_csr_is_refused(der: bytes) -> None:
    assert_refused(der, A, word="cannot be read")


def only_a_problem(der: bytes) -> None:
    began = time.thread_time()
    try:
        check(der, A)
    except Problem as problem:
        status = problem.status
    else:
        status = 200
    assert status < 500
    assert time.thread_time() - began < 1.0


@given(st.binary(max_size=200))
def test_any_bytes_are_a_problem_and_nothing_else(der: bytes) -> None:
    only_a_problem(der)


@given(st.data(), st.sampled_from([request(A, cn=[A], extensions=[(KEY_USAGE, True)]), request(A, key=rsa_key())]))
def test_a_good_csr_with_some_bytes_changed_is_a_problem_and_nothing_else(data: st.DataObject, good: bytes) -> None:
    der = bytearray(good)
    unused_bits = len(good) - len(x509.load_der_x509_csr(good).signature) - 1  # OpenSSL verifies without this octet
    places = st.integers(0, len(der) - 1).filter(lambda place: place != unused_bits)
    for _ in range(data.draw(st.integers(1, 3))):
        der[data.draw(places)] = data.draw(st.integers(0, 255))
    if bytes(der) != good:
        with pytest.raises(Problem):
            check(bytes(der), A)


@given(st.lists(st.binary(max_size=20), max_size=3), st.binary(max_size=30), st.integers(0, 60))
def test_odd_names_are_a_problem_and_nothing_else(names: list[bytes], value: bytes, number: int) -> None:
    lists = extension_list(alternative_names(*names), extension(f"2.5.29.{number}", value, critical=True))
    only_a_problem(raw_request(lists, subject=common_name(value)))
