"""`LocalServer`: a complete ACP 0.1 server on a port of this machine.

`stop` ends the connections, and `close` ends the runs, too. A server that is stopped and started
again has the same port, agents, runs and threads, like a real one that keeps them on disk.
"""

from __future__ import annotations

import dataclasses
import socket
import ssl
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from inspect import signature
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

from pydantic import BeforeValidator, Field, StrictStr, TypeAdapter
from typing_extensions import Self

from acp_client_v0_1._http.proxies import own_ports
from acp_client_v0_1._http.urls import is_loopback
from acp_client_v0_1.testing._annotations import typed_fields
from acp_client_v0_1.testing._recent import Recent
from acp_client_v0_1.testing._server.app import Application
from acp_client_v0_1.testing._server.engine import Engine
from acp_client_v0_1.testing._server.gate import Gate, base_path_of, required_headers
from acp_client_v0_1.testing._server.injection import FaultInjection
from acp_client_v0_1.testing._server.runner import Runner
from acp_client_v0_1.testing._server.store import RunRecord, Store
from acp_client_v0_1.testing._values import Seconds, check_given, check_type
from acp_client_v0_1.testing.agents import AgentDefinition, JsonObject
from acp_client_v0_1.testing.builtin import BUILTIN_AGENTS
from acp_client_v0_1.testing.faults import Fault, Faults, RecordedRequest
from acp_client_v0_1.testing.quirks import Quirks
from acp_client_v0_1.testing.webhooks import WebhookDelivery, Webhooks

__all__ = ["LocalServer"]

# pydantic has no check of a Collection's members.
_Names: TypeAlias = Annotated[
    Collection[str], BeforeValidator(TypeAdapter(list[StrictStr]).validate_python)
]
_NO_QUIRKS = Quirks()


class LocalServer:
    """A local ACP 0.1 server, for trying things and for tests.

    Use it as a context manager, or call `start` and `close`.

    Args:
        agents: The agents to serve, by default `BUILTIN_AGENTS`.
        host: The address to listen at.
        port: The port; 0 takes a free one.
        tls: Speak TLS with this context, instead of plain HTTP.
        ping: Seconds between the keep-alive comments of a stream.
        webhook_hosts: Hosts beside this machine that may get webhooks. A server at a `host` that
            is not a loopback address calls none without an `api_key`.
        api_key: A header that each request must have, as a pair of name and value, or several as
            a mapping; a request without them gets 401.
        base_path: The path of the server, such as "/acp/v0".
        allowed_hosts: Names, without port, that a request's `Host` may have, besides loopback
            names and the address that it reached; any other gets 421.
        quirks: The habits of a real server to take on.

    Attributes:
        port: The port, or 0 before a free one is taken.

    Raises:
        TypeError: An argument has the wrong type; the message names it.
        ValueError: `port` or `ping` is out of range, `api_key` cannot be a header, `base_path` is
            not a plain path, `host` or a name in `allowed_hosts` is not a host name, or two agents
            have the same id.
    """

    def __init__(
        self,
        agents: Iterable[AgentDefinition] | None = None,
        host: str = "127.0.0.1",
        port: Annotated[int, Field(ge=0, le=65535)] = 0,
        *,
        tls: ssl.SSLContext | None = None,
        ping: Annotated[Seconds, Field(gt=0)] = 15.0,
        webhook_hosts: _Names = (),
        api_key: Mapping[str, str] | tuple[str, str] | None = None,
        base_path: str = "",
        allowed_hosts: _Names = (),
        quirks: Quirks = _NO_QUIRKS,
    ) -> None:
        check_type('api_key, such as ("x-api-key", "s"),', api_key, tuple, Mapping, type(None))
        if isinstance(api_key, tuple) and len(api_key) != 2:
            raise TypeError('api_key: must be a pair of name and value, ("x-api-key", "s")')
        check_given(LocalServer.__init__, locals())
        if tls is not None and tls.protocol == ssl.PROTOCOL_TLS_CLIENT:
            raise ValueError("tls: is the context of a client; make it of ssl.Purpose.CLIENT_AUTH")
        self._host = host
        self.port: int = port
        self._tls = tls
        self._base_path = base_path_of(base_path)
        self._store = Store(BUILTIN_AGENTS if agents is None else agents, quirks)
        keys = required_headers(api_key)
        # Without a key, anybody in the network could have this machine's own services called.
        self._webhooks = Webhooks(webhook_hosts, enabled=bool(keys) or is_loopback(host))
        self._engine = Engine(self._store, self._send_webhook)
        self._log: Recent[RecordedRequest] = Recent()
        self._faults = Faults()
        operations = Application(self._store, self._engine, ping, self._base_path, keys)
        faulty = FaultInjection(operations, self._faults, self._log, self._base_path)
        self._app = Gate(faulty, host, allowed_hosts)
        self._runner: Runner | None = None
        self._accepted_before = 0

    if not TYPE_CHECKING:
        # A type checker that sees `__setattr__` would take any name for an attribute.

        def __setattr__(self, name: str, value: Any) -> None:
            if name in _SETTINGS:
                raise AttributeError(f"{name} cannot be changed: make a LocalServer with {name}=…")
            super().__setattr__(name, value)

    def start(self) -> Self:
        """Listen, serve from a thread, and return the server itself.

        Raises:
            OSError: The port is taken.
            RuntimeError: The server does not come up within ten seconds.
        """
        if self._runner is None:
            family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
            listener = socket.create_server((self._host, self.port), family=family)
            self.port = listener.getsockname()[1]
            self._runner = Runner(self._app, listener, self._tls)
            own_ports.add(self.port)
        return self

    def stop(self) -> None:
        """Cut all connections and stop listening. Runs continue, and `start` listens again."""
        runner, self._runner = self._runner, None
        if runner is not None:
            own_ports.discard(self.port)
            runner.end()
            self._accepted_before += runner.meter.accepted

    def restart(self, pause: Seconds = 0.0, *, forget: bool = False) -> None:
        """Stop, wait, and start again at the same port.

        Args:
            pause: Seconds between the stop and the start.
            forget: Cancel and forget all runs and threads, like a server that has them in memory
                only; agents, faults and recorded requests stay.
        """
        check_given(LocalServer.restart, locals())
        self.stop()
        if forget or self._store.quirks.on_restart == "forgets":
            self._engine.close()
        elif self._store.quirks.on_restart == "hangs":
            self._engine.hang()
        time.sleep(pause)
        self.start()

    def close(self) -> None:
        """Stop, and cancel and forget all runs."""
        self.stop()
        self._engine.close()
        self._webhooks.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    @property
    def url(self) -> str:
        """The URL for `Configuration(host=…)`. Before the first start, RuntimeError is raised."""
        if not self.port:
            raise RuntimeError("the server has no port before it is started")
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{'https' if self._tls else 'http'}://{host}:{self.port}{self._base_path}"

    def register(self, agent: AgentDefinition | Callable[..., object], **fields: Any) -> str:
        """Add an agent, and return its id.

        Args:
            agent: A function `agent(input, config, context)`, or a whole AgentDefinition. The
                function may take the first one or two of these only. If a parameter or the result
                has a type, such as a model, the descriptor has the JSON Schema of the type. The
                function gets a value of the type, and an input that does not fit is refused with
                422.
            **fields: Fields of AgentDefinition, such as `name` or `interrupts`.

        Raises:
            TypeError: A field has the wrong type.
            ValueError: A field has an impossible value, or another agent has the same id; agents
                of the same name and version have.
        """
        for name in (name for name, value in fields.items() if value == ""):
            raise ValueError(f"{name}: must not be empty")
        if isinstance(agent, AgentDefinition):
            definition = dataclasses.replace(agent, **fields)
        else:
            definition = AgentDefinition(**{**typed_fields(agent), **fields})
        self._store.register(definition)
        return definition.agent_id

    @property
    def faults(self) -> Faults:
        """The faults that wait for their requests; `fail_next` adds the simplest kind."""
        return self._faults

    @property
    def agents(self) -> tuple[AgentDefinition, ...]:
        """All agents, in the order of their registration."""
        with self._store.lock:
            return tuple(self._store.agents.values())

    def fail_next(self, status: int, **fields: Any) -> None:
        """Respond to the next request with a status instead of carrying it out.

        Args:
            status: The status.
            **fields: Other fields of Fault, such as `times`, `path` or `retry_after`.

        Raises:
            TypeError: A field has the wrong type.
            ValueError: A field has an impossible value, or would do nothing; a status below 300 is
                no failure.
        """
        fault = Fault(status=status, **fields)
        if status < 300:
            raise ValueError(f"status: {status} is no failure; use faults.add(Fault(status=…, …))")
        self.faults.add(fault)

    @property
    def requests(self) -> tuple[RecordedRequest, ...]:
        """The requests that arrived whole and were let in, oldest first.

        The newest 20,000 are kept, with at most 64 MiB of heads and bodies.
        """
        return self._log.all()

    def clear_requests(self) -> None:
        """Forget the requests so far."""
        self._log.clear()

    @property
    def runs(self) -> tuple[JsonObject, ...]:
        """The runs that the server has, each as `get_run` gives it, oldest first."""
        with self._store.lock:
            return tuple(run.to_wire() for run in self._store.runs.values())

    @property
    def webhooks(self) -> tuple[WebhookDelivery, ...]:
        """The deliveries to webhooks, oldest first: the newest 20,000, with 64 MiB of runs."""
        return self._webhooks.deliveries.all()

    @property
    def connections_accepted(self) -> int:
        """How many connections were ever accepted."""
        return self._accepted_before + (self._runner.meter.accepted if self._runner else 0)

    @property
    def connections_open(self) -> int:
        """How many connections are open now."""
        return len(self._runner.meter.connections) if self._runner else 0

    def _send_webhook(self, run: RunRecord) -> None:
        url = run.creation.get("webhook")
        if url is not None and self._store.quirks.webhooks:
            self._webhooks.send(url, run.to_wire())


# `port` is known only when the server listens.
_SETTINGS = signature(LocalServer).parameters.keys() - {"port"}
