"""The checks of what a caller gives: callbacks, flags, numbers, paths, clients and other objects.

Every public entry passes its arguments through this door by their names, so that a mistake is named
where it is made, in the caller's own words, and before anything is sent.

Strategy: one table has the rule of each argument, as a name means the same in every method. An
object is judged by an attribute that is used of it, since a stand-in of a test has no other. A
callback is judged by its signature; a builtin that has none may be right.
"""

from __future__ import annotations

import importlib
import os
import re
import threading
from collections.abc import Callable, Mapping
from inspect import iscoroutinefunction, signature
from typing import Any
from uuid import UUID

from acp_client_v0_1.exceptions import ApiTypeError, ApiValueError

Rule = tuple[str, Callable[[Any], bool]]
"""What an argument must be, and whether a value is that."""

TOKEN_BEGINNING = re.compile(r"acprun([0-9]{1,9})\.")
UUID_FORM = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


def check_arguments(*required: str, **given: Any) -> None:
    """Check arguments by their names. What is ``required`` is neither None nor empty."""
    for name, value in given.items():
        if value is None and name not in required:
            continue
        expected, fits = _RULES[name]
        if not fits(value):
            if expected[0] == '"':
                # The argument is one of several words.
                raise ApiValueError(f"{name} must be {expected}, not {value!r:.40}")
            raise wrong_type(name, expected, value)
        # A flag has neither a unit nor a least value.
        if value is True or value is False:
            continue
        unit, least = "", _LEAST.get(name)
        if name in ("block_margin", "block_timeout", "every", "timeout"):
            unit = " seconds"
            seconds_of(value, name)
        if value is not None and least is not None and not value >= least:
            # The comparison is negated so that NaN is refused.
            raise ApiValueError(f"{name} must be at least {least}{unit}, not {value!r}")
        if value == "" and (name in _FILLED or name in required):
            raise ApiValueError(f"{name} must not be empty")


def refuse_token(name: str, value: str) -> None:
    """Raise `ApiValueError` if a run's token was given in place of an id or another text."""
    if TOKEN_BEGINNING.match(value):
        hint = "use RunHandle.from_token(token, client)"
        raise ApiValueError(f"{name} is the token of a run", hint=hint)


def seconds_of(value: Any, name: str) -> float:
    """Return a number of seconds as a float. Raise `ApiValueError` if it is too large for one."""
    try:
        return float(value)
    except OverflowError:
        raise ApiValueError(f"{name} must be a number of seconds that a float can hold") from None


def wrong_type(name: str, expected: str, value: object) -> ApiTypeError:
    """Return the error of an argument whose type is wrong; a hint may follow after a semicolon."""
    expected, semicolon, hint = expected.partition(";")
    kind = type(value)
    # A class of another package may have the same name. "must be an ApiClient, not ApiClient" would
    # explain nothing.
    package = f"{kind.__module__}." if kind.__name__ in expected else ""
    wrong = f", not {package}{kind.__name__}"
    if isinstance(value, type):
        wrong = ": pass an instance, not the class itself"
    elif iscoroutinefunction(value):
        wrong = ", not async: this client is synchronous"
    elif name.endswith("_id") and hasattr(value, name):
        wrong += f": pass its {name}"
    elif callable(value) and "function" in expected:
        wrong = f", and yours takes ({', '.join(signature(value).parameters):.60})"
    return ApiTypeError(f"{name} must be {expected}{wrong}{semicolon}{hint}")


def _has(attribute: str, other: str = "") -> Callable[[Any], bool]:
    def fits(value: Any) -> bool:
        there = hasattr(value, attribute) or hasattr(value, other)
        return there and not isinstance(value, type)

    return fits


def _takes(count: int, *names: str) -> Callable[[Any], bool]:
    def fits(value: Any) -> bool:
        try:
            signature(value).bind(*range(count), **dict.fromkeys(names))
        except TypeError:
            # A value that cannot be called raises TypeError, too.
            return False
        except ValueError:
            # A builtin without a signature may be right.
            pass
        return not iscoroutinefunction(value)

    return fits


def _is(kind: Any) -> Callable[[Any], bool]:
    # True is an int to Python, and nobody means it as a number.
    return lambda value: isinstance(value, kind) and not isinstance(value, bool)


def _one_of(*words: str) -> Rule:
    # An array of numpy is neither equal to a word nor different.
    expected = " or ".join(f'"{word}"' for word in words)
    return expected, lambda value: isinstance(value, str) and value in words


def _are_options(value: Any) -> bool:
    # setsockopt() takes three arguments, or four with None for the third.
    kinds: Any = {3: (int, int, int | bytes), 4: (int, int, type(None), int)}
    lists: Any = (list, tuple)
    if not isinstance(value, lists) or not all(isinstance(each, lists) for each in value):
        return False
    return all(
        len(each) in kinds and all(map(isinstance, each, kinds[len(each)])) for each in value
    )


# Without this check, "no" would count as true. The method is `isinstance` without a call of Python,
# as a run checks three flags.
_FLAG: Rule = "True or False", bool.__instancecheck__
_TEXT: Rule = "a str", _is(str)
CREDENTIAL: Rule = (
    "a str, or a function without arguments that returns it",
    lambda value: isinstance(value, str) or _takes(0)(value),
)
_INT: Rule = "an int", _is(int)
is_number: Callable[[object], bool] = _is((int, float))
# An empty text may come from an empty variable of a shell. As a path it would be the folder that
# the script runs in.
_FILLED = ("journal", "thread_id", "webhook")
_FILES = ("cert_file", "key_file", "logger_file", "ssl_ca_cert")
_SIZES = ("connection_pool_maxsize", "max_event_bytes", "max_response_bytes")
_LEAST: dict[str, float] = {
    **dict.fromkeys(("block_timeout", "concurrency", *_SIZES), 1),
    **dict.fromkeys(("block_margin", "max_interrupts", "timeout", "total"), 0),
    "every": 0.001,
}
_RULES: dict[str, Rule] = {
    **dict.fromkeys(("client_token", "name", "prefix", "version", "webhook"), _TEXT),
    **dict.fromkeys(("no_proxy", "password", "proxy", "username"), _TEXT),
    **dict.fromkeys(("_content_type", "header_name", "tls_server_name", "url"), _TEXT),
    **dict.fromkeys(("cancel_on_exit", "check", "durable", "ordered", "retry_failed"), _FLAG),
    **dict.fromkeys(("client_side_validation", "debug", "deep", "reuse"), _FLAG),
    **dict.fromkeys(("ignore_operation_servers", "through_interrupts"), _FLAG),
    **dict.fromkeys(("block_timeout", "concurrency", "max_interrupts", "total", *_SIZES), _INT),
    **dict.fromkeys(("block_margin", "every"), ("a number of seconds", is_number)),
    **dict.fromkeys(("timeout", "total_timeout"), ("a number of seconds or None", is_number)),
    **dict.fromkeys(("headers", "_headers"), ("a dict", _is(Mapping))),
    **dict.fromkeys(("header_params", "_request_auth"), ("a dict", _is(Mapping))),
    **dict.fromkeys(("api_client", "client", "default"), ("an ApiClient", _has("call"))),
    # A number would be the descriptor of a file, and 1 is standard output.
    "journal": ("the path of a file", _is(str | os.PathLike)),
    **dict.fromkeys(_FILES, ("the path of a file", _is(str | bytes | os.PathLike))),
    "agents_api": ("an AgentsApi; AgentsApi(api_client) is one", _has("search_agents")),
    "access_token": CREDENTIAL,
    "after": ("a str or None", _is(str)),
    "agent": ("an AgentHandle; AgentHandle.get(agent, client) is one", _has("map")),
    "auth": ("a function that takes the request; or set username and password", _takes(1)),
    "assert_hostname": ("a str or False", lambda value: isinstance(value, str | bool)),
    "ca_cert_data": ("a str or bytes (PEM or DER)", _is(str | bytes | bytearray)),
    "chunk": ("bytes; encode() a str", _is(bytes | bytearray | memoryview)),
    "configuration": ("a Configuration", _has("host")),
    "connect": ("a function without arguments that gives an ApiClient", _takes(0)),
    "executor": ("a concurrent.futures.Executor, as ProcessPoolExecutor()", _has("submit")),
    "function": ("a function agent(input, config, context)", _takes(3)),
    "key": ("a function that takes an input and gives its name", _takes(1)),
    "on_drift": _one_of("raise", "continue"),
    "on_event": ("a function that takes the event", _takes(1)),
    "on_gap": _one_of("raise", "mark"),
    "on_interrupt": ("a function that takes the question and gives the answer", _takes(1)),
    "on_pending": ("a function that takes the seconds elapsed and the status", _takes(2)),
    "on_stop": _one_of("leave", "cancel"),
    "pool": ("a urllib3.PoolManager", _has("connection_from_url")),
    "progress": (
        "True, for a bar, or a function that takes the counts",
        lambda value: isinstance(value, bool) or _takes(1)(value),
    ),
    # `ssl` loads with the transport, and not with the settings.
    **dict.fromkeys(("proxy_ssl_context", "ssl_context"), ("an ssl.SSLContext", _has("wrap_bio"))),
    "refresh_api_key_hook": ("a function that takes the configuration", _takes(1)),
    "run": ("a Run; for an id, use RunHandle(run_id)", _has("creation")),
    "runs_api": ("a RunsApi; RunsApi(api_client) is one", _has("get_run_output", "search_runs")),
    # An asyncio.Event, whose wait() takes nothing, would fail in the middle of a pause.
    "stop": ("a threading.Event or None", lambda it: _has("is_set")(it) and _takes(1)(it.wait)),
    "server_index": _INT,
    "socket_options": ("tuples (level, name, value)", _are_options),
    "streaming": ('a str, "result" or "custom"', _is(str)),
    "threads_api": ("a ThreadsApi; ThreadsApi(api_client) is one", _has("search_threads")),
    "thread_id": ("a str", _is(str | UUID)),
    "to": ("a PendingInterrupt or None", _has("updated_at")),
    "transport": (
        "an object with send(request, *, connect, read) and close(), as Urllib3Transport()",
        lambda it: _has("close")(it) and _takes(1, "connect", "read")(getattr(it, "send", None)),
    ),
    "tracer_provider": ("a TracerProvider", _has("get_tracer")),
    "verify_ssl": ("True or False", int.__instancecheck__),
    "unclear": _one_of("raise", "start"),
}


def imported(module: str, what: str, extra: str) -> Any:
    """Return the module of an optional package, which the error names if it is missing."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0].replace("_", "-")
        install = f"pip install 'acp-client-v0-1[{extra}]'"
        raise ApiValueError(f"{what} needs the package {package}: {install}") from error


class OneThread:
    """Refuses a thread while another one is inside. The one inside may enter again.

    There is no lock, which an interrupt could leave held: an entry of a dict is set in one step. A
    child after a fork has none of its parent's threads.
    """

    def __init__(self, refusal: str) -> None:
        self._refusal = refusal
        # For each process, the list has the thread once, and again for each entry.
        self._inside: dict[int, list[int]] = {}

    def __enter__(self) -> None:
        me = threading.get_ident()
        entries = self._inside.setdefault(os.getpid(), [me])
        if entries[0] != me:
            raise ApiValueError(self._refusal)
        entries.append(me)

    def __exit__(self, *exc_info: object) -> None:
        entries = self._inside[os.getpid()]
        entries.pop()
        if len(entries) == 1:
            self._inside.clear()
