"""Who may ask: which addresses may be bound, which Host and Origin are accepted, and the API key."""

from __future__ import annotations

import base64
import binascii
import hmac
import ipaddress
import socket
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

from luthier.base.errors import LuthierError
from luthier.serve.refusals import Refusal, answer_refusal, refuse

_LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
_ANY_ADDRESS = frozenset({"0.0.0.0", "::", ""})


def check_binding(host: str, api_key: str | None) -> None:
    """Refuse an address others can reach without an API key, and a key that cannot be sent in a header.

    Raises:
        LuthierError: what is wrong and how to mend it.
    """
    if api_key is not None and not (api_key.isascii() and api_key.isprintable() and api_key and " " not in api_key):
        raise LuthierError(
            "the API key is empty or has characters a header cannot carry", mend="Use letters and digits."
        )
    if api_key is None and not is_loopback(host):
        raise LuthierError(
            f"others can reach {host or 'every address'}, so it is not served without an API key",
            where="serve.host",
            mend="Give an API key, or use 127.0.0.1.",
        )


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach ``host``. A name other than localhost may mean anything, so it is not."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


class Access:
    """ASGI layer outside every route: Host, then key, then Origin; what fails never reaches a route.

    - ``Host`` must be a loopback name or the configured host. A web page whose name was re-pointed at this machine (DNS
      rebinding) sends its own name, and is refused. Where every address is bound, any IP address and this machine's
      name pass: an attacker's page has a name of its own, and a key is needed as well.
    - The key comes as ``Authorization: Bearer KEY``, or as the password of Basic, which lets a browser ask for it on
      the page. It is compared in constant time. Only ``/healthz`` goes without.
    - A request that may change something and says it comes from another site's page (``Origin``) is refused. No CORS
      header is ever sent, so other pages cannot read answers either.
    """

    def __init__(self, app: ASGIApp, *, host: str, api_key: str | None) -> None:
        self._app = app
        self._key = None if api_key is None else api_key.encode()
        self._any = host in _ANY_ADDRESS
        own = {host.strip("[]").lower()} - _ANY_ADDRESS
        self._names = _LOOPBACK_NAMES | own | ({socket.gethostname().lower()} if self._any else set())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        refusal = self._refusal(scope) if scope["type"] == "http" else None
        if refusal is None:
            await self._app(scope, receive, send)
        else:
            await answer_refusal(refusal)(scope, receive, send)

    def _refusal(self, scope: Scope) -> Refusal | None:
        hosts = _headers(scope, b"host")
        if len(hosts) != 1 or not self._known(hosts[0]):
            shown = hosts[0][:100] if hosts else ""
            mend = f"Ask for one of: {', '.join(sorted(self._names))} (serve.host adds another)."
            return refuse(400, f'this service does not go by the name "{shown}"', where="Host", mend=mend)
        if self._key is not None and scope["path"] != "/healthz" and not self._has_key(scope):
            # Only the page offers Basic: a browser then asks for the key; a program is told of Bearer.
            offer = 'Basic realm="luthier", charset="UTF-8"' if scope["path"] == "/" else "Bearer"
            refusal = refuse(
                401, "the API key is missing or wrong", where="Authorization", mend="Send Authorization: Bearer KEY."
            )
            return Refusal(401, refusal.faults, code="invalid_api_key", headers={"WWW-Authenticate": offer})
        if scope["method"] not in ("GET", "HEAD"):
            for origin in _headers(scope, b"origin"):
                if not _same_site(origin, hosts[0]):
                    mend = "Call it from its own page, or from a program that sends no Origin."
                    return refuse(403, "requests from another site's page are refused", where="Origin", mend=mend)
        return None

    def _known(self, host: str) -> bool:
        name = _name(host)
        if name is None:
            return False
        return name in self._names or is_loopback(name) or (self._any and _is_address(name))

    def _has_key(self, scope: Scope) -> bool:
        assert self._key is not None
        found = _headers(scope, b"authorization")
        scheme, _, value = found[0].partition(" ") if len(found) == 1 else ("", "", "")
        given = value.strip().encode("latin-1")
        if scheme.lower() == "basic":
            try:
                given = base64.b64decode(given, validate=True).partition(b":")[2]
            except (binascii.Error, ValueError):
                return False
        elif scheme.lower() != "bearer":
            return False
        return hmac.compare_digest(given, self._key)


def _headers(scope: Scope, name: bytes) -> list[str]:
    return [value.decode("latin-1") for key, value in scope["headers"] if key.lower() == name]


def _name(host: str) -> str | None:
    """Return the name of ``name:port`` in lower case; None where it is not of that form."""
    try:
        parts = urlsplit(f"//{host}")
        parts.port  # noqa: B018  (raises where the port is not a number)
    except ValueError:
        return None
    if parts.netloc != host or "@" in host or not parts.hostname:
        return None
    return parts.hostname.rstrip(".")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _same_site(origin: str, host: str) -> bool:
    # The scheme is left out of the comparison: a proxy that ends TLS in front of us changes it and nothing else.
    scheme, _, place = origin.partition("://")
    return scheme in ("http", "https") and place.lower() == host.lower()
