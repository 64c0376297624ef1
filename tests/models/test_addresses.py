import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.models.providers.base import ErrorCode, ModelRequest, ProviderError
from apps.models.providers.registry import build_adapter
from everquant.network.address import is_public_address, validate_base_url

REQUEST = ModelRequest("m", [{"role": "user", "content": "hi"}])

PRIVATE = [
    "127.0.0.1",
    "127.255.0.9",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "0.0.0.0",  # noqa: S104 - an address to refuse
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "192.0.2.1",
    "198.18.0.1",
    "::",
    "::1",
    "fe80::1",
    "fe80::1%eth0",
    "fc00::1",
    "fec0::1",
    "ff02::1",
    "2001:db8::1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "::127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::a00:1",
    "2002:7f00:1::",
    "2002:a9fe:a9fe::1",
    "2002:c0a8:101::1",
    "2001:0:4136:e378:8000:63bf:80ff:fffe",
]
PUBLIC = [
    "8.8.8.8",
    "1.1.1.1",
    "104.18.7.192",
    "2606:4700::6812:7c0",
    "::ffff:8.8.8.8",
    "64:ff9b::808:808",
    "2002:808:808::1",
]


@pytest.mark.parametrize("address", PRIVATE)
def test_inside_addresses_are_not_public(address):
    assert not is_public_address(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_outside_addresses_are_public(address):
    assert is_public_address(address)


@given(st.ip_addresses(v=4, network="10.0.0.0/8") | st.ip_addresses(v=4, network="127.0.0.0/8"))
def test_a_private_address_stays_private_in_every_ipv6_dress(address):
    number = int(address)
    high, low = number >> 16, number & 0xFFFF
    for dress in ("::ffff:{h:x}:{l:x}", "::{h:x}:{l:x}", "64:ff9b::{h:x}:{l:x}", "2002:{h:x}:{l:x}::9"):
        assert not is_public_address(dress.format(h=high, l=low))


INSIDE_URLS = [
    "http://127.0.0.1/v1",
    "https://localhost:8080",
    "http://LOCALHOST.",
    "http://api.localhost",
    "http://metadata.google.internal/computeMetadata",
    "http://169.254.169.254/latest/meta-data",
    "http://2130706433/",
    "http://0x7f000001/",
    "http://0177.0.0.1/",
    "http://127.1/",
    "http://0/",
    "http://[::1]:8000/v1",
    "http://[::ffff:127.0.0.1]/",
    "http://[fe80::1%25eth0]/",
    "http://[64:ff9b::7f00:1]/",
]


@pytest.mark.parametrize("url", INSIDE_URLS)
def test_an_inside_url_is_refused_when_saved(url):
    with pytest.raises(ValueError, match="not on the public internet"):
        validate_base_url(url, allow_private=False)


@pytest.mark.parametrize("kind", ["openai", "anthropic"])
@pytest.mark.parametrize("url", INSIDE_URLS)
def test_an_inside_url_is_refused_when_connected_to(url, kind):
    adapter = build_adapter(kind, url, "key", allow_private=False)
    with pytest.raises(ProviderError) as caught:
        adapter.complete(REQUEST)
    # Names that this machine cannot resolve end before there is an address to check.
    resolvable = not any(name in url.lower() for name in ("internal", "api.localhost", "localhost."))
    assert caught.value.code in (
        {ErrorCode.BLOCKED_ADDRESS} if resolvable else {ErrorCode.BLOCKED_ADDRESS, ErrorCode.CONNECTION}
    )


def test_a_guarded_call_takes_no_connection_that_was_opened_without_guard(upstream):
    build_adapter("openai", upstream.openai_url, "", allow_private=True).complete(REQUEST)
    with pytest.raises(ProviderError) as caught:
        build_adapter("openai", upstream.openai_url, "", allow_private=False).complete(REQUEST)
    assert caught.value.code == ErrorCode.BLOCKED_ADDRESS
    assert not caught.value.retryable
    assert upstream.request_count == 1


@pytest.mark.parametrize(
    "url",
    [
        "",
        "api.openai.com",
        "ftp://example.com",
        "file:///etc/passwd",
        "gopher://example.com",
        "http://",
        "http:///v1",
        "http://user:password@example.com/",
        "http://user@example.com/",
        "http://example.com/?a=1",
        "http://example.com/#a",
        "http://example.com:0/",
        "http://example.com:99999/",
        "http://example.com:port/",
        "http://exa mple.com/",
        "http://example.com\\@127.0.0.1/",
        "http://example.com/\n",
        "http://exam\x00ple.com/",
        "http://ex\N{LATIN SMALL LETTER A WITH DIAERESIS}mple.com/",
        "http://[::1/",
        "http://example.com/" + "a" * 500,
    ],
)
@pytest.mark.parametrize("allow_private", [True, False])
def test_what_is_no_plain_http_url_is_refused(url, allow_private):
    with pytest.raises(ValueError, match=r"URL|Port"):
        validate_base_url(url, allow_private=allow_private)


@pytest.mark.parametrize(
    "url", ["http://8.8.8.8/v1", "https://1.1.1.1:8443", "https://name-that-does-not-exist.invalid/v1"]
)
def test_an_outside_url_is_accepted(url):
    validate_base_url(url, allow_private=False)


def test_private_urls_are_accepted_when_allowed():
    for url in INSIDE_URLS:
        validate_base_url(url, allow_private=True)


def test_proxies_of_the_environment_are_not_used(upstream, monkeypatch):
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{nobody.getsockname()[1]}")
        build_adapter("openai", upstream.openai_url, "", allow_private=True).complete(REQUEST)
    assert upstream.request_count == 1
