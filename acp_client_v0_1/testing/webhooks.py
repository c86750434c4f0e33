"""Posts runs whose status changed to their webhooks.

One thread sends one after the other, in the order of the changes; each gets a few seconds. It
starts with the first delivery and ends with the server; a server that starts again begins a new
one. Because a webhook's URL comes from outside, only this machine's own addresses get anything,
unless `webhook_hosts` names others.
"""

from __future__ import annotations

import http.client
import ipaddress
import queue
import re
import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, urlsplit

from pydantic_core import from_json, to_json

__all__ = ["WebhookDelivery", "Webhooks", "webhook_target"]

# All that a URI may hold (RFC 3986, 2); urlsplit lets more through, and strips some of it.
_URI_CHARACTERS = re.compile(r"[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]+")


@dataclass(frozen=True, slots=True)
class WebhookDelivery:
    """One POST to a webhook, and its outcome.

    Args:
        url: The webhook.
        run: The Run that was sent.
        status: The status of its response, None if there was none; 200 is acceptance.
        error: Why there was no response, None if there was one.
    """

    url: str
    run: dict[str, Any]
    status: int | None = None
    error: str | None = None


def webhook_target(url: str) -> SplitResult:
    """Return the parts of a webhook's URL; a ValueError says what is wrong with it."""
    if not _URI_CHARACTERS.fullmatch(url):
        raise ValueError("must be a URI: no spaces, and nothing but ASCII")
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be an http or https URL")
    if parts.port == 0:
        raise ValueError("must not have the port 0")
    return parts


class _Worker:
    """A thread that delivers what is put into its queue."""

    def __init__(self, deliver: Callable[[str, dict[str, Any]], None]) -> None:
        self.queue: queue.SimpleQueue[tuple[str, dict[str, Any]] | None] = queue.SimpleQueue()
        self._deliver = deliver
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="webhooks", daemon=True)
        self._thread.start()

    def close(self, seconds: float) -> None:
        self._closed = True
        self.queue.put(None)
        self._thread.join(seconds)

    def _work(self) -> None:
        while (queued := self.queue.get()) is not None:
            if not self._closed:
                self._deliver(*queued)


class Webhooks:
    """The deliveries of one server; safe to use from any thread.

    Args:
        hosts: Hosts beside this machine that may get deliveries.
        timeout: Seconds of silence that a receiver may keep.
    """

    def __init__(self, hosts: Collection[str] = (), timeout: float = 2.0) -> None:
        self._hosts = frozenset(hosts)
        self._timeout = timeout
        self._lock = threading.Lock()
        self._worker: _Worker | None = None
        self._closed = False
        self._deliveries: list[WebhookDelivery] = []

    def send(self, url: str, run: dict[str, Any]) -> None:
        """Queue the delivery of a copy of a Run."""
        copy = from_json(to_json(run))
        with self._lock:
            if self._closed:
                return
            if self._worker is None:
                self._worker = _Worker(self._deliver)
            self._worker.queue.put((url, copy))

    def deliveries(self) -> tuple[WebhookDelivery, ...]:
        """Return the deliveries so far, failed ones too."""
        with self._lock:
            return tuple(self._deliveries)

    def open(self) -> None:
        """Take deliveries, again if it was closed."""
        with self._lock:
            self._closed = False

    def close(self) -> None:
        """Drop queued and later deliveries, and wait for the one under way."""
        with self._lock:
            self._closed = True
            worker, self._worker = self._worker, None
        if worker is not None:
            worker.close(2 * self._timeout)

    def _deliver(self, url: str, run: dict[str, Any]) -> None:
        try:
            status = self._post(webhook_target(url), to_json(run))
            delivery = WebhookDelivery(url, run, status=status)
        except (OSError, http.client.HTTPException, ValueError) as error:
            delivery = WebhookDelivery(url, run, error=f"{type(error).__name__}: {error}")
        with self._lock:
            self._deliveries.append(delivery)

    def _post(self, url: SplitResult, body: bytes) -> int:
        host = url.hostname or ""
        if host not in self._hosts and not _is_local(host):
            raise ValueError("the local server sends to this machine only")
        kind = http.client.HTTPConnection if url.scheme == "http" else http.client.HTTPSConnection
        connection = kind(host, url.port, timeout=self._timeout)
        try:
            target = (url.path or "/") + (f"?{url.query}" if url.query else "")
            connection.request("POST", target, body, {"Content-Type": "application/json"})
            return connection.getresponse().status
        finally:
            connection.close()


def _is_local(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
