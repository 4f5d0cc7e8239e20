"""Ask a language model behind an OpenAI-compatible endpoint, with retries and a cache on disk."""

import hashlib
import http.client
import json
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from time import sleep
from typing import Any
from urllib.parse import urlsplit

from echodistill.core.atomic import atomic_path
from echodistill.core.errors import UserError

TIMEOUT_S = 60.0
ATTEMPTS = 5
FIRST_WAIT_S, LONGEST_WAIT_S = 1.0, 30.0
"""Wait before the second attempt, doubled before each further one, and the longest wait."""
RETRIED = (408, 409, 425, 429, 500, 502, 503, 504)
"""Status codes of a server that may answer later."""
MAX_REPLY_TOKENS = 16


@dataclass(frozen=True)
class ChatEndpoint:
    """A model that replies to a message. The key is in no error and no representation."""

    url: str
    """Base address, whose path ends before ``/chat/completions``."""
    model: str
    key: str = field(repr=False)
    """Sent as a bearer token; an empty one is not sent."""
    cache: Path
    """Folder of the replies by the content of the request."""
    timeout_s: float = TIMEOUT_S

    def __post_init__(self) -> None:
        """Raise ``UserError`` for an address or a key that cannot be used."""
        parts = urlsplit(self.url)
        try:
            whole = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        except ValueError:  # The port is no number.
            whole = False
        if not whole:
            raise UserError("the judge's address is no http(s) address: write http://HOST:PORT/v1")
        if parts.username is not None or parts.password is not None or parts.query:
            raise UserError(
                "the judge's address holds a user, a password or a query: give the key in"
                " ECHODISTILL_JUDGE_KEY"
            )
        if not (self.key.isascii() and self.key.isprintable()):
            raise UserError("the judge's key has characters that no header may have: copy it again")

    def reply(self, instructions: str, message: str) -> str:
        """Return the model's reply, from the cache or else from the endpoint.

        Raise ``UserError`` where the endpoint refuses the request, or does not answer in
        ``ATTEMPTS`` attempts.
        """
        request = {
            "model": self.model,
            "messages": [
                {"role": "system", "content": instructions},
                {"role": "user", "content": message},
            ],
            "temperature": 0,
            "max_tokens": MAX_REPLY_TOKENS,
        }
        content = json.dumps(request, sort_keys=True).encode()
        digest = hashlib.sha256(content).hexdigest()
        path = self.cache / digest[:2] / f"{digest}.json"
        if (known := _kept(path)) is not None:
            return known
        reply = self._asked(content)
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps({"reply": reply}) + "\n", encoding="utf-8")
        return reply

    def _asked(self, content: bytes) -> str:
        wait_s, fault = FIRST_WAIT_S, ""
        for attempt in range(ATTEMPTS):
            if attempt:
                sleep(min(wait_s, LONGEST_WAIT_S))
                wait_s *= 2
            try:
                return self._sent(content)
            except urllib.error.HTTPError as error:
                error.close()
                fault = f"it answers with status {error.code}"
                if error.code not in RETRIED:
                    break
                wait_s = max(wait_s, _asked_wait_s(error))
            except (OSError, http.client.HTTPException) as error:
                # The text of such an error may hold the request, so its kind must do.
                cause = getattr(error, "reason", error)
                cause = cause if isinstance(cause, Exception) else error
                fault = getattr(cause, "strerror", None) or type(cause).__name__
            except ValueError:
                fault = "its reply is no chat completion"
        raise UserError(
            f"the judge at {self.url} cannot be used: {fault}; check that it serves {self.model}"
            " and accepts the key in ECHODISTILL_JUDGE_KEY"
        )

    def _sent(self, content: bytes) -> str:
        """Return the reply to one request. Raise ``ValueError`` for one of another form."""
        headers = {"Content-Type": "application/json"}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        address = self.url.rstrip("/") + "/chat/completions"
        request = urllib.request.Request(address, content, headers)
        # A redirection would take the key to another host.
        handlers: list[urllib.request.BaseHandler] = [_NoRedirection()]
        if _is_loopback(urlsplit(self.url).hostname or ""):
            handlers.append(urllib.request.ProxyHandler({}))
        with urllib.request.build_opener(*handlers).open(request, timeout=self.timeout_s) as answer:
            body: Any = json.loads(answer.read())
        try:
            reply = body["choices"][0]["message"]["content"]
        except (KeyError, IndexError, TypeError):
            reply = None
        if not isinstance(reply, str):
            raise ValueError("no text")
        return reply


class _NoRedirection(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_given: Any) -> None:
        """Return ``None``, so that the redirection is an error."""


def _kept(path: Path) -> str | None:
    """Return the reply in the cache, or ``None`` where it is absent or damaged."""
    try:
        reply = json.loads(path.read_bytes())["reply"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return reply if isinstance(reply, str) else None


def _asked_wait_s(error: urllib.error.HTTPError) -> float:
    """Return the seconds that the server asks to wait, or 0."""
    wait = error.headers.get("Retry-After", "")
    return float(wait) if wait.isascii() and wait.isdecimal() else 0.0


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
