"""Posts runs whose status changed to their webhooks.

One thread sends them, in the order of the changes. A receiver may be silent for two seconds, and
one that sends a byte now and then delays the others, and the end of the server. The thread lasts
from the first start of the server to its end. A webhook's URL comes from outside, so only this
machine's own addresses get anything, unless `webhook_hosts` names others.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import urllib3
from pydantic_core import from_json, to_json

from acp_client_v0_1._http.urls import is_loopback, parse_target
from acp_client_v0_1.testing._recent import Recent

__all__ = ["WebhookDelivery", "Webhooks"]

# A receiver may be silent for this many seconds.
_SECONDS = 2.0


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
        # It has no thread before the first delivery.
        self._sender = ThreadPoolExecutor(1, "webhooks of the local server")
        self.deliveries: Recent[WebhookDelivery] = Recent()

    def send(self, url: str, run: dict[str, Any]) -> None:
        """Queue the delivery of a copy of a Run."""
        # The sender refuses a delivery with RuntimeError if another thread has just closed it.
        with contextlib.suppress(RuntimeError):
            self._sender.submit(self._deliver, url, from_json(to_json(run)))

    def close(self) -> None:
        """Drop queued deliveries, and wait for the one that is being sent."""
        # The server may start again, and then sends again.
        closed, self._sender = self._sender, ThreadPoolExecutor(1, "webhooks of the local server")
        closed.shutdown(cancel_futures=True)

    def _deliver(self, url: str, run: dict[str, Any]) -> None:
        body = to_json(run)
        try:
            delivery = WebhookDelivery(url, run, status=self._post(url, body))
        except (OSError, urllib3.exceptions.HTTPError, ValueError) as error:
            # urllib3's own words begin with a repr of the connection.
            cause = error.__cause__ if isinstance(error.__cause__, OSError) else error
            delivery = WebhookDelivery(url, run, error=f"{type(cause).__name__}: {cause}")
        self.deliveries.add(delivery, len(body))

    def _post(self, url: str, body: bytes) -> int:
        if not self._enabled:
            raise ValueError("a server beyond loopback needs an api_key to call webhooks")
        target = parse_target(url, "it")
        host = target.origin.host
        if host not in self._hosts and not is_loopback(host):
            raise ValueError("the local server sends to this machine only")
        headers = {"Content-Type": "application/json"}
        once: dict[str, Any] = {"retries": False, "redirect": False, "preload_content": False}
        with urllib3.PoolManager(timeout=_SECONDS) as pools:
            response = pools.request("POST", target.url, body=body, headers=headers, **once)
            response.close()
            return response.status
