from __future__ import annotations

import base64
import datetime
import pickle
import traceback

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.x509.oid import NameOID

from wxnotify.apiv3 import MerchantPrivateKey, PlatformKey
from wxnotify.errors import ConfigurationError
from wxnotify.testing import apiv3_keys
from wxnotify.testing.apiv3 import PUBLIC_KEY_ID, SERIAL

from ..support import SOURCE, code_of

CERTIFICATE, PUBLIC_KEY = apiv3_keys.CERTIFICATE, apiv3_keys.PUBLIC_KEY
PRIVATE_KEY = apiv3_keys.CERTIFICATE_PRIVATE_KEY


def pem_of(key, *, traditional=False, password=b"") -> str:
    encryption = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    form = (
        serialization.PrivateFormat.TraditionalOpenSSL if traditional else serialization.PrivateFormat.PKCS8
    )
    return key.private_bytes(serialization.Encoding.PEM, form, encryption).decode()


def public_pem_of(key) -> str:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(serialization.Encoding.PEM, form).decode()


def certificate_of(key, *, serial: int = 0x0A0B, until: datetime.datetime | None = None) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).serial_number(serial)
    builder = builder.not_valid_before(datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc))
    builder = builder.not_valid_after(until or datetime.datetime(2126, 1, 1, tzinfo=datetime.timezone.utc))
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.public_key(key.public_key()).sign(key, algorithm)


def certificate_pem_of(key, **options) -> str:
    return certificate_of(key, **options).public_bytes(serialization.Encoding.PEM).decode()


SHORT = rsa.generate_private_key(65537, 1024)
OTHER_KINDS = {
    "ecdsa": ec.generate_private_key(ec.SECP256R1()),
    "ed25519": ed25519.Ed25519PrivateKey.generate(),
}
RSA_KEY = serialization.load_pem_private_key(PRIVATE_KEY.encode(), None)


# --- certificates ---------------------------------------------------------------------


@pytest.mark.parametrize("pem", [CERTIFICATE, CERTIFICATE.encode(), CERTIFICATE.replace("\n", "\r\n")])
def test_a_certificate_is_known_by_its_serial_number_in_upper_case_hex(pem):
    key = PlatformKey.from_certificate(pem)
    assert key.serial == SERIAL
    assert key.not_after == datetime.datetime(2126, 1, 1, tzinfo=datetime.timezone.utc)
    assert repr(key) == f"<PlatformKey {SERIAL} until 2126-01-01>"


def test_a_serial_number_is_printed_as_whole_bytes():
    assert PlatformKey.from_certificate(certificate_pem_of(RSA_KEY, serial=0xABC)).serial == "0ABC"
    assert PlatformKey.from_certificate(certificate_pem_of(RSA_KEY, serial=0xABCD)).serial == "ABCD"


def test_an_expired_certificate_is_taken_and_shows_it():
    past = datetime.datetime(2021, 1, 1, tzinfo=datetime.timezone.utc)
    assert PlatformKey.from_certificate(certificate_pem_of(RSA_KEY, until=past)).not_after == past


def test_several_certificates_are_a_platform_key_each():
    with pytest.raises(ConfigurationError, match="there are 2; make a PlatformKey of each"):
        PlatformKey.from_certificate(CERTIFICATE + certificate_pem_of(RSA_KEY))


def patched(pem: str, part: bytes, other: bytes) -> str:
    """Exchange bytes inside a PEM."""
    first, *middle, last = pem.strip().splitlines()
    der = base64.b64decode("".join(middle))
    assert der.count(part) == 1
    return "\n".join([first, base64.b64encode(der.replace(part, other)).decode(), last])


def test_a_certificate_of_an_unknown_version_is_refused():
    pem = patched(CERTIFICATE, b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x05")
    assert code_of(PlatformKey.from_certificate, pem) == "configuration"


# --- public keys ----------------------------------------------------------------------


@pytest.mark.parametrize("pem", [PUBLIC_KEY, PUBLIC_KEY.encode()])
def test_a_public_key_is_known_by_its_id(pem):
    key = PlatformKey.from_public_key(PUBLIC_KEY_ID, pem)
    assert (key.serial, key.not_after) == (PUBLIC_KEY_ID, None)
    assert repr(key) == f"<PlatformKey {PUBLIC_KEY_ID}>"


@pytest.mark.parametrize(
    "key_id", ["", "PUB_KEY_ID_", "pub_key_id_01", SERIAL, "PUB_KEY_ID_0 1", "PUB_KEY_ID_" + "0" * 54,
               "PUB_KEY_ID_１", "PUB_KEY_ID_01\n", " PUB_KEY_ID_01", None, 5, b"PUB_KEY_ID_01"],
)  # fmt: skip
def test_an_id_is_one_as_the_merchant_console_shows_it(key_id):
    with pytest.raises(ConfigurationError, match="expected PUB_KEY_ID_"):
        PlatformKey.from_public_key(key_id, PUBLIC_KEY)


def test_a_certificate_is_no_public_key_and_is_told_where_it_belongs():
    with pytest.raises(ConfigurationError, match="from_certificate"):
        PlatformKey.from_public_key(PUBLIC_KEY_ID, CERTIFICATE)


# --- both -----------------------------------------------------------------------------


def from_certificate(pem):
    return PlatformKey.from_certificate(pem)


def from_public_key(pem):
    return PlatformKey.from_public_key(PUBLIC_KEY_ID, pem)


BOTH = pytest.mark.parametrize("make", [from_certificate, from_public_key])


@BOTH
@pytest.mark.parametrize(
    "pem",
    ["", b"", "hello", None, 5, [], "\ud800", "-----BEGIN CERTIFICATE-----", CERTIFICATE[:400],
     PUBLIC_KEY[:200], "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", bytearray(b"x")],
    ids=ascii,
)  # fmt: skip
def test_what_is_no_key_is_refused(make, pem):
    assert code_of(make, pem) == "configuration"


@BOTH
@pytest.mark.parametrize("private", [PRIVATE_KEY, CERTIFICATE + PRIVATE_KEY, PUBLIC_KEY + PRIVATE_KEY])
def test_a_private_key_is_refused_and_shown_nowhere(make, private):
    secret = PRIVATE_KEY.splitlines()[5]
    for pem in (private, private.encode()):
        with pytest.raises(ConfigurationError, match="holds a private key") as refusal:
            make(pem)
        summary = traceback.TracebackException.from_exception(refusal.value, capture_locals=True)
        frames = [frame for frame in summary.stack if frame.filename.startswith(str(SOURCE))]
        assert secret not in str(refusal.value) + "".join(repr(frame.locals) for frame in frames)


@BOTH
@pytest.mark.parametrize("kind", OTHER_KINDS)
def test_a_key_that_is_not_rsa_is_refused(make, kind):
    key = OTHER_KINDS[kind]
    pem = certificate_pem_of(key) if make is from_certificate else public_pem_of(key)
    with pytest.raises(ConfigurationError, match="is not RSA; SM2"):
        make(pem)


@BOTH
def test_an_sm2_key_is_refused_and_it_is_said_why(make):
    # As the package cannot make one: P-256's, with the name of the curve exchanged.
    key = OTHER_KINDS["ecdsa"]
    pem = certificate_pem_of(key) if make is from_certificate else public_pem_of(key)
    p_256, sm2 = bytes.fromhex("06082a8648ce3d030107"), bytes.fromhex("06082a811ccf5501822d")
    with pytest.raises(ConfigurationError, match=r"SM2, .* is not to be had from the package cryptography"):
        make(patched(pem, p_256, sm2))


def test_a_dsa_key_is_refused():
    key = dsa.generate_private_key(1024)
    assert code_of(from_public_key, public_pem_of(key)) == "configuration"


@BOTH
def test_a_key_of_less_than_2048_bits_is_refused(make):
    pem = certificate_pem_of(SHORT) if make is from_certificate else public_pem_of(SHORT)
    with pytest.raises(ConfigurationError, match="has 1024 bits, at least 2048"):
        make(pem)


def test_nobody_makes_one_by_hand():
    with pytest.raises(TypeError, match="from_certificate"):
        PlatformKey()


def test_it_cannot_be_changed():
    key = from_public_key(PUBLIC_KEY)
    with pytest.raises(AttributeError, match="cannot be changed"):
        key.serial = SERIAL
    with pytest.raises(AttributeError, match="cannot be removed"):
        del key.not_after


def test_two_are_equal_if_serial_and_key_are():
    assert from_public_key(PUBLIC_KEY) == from_public_key(PUBLIC_KEY)
    assert len({from_public_key(PUBLIC_KEY), from_public_key(PUBLIC_KEY)}) == 1
    assert from_public_key(PUBLIC_KEY) != PlatformKey.from_public_key("PUB_KEY_ID_2", PUBLIC_KEY)
    assert from_public_key(PUBLIC_KEY) != from_public_key(public_pem_of(RSA_KEY))
    assert from_public_key(PUBLIC_KEY) != PUBLIC_KEY_ID


# --- the merchant's own ---------------------------------------------------------------


READABLE = {"text": PRIVATE_KEY, "bytes": PRIVATE_KEY.encode(), "pkcs1": pem_of(RSA_KEY, traditional=True)}


@pytest.mark.parametrize("pem", READABLE.values(), ids=READABLE)
def test_a_private_key_is_read_and_never_shown(pem):
    key = MerchantPrivateKey(pem)
    assert repr(key) == str(key) == "<MerchantPrivateKey>"
    assert not hasattr(key, "__dict__")
    with pytest.raises(TypeError, match="pickled"):
        pickle.dumps(key)
    with pytest.raises(TypeError, match="text back"):
        key.__getstate__()


UNREADABLE = {
    "empty": "",
    "none": None,
    "number": 5,
    "text": "hunter2",
    "certificate": CERTIFICATE,
    "public": PUBLIC_KEY,
    "ecdsa": pem_of(OTHER_KINDS["ecdsa"]),
    "ed25519": pem_of(OTHER_KINDS["ed25519"]),
    "encrypted": pem_of(RSA_KEY, password=b"hunter2"),
    "cut": PRIVATE_KEY[:500],
    "surrogate": "\ud800",
}


@pytest.mark.parametrize("pem", UNREADABLE.values(), ids=UNREADABLE)
def test_what_is_no_rsa_private_key_is_refused_and_shown_nowhere(pem):
    with pytest.raises(ConfigurationError, match="no RSA private key") as refusal:
        MerchantPrivateKey(pem)
    assert refusal.value.__context__ is None
    summary = traceback.TracebackException.from_exception(refusal.value, capture_locals=True)
    frames = [frame for frame in summary.stack if frame.filename.startswith(str(SOURCE))]
    words = str(refusal.value) + "".join(repr(frame.locals) for frame in frames)
    assert not isinstance(pem, str) or not pem or repr(pem)[1:-1] not in words


def test_a_private_key_of_less_than_2048_bits_is_refused():
    with pytest.raises(ConfigurationError, match="has 1024 bits"):
        MerchantPrivateKey(pem_of(SHORT))
