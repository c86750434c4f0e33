# Generated from openapi.yaml by `make generate`. Do not edit: change the contract or templates/.
"""The operations of the tag Threads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from acp_client_v0_1 import models
from acp_client_v0_1._operation import Operation, Parameter
from acp_client_v0_1._variants import with_http_info, without_preload_content
from acp_client_v0_1.api_client import Api
from acp_client_v0_1.api_response import ApiResponse as ApiResponse

__all__ = ["ThreadsApi"]

_CREATE_THREAD = Operation(
    "POST",
    "/threads",
    lambda: models.Thread,
    (Parameter("thread_create", lambda: models.ThreadCreate),),
)
_DELETE_THREAD = Operation("DELETE", "/threads/{thread_id}", lambda: models.Thread)
_GET_RUN_THREADSTATE = Operation(
    "GET", "/runs/{run_id}/threadstate", lambda: dict[str, Any], safe=True
)
_GET_THREAD = Operation("GET", "/threads/{thread_id}", lambda: models.Thread, safe=True)
_GET_THREAD_HISTORY = Operation(
    "GET", "/threads/{thread_id}/history", lambda: list[models.Run], safe=True
)
_GET_THREAD_STATE = Operation(
    "GET", "/threads/{thread_id}/state", lambda: dict[str, Any], safe=True
)
_SEARCH_THREADS = Operation(
    "POST",
    "/threads/search",
    lambda: list[models.Thread],
    (Parameter("thread_search_request", lambda: models.ThreadSearchRequest),),
    safe=True,
)


class ThreadsApi(Api):
    """Keep state between the runs of one conversation.

    An operation returns the decoded response, its variant ``…_with_http_info`` an ``ApiResponse``,
    and ``…_without_preload_content`` urllib3's response, unread, whatever its status. The base
    class, `Api`, describes the arguments that begin with an underscore.

    Each raises ``ApiTypeError`` or ``ApiValueError``, naming the argument, before anything is sent,
    and an ``ApiException`` (see ``acp_client_v0_1.exceptions``) if the call fails.
    """

    def create_thread(
        self,
        thread_create: models.ThreadCreate | Mapping[str, Any],
        _request_timeout: float | tuple[float | None, float | None] | None = None,
        _request_auth: dict[str, Any] | None = None,
        _content_type: str | None = None,
        _headers: dict[str, str] | None = None,
        _host_index: int = 0,
    ) -> models.Thread:
        """Create a Thread (``POST /threads``).

        Create an empty thread for an agent that supports threads.

        Args:
            thread_create: The thread's agent and metadata. A dict of its fields will do.

        Raises:
            NotFoundException, ConflictException, UnprocessableEntityException: 404, 409, 422.
        """
        options = (_request_timeout, _request_auth, _content_type, _headers, _host_index)
        return self.api_client.call(_CREATE_THREAD, (thread_create,), options)

    @with_http_info(create_thread)
    def create_thread_with_http_info(self) -> None:
        """Do the same as `create_thread`, returning status and headers as well."""

    @without_preload_content(create_thread)
    def create_thread_without_preload_content(self) -> None:
        """Do the same as `create_thread`, returning the response unread."""

    def delete_thread(
        self,
        thread_id: str | UUID,
        _request_timeout: float | tuple[float | None, float | None] | None = None,
        _request_auth: dict[str, Any] | None = None,
        _content_type: str | None = None,
        _headers: dict[str, str] | None = None,
        _host_index: int = 0,
    ) -> models.Thread:
        """Delete a Thread (``DELETE /threads/{thread_id}``).

        Delete a thread with its state and history.
        A thread that has a pending run is in conflict and stays.

        Args:
            thread_id: The ID of the thread.

        Raises:
            NotFoundException, ConflictException, UnprocessableEntityException: 404, 409, 422.
        """
        options = (_request_timeout, _request_auth, _content_type, _headers, _host_index)
        return self.api_client.call(_DELETE_THREAD, (thread_id,), options)

    @with_http_info(delete_thread)
    def delete_thread_with_http_info(self) -> None:
        """Do the same as `delete_thread`, returning status and headers as well."""

    @without_preload_content(delete_thread)
    def delete_thread_without_preload_content(self) -> None:
        """Do the same as `delete_thread`, returning the response unread."""

    def get_run_threadstate(
        self,
        run_id: str | UUID,
        _request_timeout: float | tuple[float | None, float | None] | None = None,
        _request_auth: dict[str, Any] | None = None,
        _content_type: str | None = None,
        _headers: dict[str, str] | None = None,
        _host_index: int = 0,
    ) -> dict[str, Any]:
        """Retrieve the thread state at the end of a run (``GET /runs/{run_id}/threadstate``).

        Retrieve the state of the thread as it was when the run ended.
        Only for runs that have a thread and whose status is `success`.

        Args:
            run_id: The ID of the run.

        Raises:
            NotFoundException, ConflictException, UnprocessableEntityException: 404, 409, 422.
        """
        options = (_request_timeout, _request_auth, _content_type, _headers, _host_index)
        return self.api_client.call(_GET_RUN_THREADSTATE, (run_id,), options)

    @with_http_info(get_run_threadstate)
    def get_run_threadstate_with_http_info(self) -> None:
        """Do the same as `get_run_threadstate`, returning status and headers as well."""

    @without_preload_content(get_run_threadstate)
    def get_run_threadstate_without_preload_content(self) -> None:
        """Do the same as `get_run_threadstate`, returning the response unread."""

    def get_thread(
        self,
        thread_id: str | UUID,
        _request_timeout: float | tuple[float | None, float | None] | None = None,
        _request_auth: dict[str, Any] | None = None,
        _content_type: str | None = None,
        _headers: dict[str, str] | None = None,
        _host_index: int = 0,
    ) -> models.Thread:
        """Get a Thread (``GET /threads/{thread_id}``).

        Get a thread from its ID.

        Args:
            thread_id: The ID of the thread.

        Raises:
            NotFoundException, ConflictException, UnprocessableEntityException: 404, 409, 422.
        """
        options = (_request_timeout, _request_auth, _content_type, _headers, _host_index)
        return self.api_client.call(_GET_THREAD, (thread_id,), options)

    @with_http_info(get_thread)
    def get_thread_with_http_info(self) -> None:
        """Do the same as `get_thread`, returning status and headers as well."""

    @without_preload_content(get_thread)
    def get_thread_without_preload_content(self) -> None:
        """Do the same as `get_thread`, returning the response unread."""

    def get_thread_history(
        self,
        thread_id: str | UUID,
        _request_timeout: float | tuple[float | None, float | None] | None = None,
        _request_auth: dict[str, Any] | None = None,
        _content_type: str | None = None,
        _headers: dict[str, str] | None = None,
        _host_index: int = 0,
    ) -> list[models.Run]:
        """Get the runs of a Thread (``GET /threads/{thread_id}/history``).

        Get all runs of a thread, oldest first.

        Args:
            thread_id: The ID of the thread.

        Raises:
            NotFoundException, ConflictException, UnprocessableEntityException: 404, 409, 422.
        """
        options = (_request_timeout, _request_auth, _content_type, _headers, _host_index)
        return self.api_client.call(_GET_THREAD_HISTORY, (thread_id,), options)

    @with_http_info(get_thread_history)
    def get_thread_history_with_http_info(self) -> None:
        """Do the same as `get_thread_history`, returning status and headers as well."""

    @without_preload_content(get_thread_history)
    def get_thread_history_without_preload_content(self) -> None:
        """Do the same as `get_thread_history`, returning the response unread."""

    def get_thread_state(
        self,
        thread_id: str | UUID,
        _request_timeout: float | tuple[float | None, float | None] | None = None,
        _request_auth: dict[str, Any] | None = None,
        _content_type: str | None = None,
        _headers: dict[str, str] | None = None,
        _host_index: int = 0,
    ) -> dict[str, Any]:
        """Get the state of a Thread (``GET /threads/{thread_id}/state``).

        Get the current state of a thread. Its schema is the agent's `thread_state`.

        Args:
            thread_id: The ID of the thread.

        Raises:
            NotFoundException, ConflictException, UnprocessableEntityException: 404, 409, 422.
        """
        options = (_request_timeout, _request_auth, _content_type, _headers, _host_index)
        return self.api_client.call(_GET_THREAD_STATE, (thread_id,), options)

    @with_http_info(get_thread_state)
    def get_thread_state_with_http_info(self) -> None:
        """Do the same as `get_thread_state`, returning status and headers as well."""

    @without_preload_content(get_thread_state)
    def get_thread_state_without_preload_content(self) -> None:
        """Do the same as `get_thread_state`, returning the response unread."""

    def search_threads(
        self,
        thread_search_request: models.ThreadSearchRequest | Mapping[str, Any],
        _request_timeout: float | tuple[float | None, float | None] | None = None,
        _request_auth: dict[str, Any] | None = None,
        _content_type: str | None = None,
        _headers: dict[str, str] | None = None,
        _host_index: int = 0,
    ) -> list[models.Thread]:
        """Search Threads (``POST /threads/search``).

        Search for threads. Without any criterion it lists all of them.

        Args:
            thread_search_request: Which threads to return. A dict of its fields will do.

        Raises:
            UnprocessableEntityException: 422.
        """
        options = (_request_timeout, _request_auth, _content_type, _headers, _host_index)
        return self.api_client.call(_SEARCH_THREADS, (thread_search_request,), options)

    @with_http_info(search_threads)
    def search_threads_with_http_info(self) -> None:
        """Do the same as `search_threads`, returning status and headers as well."""

    @without_preload_content(search_threads)
    def search_threads_without_preload_content(self) -> None:
        """Do the same as `search_threads`, returning the response unread."""
