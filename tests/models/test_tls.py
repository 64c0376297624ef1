import ssl
import time
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from apps.models.providers.base import ErrorCode, ModelRequest, ProviderError, Timeouts
from apps.models.providers.registry import build_adapter
from everquant.network import connections
from tests.upstream import UpstreamServer

MESSAGES = [{"role": "user", "content": "hello"}]


def request_for(model="m", timeouts=None):
    return ModelRequest(model, MESSAGES, timeouts=timeouts or Timeouts(5, 10, 20))


@pytest.fixture(scope="module", params=["127.0.0.1", "127.0.0.2"])
def certificate(request, tmp_path_factory):
    """A certificate and its key in one file, and the address that it is for; the server is always 127.0.0.1."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(request.param))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    encoding, no_password = serialization.Encoding.PEM, serialization.NoEncryption()
    path = tmp_path_factory.mktemp("tls") / "certificate.pem"
    private = key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, no_password)
    path.write_bytes(private + made.public_bytes(encoding))
    return path, request.param


@pytest.fixture
def server(certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate[0])
    with UpstreamServer(tls=context) as server:
        yield server


@pytest.fixture
def trusted(certificate, monkeypatch):
    """Has the certificate among those that the system trusts."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    connections._pools.cache_clear()
    yield
    connections._pools.cache_clear()


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize("kind", ["openai", "anthropic"])
def test_a_trusted_certificate_is_taken_for_its_own_address_only(server, certificate, kind):
    adapter = build_adapter(kind, server.url + "/v1", "sk-test", allow_private=True)
    if certificate[1] != "127.0.0.1":
        with pytest.raises(ProviderError) as caught:
            adapter.complete(request_for())
        assert (caught.value.code, caught.value.retryable) == (ErrorCode.CONNECTION, False)
        assert server.request_count == 0
        return
    for _ in range(2):
        assert adapter.complete(request_for()).text == "You said: hello"
        assert list(adapter.stream(request_for()))[-1].completion.text == "You said: hello"
    assert server.connections_opened == 1
    for model in ("fault-drip", "fault-stall-before"):
        started_at = time.monotonic()
        with pytest.raises(ProviderError) as caught:
            list(adapter.stream(request_for(model, Timeouts(5, 0.3, 20))))
        assert caught.value.code == ErrorCode.TIMEOUT_FIRST_TOKEN
        assert time.monotonic() - started_at < 4


def test_a_certificate_nobody_vouches_for_is_refused(server):
    adapter = build_adapter("openai", server.openai_url, "sk-test", allow_private=True)
    with pytest.raises(ProviderError) as caught:
        adapter.complete(request_for())
    assert (caught.value.code, caught.value.retryable) == (ErrorCode.CONNECTION, False)
    assert server.request_count == 0
