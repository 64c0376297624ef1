"""Access and refresh tokens: what is forged, stale or malformed is a 401, and never a 500."""

import base64
import json
import time
import uuid
from typing import Any

import jwt
import pytest
from rest_framework.test import APIClient

from tests.conftest import Person

pytestmark = pytest.mark.django_db

ME = "/api/v1/auth/me"
OTHER_SECRET = "another-secret-of-quite-sufficient-length-0123456789"


def claims_of(person: Person) -> dict[str, Any]:
    return jwt.decode(encoded_of(person), options={"verify_signature": False})


def encoded_of(person: Person) -> str:
    return str(person.client.defaults["HTTP_AUTHORIZATION"]).removeprefix("Bearer ")


def me_with(token: str) -> Any:
    return APIClient(raise_request_exception=False).get(ME, HTTP_AUTHORIZATION=f"Bearer {token}")


def sign(claims: dict[str, Any], secret: str) -> str:
    return jwt.encode(claims, secret, algorithm="HS256")


def assert_unauthorized(response: Any) -> None:
    assert response.status_code == 401, response.content
    body = response.json()
    assert body["success"] is False
    assert body["error"]["code"] == "UNAUTHORIZED"
    assert response.headers["WWW-Authenticate"] == "Bearer"


def test_claims_are_those_of_the_design(admin):
    claims = claims_of(admin)
    assert claims["user_id"] == str(admin.user.id)
    assert claims["organization_id"] == str(admin.organization.id)
    assert (claims["email"], claims["role"]) == ("ada@acme.example", "admin")
    assert (claims["iss"], claims["aud"]) == ("everquant", "everquant-api")
    assert claims["exp"] - claims["iat"] == 900
    assert claims["jti"]
    assert me_with(encoded_of(admin)).status_code == 200


UNTRUE = {
    "expired": {"exp": 1_000_000_000},
    "other audience": {"aud": "somebody-else"},
    "other issuer": {"iss": "somebody-else"},
    "refresh as access": {"token_type": "refresh"},
    "user is not an id": {"user_id": "not-an-id"},
    "user is a number": {"user_id": 7},
    "user is a list": {"user_id": ["x"]},
    "user is null": {"user_id": None},
    "user has a NUL": {"user_id": "\x00"},
    "organization is an object": {"organization_id": {}},
    "session is a boolean": {"sid": True},
    "session in another form": {"sid": uuid.uuid4().hex},
    "unknown user": {"user_id": str(uuid.uuid4())},
    "unknown organization": {"organization_id": str(uuid.uuid4())},
    "expiry is text": {"exp": "tomorrow"},
    "expiry is a list": {"exp": []},
    "expiry is beyond all time": {"exp": 10**30},
    "issued is text": {"iat": "x"},
    "issued in the future": {"iat": 10**11},
    "not before is a list": {"nbf": []},
    "type is a list": {"token_type": ["access"]},
    "email is a number": {"email": 5},
    "role is a list": {"role": ["admin"]},
    "id is a number": {"jti": 5},
    "audience is an object": {"aud": {"a": 1}},
}


@pytest.mark.parametrize("change", UNTRUE.values(), ids=UNTRUE.keys())
def test_signed_but_untrue_claims_are_refused(admin, settings, change):
    assert me_with(sign(claims_of(admin), settings.JWT_SECRETS[0])).status_code == 200
    assert_unauthorized(me_with(sign({**claims_of(admin), **change}, settings.JWT_SECRETS[0])))


@pytest.mark.parametrize("name", ["user_id", "organization_id", "email", "role", "sid", "jti", "exp", "iss", "aud"])
def test_missing_claims_are_refused(admin, settings, name):
    claims = claims_of(admin)
    del claims[name]
    assert_unauthorized(me_with(sign(claims, settings.JWT_SECRETS[0])))


def test_role_in_the_token_is_not_believed(viewer, settings):
    token = sign({**claims_of(viewer), "role": "admin"}, settings.JWT_SECRETS[0])
    response = APIClient().get("/api/v1/users", HTTP_AUTHORIZATION=f"Bearer {token}")
    assert response.status_code == 403


def test_other_organization_in_the_token_is_not_believed(viewer, outsider, settings):
    token = sign({**claims_of(viewer), "organization_id": str(outsider.organization.id)}, settings.JWT_SECRETS[0])
    assert_unauthorized(me_with(token))


def test_other_secret_and_no_algorithm_are_refused(admin):
    claims = claims_of(admin)
    assert_unauthorized(me_with(sign(claims, OTHER_SECRET)))
    assert_unauthorized(me_with(jwt.encode(claims, None, algorithm="none")))
    header, payload, _ = encoded_of(admin).split(".")
    none = base64.urlsafe_b64encode(json.dumps({"alg": "none", "typ": "JWT"}).encode()).rstrip(b"=").decode()
    assert_unauthorized(me_with(f"{none}.{payload}."))
    assert_unauthorized(me_with(f"{header}.{payload}."))
    assert_unauthorized(me_with(jwt.encode(claims, OTHER_SECRET * 2, algorithm="HS512")))


def test_every_secret_of_the_list_reads_and_the_first_signs(admin, settings):
    old = encoded_of(admin)
    settings.JWT_SECRETS = [OTHER_SECRET, *settings.JWT_SECRETS]
    assert me_with(old).status_code == 200
    assert me_with(sign(claims_of(admin), OTHER_SECRET)).status_code == 200
    refreshed = admin.client.post("/api/v1/auth/switch", {"organization_id": str(admin.organization.id)})
    jwt.decode(refreshed.json()["data"]["access_token"], OTHER_SECRET, ["HS256"], audience="everquant-api")
    settings.JWT_SECRETS = [OTHER_SECRET]
    assert_unauthorized(me_with(old))


@pytest.mark.parametrize(
    "header",
    [
        "Bearer",
        "Bearer ",
        "Basic YTpi",
        "Bearer x",
        "Bearer a.b.c",
        "Bearer ...",
        "Bearer \x00",
        "Bearer eq_",
        "Bearer eq_\x00",
        "Bearer eq_unknown",
        "Bearer " + "a" * 5000,
        "Bearer é.ü.ß",
        "bearer  ",
        "x" * 100,
    ],
)
def test_malformed_credentials_are_refused(anonymous, db, header):
    assert_unauthorized(anonymous.get(ME, HTTP_AUTHORIZATION=header))


def test_truncated_and_changed_tokens_are_refused(admin):
    token = encoded_of(admin)
    for cut in (1, 10, 50, len(token) // 2, len(token) - 3):
        assert_unauthorized(me_with(token[:-cut]))
    header, payload, signature = token.split(".")
    flipped = ("A" if signature[0] != "A" else "B") + signature[1:]
    assert_unauthorized(me_with(f"{header}.{payload}.{flipped}"))


def test_refresh_token_is_no_access_token_and_the_other_way_round(anonymous, admin):
    login = anonymous.post(
        "/api/v1/auth/login", {"email": "ada@acme.example", "password": "correct horse battery"}
    ).json()["data"]
    assert_unauthorized(me_with(login["refresh_token"]))
    assert_unauthorized(anonymous.post("/api/v1/auth/refresh", {"refresh_token": login["access_token"]}))


@pytest.mark.parametrize("change", [c for n, c in UNTRUE.items() if "refresh" not in n and "unknown" not in n])
def test_untrue_refresh_tokens_are_refused(anonymous, admin, settings, change):
    login = anonymous.post(
        "/api/v1/auth/login", {"email": "ada@acme.example", "password": "correct horse battery"}
    ).json()["data"]
    claims = jwt.decode(login["refresh_token"], options={"verify_signature": False})
    forged = sign({**claims, **change}, settings.JWT_SECRETS[0])
    assert_unauthorized(anonymous.post("/api/v1/auth/refresh", {"refresh_token": forged}))
    assert anonymous.post("/api/v1/auth/refresh", {"refresh_token": login["refresh_token"]}).status_code == 200


def test_token_expires_on_time(admin, settings):
    soon = int(time.time())
    assert_unauthorized(me_with(sign({**claims_of(admin), "exp": soon}, settings.JWT_SECRETS[0])))
    assert me_with(sign({**claims_of(admin), "exp": soon + 60}, settings.JWT_SECRETS[0])).status_code == 200
