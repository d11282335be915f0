"""An OpenID Connect provider: Authlib's server side, asked over HTTP."""

from __future__ import annotations

from dataclasses import dataclass, field
from time import time
from typing import Any

import flask
from authlib.integrations.flask_oauth2 import AuthorizationServer
from authlib.oauth2.rfc6749 import AuthorizationCodeMixin, ClientMixin, grants
from authlib.oauth2.rfc7636 import CodeChallenge
from authlib.oidc.core import OpenIDCode, UserInfo
from joserfc.jwk import KeySet, RSAKey

CLIENT_ID, CLIENT_SECRET = "shop", "known to both"


@dataclass(frozen=True)
class Person:
    """Somebody who has an account."""

    name: str

    @property
    def sub(self) -> str:
        """Their id, which is not what they type."""
        return f"{self.name}-7f3a"

    def get_user_id(self) -> str:
        return self.sub

    @property
    def info(self) -> UserInfo:
        """What applications are told of them."""
        return UserInfo(
            sub=self.sub,
            name=self.name.title(),
            preferred_username=self.name,
            email=f"{self.name}@example.org",
            email_verified=True,
            address={"locality": "Zürich"},
        )


class Client(ClientMixin):  # type: ignore[misc]
    """The one application that may ask."""

    token_endpoint_auth_method = "client_secret_basic"

    def get_client_id(self) -> str:
        return CLIENT_ID

    def get_default_redirect_uri(self) -> None:
        return None

    def get_allowed_scope(self, scope: str) -> str:
        return scope

    def check_redirect_uri(self, redirect_uri: str) -> bool:
        return redirect_uri.startswith("http://localhost:")

    def check_client_secret(self, client_secret: str) -> bool:
        return client_secret == CLIENT_SECRET

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        return method in ("client_secret_basic", "client_secret_post")

    def check_response_type(self, response_type: str) -> bool:
        return response_type == "code"

    def check_grant_type(self, grant_type: str) -> bool:
        return grant_type == "authorization_code"


@dataclass
class Code(AuthorizationCodeMixin):  # type: ignore[misc]
    """A code on its way from the browser to the application."""

    person: Person
    redirect_uri: str
    scope: str
    nonce: str | None
    code_challenge: str | None
    code_challenge_method: str | None
    since: int = field(default_factory=lambda: int(time()))

    def get_redirect_uri(self) -> str:
        return self.redirect_uri

    def get_scope(self) -> str:
        return self.scope

    def get_nonce(self) -> str | None:
        return self.nonce

    def get_auth_time(self) -> int:
        return self.since

    def get_acr(self) -> None:
        return None

    def get_amr(self) -> None:
        return None


class Provider:
    """The provider: its application, and what it has handed out."""

    def __init__(self) -> None:
        self.codes: dict[str, Code] = {}
        self.tokens: dict[str, Person] = {}
        self.key = RSAKey.generate_key(2048, {"kid": "1", "use": "sig", "alg": "RS256"})
        self.app = flask.Flask("provider")
        self.app.secret_key = "its own"
        self.server = AuthorizationServer(
            self.app,
            query_client=lambda client_id: Client() if client_id == CLIENT_ID else None,
            save_token=self._keep_token,
        )
        self.server.register_grant(
            self._grant(), [self._identity()(), CodeChallenge(required=False)]
        )
        self._add_pages()

    def _keep_token(self, token: dict[str, Any], request: Any) -> None:
        self.tokens[token["access_token"]] = request.user

    def _grant(self) -> type:
        codes = self.codes

        class Grant(grants.AuthorizationCodeGrant):  # type: ignore[misc]
            TOKEN_ENDPOINT_AUTH_METHODS = ("client_secret_basic", "client_secret_post")

            def save_authorization_code(self, code: str, request: Any) -> None:
                data = request.payload.data
                codes[code] = Code(
                    request.user,
                    request.payload.redirect_uri,
                    request.payload.scope,
                    data.get("nonce"),
                    data.get("code_challenge"),
                    data.get("code_challenge_method"),
                )

            def query_authorization_code(self, code: str, client: Client) -> Code | None:
                return codes.get(code)

            def delete_authorization_code(self, authorization_code: Code) -> None:
                spent = [code for code, kept in codes.items() if kept is authorization_code]
                del codes[spent[0]]

            def authenticate_user(self, authorization_code: Code) -> Person:
                return authorization_code.person

        return Grant

    def _identity(self) -> type:
        key = self.key

        class Identity(OpenIDCode):  # type: ignore[misc]
            def exists_nonce(self, nonce: str, request: Any) -> bool:
                return False

            def resolve_client_private_key(self, client: Client) -> Any:
                return key

            def get_client_algorithm(self, client: Client) -> str:
                return "RS256"

            def get_encode_header(self, client: Client) -> dict[str, str]:
                return {"alg": "RS256", "kid": "1"}

            def get_client_claims(self, client: Client) -> dict[str, str]:
                return {"iss": flask.request.host_url.rstrip("/")}

            def generate_user_info(self, user: Person, scope: str) -> UserInfo:
                return user.info

        return Identity

    def _add_pages(self) -> None:
        app = self.app

        @app.get("/.well-known/openid-configuration")
        def metadata() -> dict[str, Any]:
            here = flask.request.host_url.rstrip("/")
            return {
                "issuer": here,
                "authorization_endpoint": f"{here}/authorize",
                "token_endpoint": f"{here}/token",
                "userinfo_endpoint": f"{here}/userinfo",
                "jwks_uri": f"{here}/keys",
                "response_types_supported": ["code"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["RS256"],
            }

        @app.get("/keys")
        def keys() -> Any:
            return KeySet([self.key]).as_dict(private=False)

        @app.get("/authorize")
        def ask() -> str:
            # As most providers do, it has a session of its own, under the same cookie's name.
            flask.session["visits"] = flask.session.get("visits", 0) + 1
            return '<form method="post"><input name="person"></form>'

        @app.post("/authorize")
        def answer() -> Any:
            person = Person(flask.request.form["person"])
            grant = self.server.get_consent_grant(end_user=person)
            return self.server.create_authorization_response(grant_user=person, grant=grant)

        @app.post("/token")
        def token() -> Any:
            return self.server.create_token_response()

        @app.get("/userinfo")
        def userinfo() -> Any:
            sent = flask.request.headers.get("Authorization", "").removeprefix("Bearer ")
            person = self.tokens.get(sent)
            return ("", 401) if person is None else flask.jsonify(person.info)
