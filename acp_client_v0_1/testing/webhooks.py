"""Posts runs whose status changed to their webhooks.

One thread sends them, in the order of the changes; each receiver gets a few seconds. The thread
starts with the first delivery and ends with the server. A webhook's URL comes from outside, so only
this machine's own addresses get anything, unless `webhook_hosts` names others.
"""

from __future__ import annotations

import queue
import re
import threading
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, TypeAlias
from urllib.parse import SplitResult, urlsplit

import urllib3
from pydantic_core import from_json, to_json

from acp_client_v0_1.testing._recent import Recent
from acp_client_v0_1.testing._values import is_loopback

__all__ = ["WebhookDelivery", "Webhooks", "webhook_target"]

# The characters of a URI (RFC 3986, 2). urlsplit lets others through, and strips some.
_URI_CHARACTERS = re.compile(r"[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]+")

_SECONDS = 2.0  # of silence that a receiver may keep
_Queue: TypeAlias = queue.SimpleQueue["tuple[str, dict[str, Any]] | None"]


@dataclass(frozen=True, slots=True)
class WebhookDelivery:
    """One POST to a webhook, and its outcome.

    Args:
        url: The webhook.
        run: The Run that was sent.
        status: The status of the response; 200 means that the webhook accepted the run.
        error: Why there was no response; either this or `status` is None.
    """

    url: str
    run: dict[str, Any]
    status: int | None = None
    error: str | None = None


def webhook_target(url: str) -> SplitResult:
    """Return the parts of a webhook's URL, or raise ValueError."""
    if not _URI_CHARACTERS.fullmatch(url):
        raise ValueError("must be a URI: no spaces, and nothing but ASCII")
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be an http or https URL")
    if parts.port == 0:
        raise ValueError("must not have the port 0")
    return parts


class Webhooks:
    """The deliveries of one server, safe to use from any thread.

    Args:
        hosts: Hosts beside this machine that may get deliveries.
        enabled: Whether anybody gets one; if not, each delivery fails.

    Attributes:
        closed: Whether deliveries are dropped, as after `close`.
        deliveries: The deliveries so far, failed ones included.
    """

    def __init__(self, hosts: Collection[str], *, enabled: bool) -> None:
        self._hosts = frozenset(hosts)
        self._enabled = enabled
        self._lock = threading.Lock()
        self._queue: _Queue | None = None
        self._thread: threading.Thread | None = None
        self.closed: bool = False
        self.deliveries: Recent[WebhookDelivery] = Recent()

    def send(self, url: str, run: dict[str, Any]) -> None:
        """Queue the delivery of a copy of a Run."""
        copy = from_json(to_json(run))
        with self._lock:
            if self.closed:
                return
            if self._queue is None:
                self._queue = queue.SimpleQueue()
                self._thread = threading.Thread(
                    target=self._work, args=(self._queue,), name="webhooks", daemon=True
                )
                self._thread.start()
            self._queue.put((url, copy))

    def close(self) -> None:
        """Drop queued and later deliveries, and wait for the one that is being sent."""
        with self._lock:
            self.closed = True
            closed, self._queue = self._queue, None
        if closed is not None and self._thread is not None:
            closed.put(None)
            self._thread.join(2 * _SECONDS)

    def _work(self, queued: _Queue) -> None:
        while (delivery := queued.get()) is not None:
            if queued is self._queue:  # not closed
                self._deliver(*delivery)

    def _deliver(self, url: str, run: dict[str, Any]) -> None:
        body = to_json(run)
        try:
            status = self._post(url, body)
            delivery = WebhookDelivery(url, run, status=status)
        except (OSError, urllib3.exceptions.HTTPError, ValueError) as error:
            # urllib3's own words begin with a repr of the connection.
            cause = error.__cause__ if isinstance(error.__cause__, OSError) else error
            delivery = WebhookDelivery(url, run, error=f"{type(cause).__name__}: {cause}")
        self.deliveries.add(delivery, len(body))

    def _post(self, url: str, body: bytes) -> int:
        if not self._enabled:
            raise ValueError("a server beyond loopback needs an api_key to call webhooks")
        parts = webhook_target(url)
        host = parts.hostname or ""
        if host not in self._hosts and not is_loopback(host):
            raise ValueError("the local server sends to this machine only")
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        headers = {"Content-Type": "application/json"}
        with urllib3.PoolManager(timeout=_SECONDS) as pools:
            pool = pools.connection_from_host(host, parts.port, parts.scheme)
            once: dict[str, Any] = {"retries": False, "redirect": False, "preload_content": False}
            response = pool.urlopen("POST", target, body, headers, **once)
            response.close()
            return response.status
