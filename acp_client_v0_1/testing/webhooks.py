"""Posts runs whose status changed to their webhooks.

One thread sends them, in the order of the changes; each receiver gets a few seconds. The thread
lasts from the first start of the server to its end. A webhook's URL comes from outside, so only
this machine's own addresses get anything, unless `webhook_hosts` names others.
"""

from __future__ import annotations

import queue
import re
import threading
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, TypeAlias

import urllib3
from pydantic_core import from_json, to_json

from acp_client_v0_1._http.urls import Target, parse_target
from acp_client_v0_1.testing._recent import Recent
from acp_client_v0_1.testing._values import is_loopback

__all__ = ["WebhookDelivery", "Webhooks", "webhook_target"]

# A URI has only these characters (RFC 3986, section 2). `parse_target` lets others pass.
_URI_CHARACTERS = re.compile(r"[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]+")

# A receiver may be silent for so many seconds.
_SECONDS = 2.0
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


def webhook_target(url: str) -> Target:
    """Return the target of a webhook, or raise ValueError."""
    if not _URI_CHARACTERS.fullmatch(url):
        raise ValueError("it must be a URI: no spaces, and nothing but ASCII")
    return parse_target(url, "it")


class Webhooks:
    """The deliveries of one server, safe to use from any thread.

    Args:
        hosts: Hosts beside this machine that may get deliveries.
        enabled: Whether anybody gets one; if not, each delivery fails.

    Attributes:
        deliveries: The deliveries so far, failed ones included.
    """

    def __init__(self, hosts: Collection[str], *, enabled: bool) -> None:
        self._hosts = frozenset(hosts)
        self._enabled = enabled
        self._queue: _Queue | None = None
        self.deliveries: Recent[WebhookDelivery] = Recent()

    def open(self) -> None:
        """Begin to send, unless this is under way."""
        if self._queue is None:
            self._queue = queue.SimpleQueue()
            queued = (self._queue,)
            self._thread = threading.Thread(target=self._send_webhooks, args=queued, daemon=True)
            self._thread.start()

    def send(self, url: str, run: dict[str, Any]) -> None:
        """Queue the delivery of a copy of a Run, unless the deliveries have ended."""
        queued = self._queue
        if queued is not None:
            queued.put((url, from_json(to_json(run))))

    def close(self) -> None:
        """Drop queued and later deliveries, and wait for the one that is being sent."""
        closed, self._queue = self._queue, None
        if closed is not None:
            closed.put(None)
            self._thread.join(2 * _SECONDS)

    def _send_webhooks(self, queued: _Queue) -> None:
        while (delivery := queued.get()) is not None:
            if queued is self._queue:
                # After `close`, this queue is not the current one.
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
        target = webhook_target(url)
        host, port, scheme = target.origin.host, target.origin.port, target.origin.scheme
        if host not in self._hosts and not is_loopback(host):
            raise ValueError("the local server sends to this machine only")
        headers = {"Content-Type": "application/json"}
        with urllib3.PoolManager(timeout=_SECONDS) as pools:
            pool = pools.connection_from_host(host, port, scheme)
            once: dict[str, Any] = {"retries": False, "redirect": False, "preload_content": False}
            response = pool.urlopen("POST", target.path, body, headers, **once)
            response.close()
            return response.status
