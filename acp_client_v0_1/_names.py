"""What other clients call the things of this one, so that a wrong name is followed by ours.

One table serves unknown keywords, attributes, settings and options of the command. Only a mistake
reads it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import wraps
from inspect import isfunction, signature
from typing import Any, ParamSpec, TypeVar, cast

from acp_client_v0_1._errors import ApiAttributeError, ApiTypeError, OpenApiException

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

# For names of other clients, ours. The first row that has a name, and one of ours for the place at
# hand, decides. Ours with a capital letter is for any place. Without a row, the most similar name
# might be a wrong one: `headers` looks like `proxy_headers`, which would give a key to the proxy.
_OTHER_NAMES = {
    "conversation_id session_id": "thread_id",
    "id uuid": "run_id|agent_id|thread_id",
    "request_timeout timeout": "_request_timeout|timeout",
    "agent_id config input metadata streaming thread_id webhook": "run_create={…}",
    "agent_id limit metadata offset": "run_search_request={…}|thread_search_request={…}",
    "limit name offset version": "agent_search_request={…}",
    "astream stream": 'start(…, streaming="custom").events()',
    "events follow iter_events logs stream stream_run tail watch": "events|get_run_stream|stream",
    "content get_output get_result join result text value wait": "result|get_run_output|wait",
    "ainvoke ask call chat execute invoke kickoff predict send": "run|create_run",
    "create create_run run run_async start start_run stream submit": "start|create_run",
    "abatch batch map parallel run_all run_many": "map|batch",
    "abort cancel cancel_run delete kill stop terminate": "cancel|delete_run",
    "remove rm": "delete|delete_run",
    "describe input_schema schema": "descriptor|describe|get_acp_descriptor_by_id",
    "messages": "history",
    "answer resume": "resume|resume_run|journal",
    "get inspect retrieve status": "refresh|get_run|get_agent_by_id|get_thread|show",
    "status": "run_search_request={…}",
    "get_runs list_runs ps runs": "search_runs|search",
    "find list ls search": "search_runs|search_agents|search_threads|agents",
    "get_agent": "get_agent_by_id",
    "get_agents list_agents": "search_agents|agents",
    "finished is_alive is_done poll": "done",
    "d data json payload": "input",
    "o out output": "results|format|result|get_run_output",
    "json": "format",
    "batch_size j jobs max_workers n_jobs parallel threads workers": "concurrency",
    "idempotency_key": "client_token|journal",
    "code http_status status_code": "errcode|status",
    "message msg": "reason, or str(error) for all of it",
    "content response text": "body, headers and status of the error",
    "detail details json": "data",
    "_preload_content": "RunsApi.get_run_without_preload_content or the like",
    "on_error return_exceptions": "RunFailed, which run() raises and a failed item of map() has",
    "address host listen": "bind",
    "hostname port": 'host="http://host:8000"',
    "base_url endpoint host server url": "host|Configuration(host=…)",
    "api_key auth bearer bearer_token token": "access_token|Configuration(api_key=…)",
    "extra_headers headers user_agent": "_headers|ApiClient.with_options(headers=…)",
    "key": "api_key|Configuration(api_key=…)",
    "v verbose": "debug",
    "dotenv env_file": "Python's load_dotenv() before from_env()",
    "retry": "retry_failed",
    "max_retries retries retry": "retries|ApiClient.with_options(retries=…)",
    "connect_timeout read_timeout": "Configuration(timeout=(connect, read))",
    "ca ca_bundle ca_cert ca_cert_file ca_file cacert cafile": "ssl_ca_cert",
    "insecure k verify": "verify_ssl=…",
    "logger_file logger_format refresh_api_key_hook": "Configuration's attribute of that name",
    "agents runs threads": "RunsApi(client), AgentsApi(client) or ThreadsApi(client)",
}
_NAMES = frozenset(" ".join(_OTHER_NAMES).split())


def closest(name: str, known: Iterable[str], cutoff: float, *, advice: bool = True) -> str:
    """Return what an unknown name was meant for, or "".

    It is a known name, or advice that begins with a known name or, with ``advice``, with a capital
    letter. ``cutoff`` says how alike a name must be without a row of the table, from 0 to 1.
    """
    # Only a mistake pays for this import.
    from difflib import get_close_matches

    known = {*known} - {"self", "cls"}
    rows = [ours.split("|") for names, ours in _OTHER_NAMES.items() if name in names.split()]
    for ours in (one for row in rows for one in row):
        if (advice and ours[0].isupper()) or re.split(r"\W", ours)[0] in known:
            return ours
    return next(iter(get_close_matches(name, known, 1, cutoff)), "")


def did_you_mean(name: str, known: Iterable[str], cutoff: float = 0.6, advice: bool = True) -> str:
    """Return the end of a message about an unknown name: ``; did you mean 'timeout'?``, or ""."""
    meant = closest(name, known := [*known], cutoff, advice=advice)
    return f"; did you mean {meant!r}?" if meant in known else f"; use {meant}" * bool(meant)


def unexpected(method: Callable[..., Any], name: str, otherwise: str = "") -> ApiTypeError:
    """Return the error of a keyword that a method does not have."""
    called = method.__qualname__.removesuffix(".__init__")
    meant = did_you_mean(name, signature(method).parameters) or otherwise
    return ApiTypeError(f"{called}() got an unexpected keyword argument {name!r}{meant}")


def explained(method: Callable[P, R], kind: type | None = None) -> Callable[P, R]:
    """Let a method name the keyword that was meant, and say so if it is called of its class."""
    begins = f"{method.__qualname__}() got an unexpected keyword argument '"

    @wraps(method)
    def call(*args: P.args, **options: P.kwargs) -> R:
        if kind is not None and not (args and isinstance(args[0], kind)):
            words = f"is called of an instance, and not of the class {kind.__name__}: make one"
            raise ApiTypeError(f"{method.__qualname__}() {words} first")
        try:
            return method(*args, **options)
        except TypeError as error:
            if type(error) is not TypeError or not (words := str(error)).startswith(begins):
                raise
            name = words[len(begins) :].partition("'")[0]
        raise unexpected(method, name)

    return call


def our_names(cls: type[T]) -> type[T]:
    """Let a class name what was meant by an unknown attribute, or by a keyword of its methods."""
    public = {name: it for name, it in vars(cls).items() if name[0] != "_" or name == "__init__"}
    for name, method in public.items():
        if isinstance(method, classmethod):
            function = cast("classmethod[Any, ..., Any]", method).__func__
            setattr(cls, name, classmethod(explained(function)))
        # A method whose parameters are positional only gets no keywords.
        elif isfunction(method) and not method.__code__.co_posonlyargcount:
            setattr(cls, name, explained(method, cls))
    return hinted(cls)


def hinted(cls: type[T]) -> type[T]:
    """Let a class name what was meant by an unknown attribute."""
    setattr(cls, "__getattr__", _missing)  # noqa: B010 - a type checker would take any name
    return cls


def _missing(self: object, name: str) -> Any:
    # The package and protocols such as pickle look for attributes that are not there, and often.
    # Python itself suggests a similar name.
    known = [each for each in dir(self) if each[:1] not in ("", "_")] if name in _NAMES else []
    if known and name not in known and (hint := did_you_mean(name, known, 1)):
        raise ApiAttributeError(f"{type(self).__name__!r} object has no attribute {name!r}{hint}")
    return object.__getattribute__(self, name)


# `_errors` cannot import this module.
hinted(OpenApiException)
