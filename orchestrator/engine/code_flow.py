"""The two requests of a login with an identity provider: a browser is sent, a code is exchanged.

The authorization code flow (RFC 6749, 4.1) with PKCE (RFC 7636, S256), by Authlib.
"""

from __future__ import annotations

from collections.abc import Collection

import httpx2
from authlib.integrations.base_client import OAuthError
from authlib.integrations.httpx_client import AsyncOAuth2Client

from orchestrator.errors import NotAuthenticated, Problem, Unavailable

SECONDS = 10.0


class CodeFlow:
    """One client of one provider. Without a secret it is a public one, which PKCE protects."""

    def __init__(
        self, client_id: str, secret: str | None, *, scopes: Collection[str], back_to: str
    ) -> None:
        """`back_to`: the redirect URI, as the provider knows it."""
        self._client_id, self._secret = client_id, secret
        self._scope, self._back_to = " ".join(scopes), back_to

    def address(self, endpoint: str, *, state: str, nonce: str, verifier: str) -> str:
        """Where to send the browser."""
        url, _ = self._client(()).create_authorization_url(
            endpoint, state=state, nonce=nonce, code_verifier=verifier
        )
        return str(url)

    async def id_token(
        self, endpoint: str, *, code: str, verifier: str, methods: Collection[str]
    ) -> str:
        """The ID token for a code; `methods`: of showing its secret, that the provider knows.

        Raises NotAuthenticated where the provider refuses the code, Unavailable.
        """
        async with self._client(methods) as client:
            try:
                found = await client.fetch_token(
                    endpoint, code=code, code_verifier=verifier, grant_type="authorization_code"
                )
            except OAuthError as error:
                raise _refused(str(error.error)) from error
            except httpx2.HTTPStatusError as error:  # 5xx; the others hold an OAuthError
                why = f"it answers {error.response.status_code}"
                raise Unavailable("issuer", endpoint, why) from error
            except (httpx2.HTTPError, ValueError) as error:
                why = str(error) or type(error).__name__
                raise Unavailable("issuer", endpoint, why) from error
        token = found.get("id_token")
        if not isinstance(token, str):
            raise _refused("an answer without id_token")
        return token

    def _client(self, methods: Collection[str]) -> AsyncOAuth2Client:
        method = "none"
        if self._secret is not None:
            posts = "client_secret_post" in methods and "client_secret_basic" not in methods
            method = "client_secret_post" if posts else "client_secret_basic"
        return AsyncOAuth2Client(
            client_id=self._client_id, client_secret=self._secret, scope=self._scope,
            redirect_uri=self._back_to, token_endpoint_auth_method=method,
            code_challenge_method="S256", timeout=SECONDS, follow_redirects=False,
        )  # fmt: skip


def _refused(found: str) -> NotAuthenticated:
    problem = Problem(place="answer of the token endpoint", found=found[:200], wanted="an ID token")
    return NotAuthenticated("the identity provider did not take the code", problems=[problem])
