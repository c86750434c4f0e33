# Generated from openapi.yaml by `make generate`. Do not edit: change the contract or templates/.
"""The operations of the tag Runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from acp_client_v0_1 import models, streaming
from acp_client_v0_1._operation import Operation, Parameter
from acp_client_v0_1._variants import with_http_info, without_preload_content
from acp_client_v0_1.api_client import Api
from acp_client_v0_1.api_response import ApiResponse as ApiResponse

__all__ = ["RunsApi"]

_CREATE_RUN = Operation(
    "POST", "/runs", lambda: models.Run, (Parameter("run_create", lambda: models.RunCreate),)
)
_DELETE_RUN = Operation("DELETE", "/runs/{run_id}", lambda: models.Run)
_GET_RUN = Operation("GET", "/runs/{run_id}", lambda: models.Run, safe=True)
_GET_RUN_OUTPUT: Operation[models.RunOutput | None] = Operation(
    "GET",
    "/runs/{run_id}/output",
    lambda: models.RunOutput,
    (Parameter("block_timeout", int, required=False, minimum=0, block_window=True),),
    safe=True,
    empty_on_204=True,
)
_GET_RUN_STREAM = Operation(
    "GET",
    "/runs/{run_id}/stream",
    lambda: streaming.EventStream[models.RunOutputStream],
    accept="text/event-stream, application/json",
    streaming=True,
    safe=True,
)
_RESUME_RUN = Operation("POST", "/runs/{run_id}", lambda: models.Run, (Parameter("body", dict),))
_SEARCH_RUNS = Operation(
    "POST",
    "/runs/search",
    lambda: list[models.Run],
    (Parameter("run_search_request", lambda: models.RunSearchRequest),),
    safe=True,
)


class RunsApi(Api):
    """Create runs of agents, follow them and read their output.

    An operation returns the decoded response, its variant ``…_with_http_info`` an ``ApiResponse``,
    and ``…_without_preload_content`` urllib3's response, unread, whatever its status. The base
    class, `Api`, describes the arguments that begin with an underscore.

    Each raises ``ApiTypeError`` or ``ApiValueError``, naming the argument, before anything is sent,
    and an ``ApiException`` (see ``acp_client_v0_1.exceptions``) if the call fails.
    """

    def create_run(
        self,
        run_create: models.RunCreate | Mapping[str, Any],
        _request_timeout: float | tuple[float | None, float | None] | None = None,
        _request_auth: dict[str, Any] | None = None,
        _content_type: str | None = None,
        _headers: dict[str, str] | None = None,
        _host_index: int = 0,
    ) -> models.Run:
        """Create Background Run (``POST /runs``).

        Create a run and return its description at once, without waiting for its output.

        Args:
            run_create: What to run, and how. A dict of its fields will do.

        Raises:
            NotFoundException, ConflictException, UnprocessableEntityException: 404, 409, 422.
        """
        options = (_request_timeout, _request_auth, _content_type, _headers, _host_index)
        return self.api_client.call(_CREATE_RUN, (run_create,), options)

    @with_http_info(create_run)
    def create_run_with_http_info(self) -> None:
        """Do the same as `create_run`, returning status and headers as well."""

    @without_preload_content(create_run)
    def create_run_without_preload_content(self) -> None:
        """Do the same as `create_run`, returning the response unread."""

    def delete_run(
        self,
        run_id: str | UUID,
        _request_timeout: float | tuple[float | None, float | None] | None = None,
        _request_auth: dict[str, Any] | None = None,
        _content_type: str | None = None,
        _headers: dict[str, str] | None = None,
        _host_index: int = 0,
    ) -> models.Run:
        """Delete a run. If running, cancel and then delete. (``DELETE /runs/{run_id}``).

        Cancel the run if it has not ended, then delete it.

        Args:
            run_id: The ID of the run.

        Raises:
            NotFoundException, ConflictException, UnprocessableEntityException: 404, 409, 422.
        """
        options = (_request_timeout, _request_auth, _content_type, _headers, _host_index)
        return self.api_client.call(_DELETE_RUN, (run_id,), options)

    @with_http_info(delete_run)
    def delete_run_with_http_info(self) -> None:
        """Do the same as `delete_run`, returning status and headers as well."""

    @without_preload_content(delete_run)
    def delete_run_without_preload_content(self) -> None:
        """Do the same as `delete_run`, returning the response unread."""

    def get_run(
        self,
        run_id: str | UUID,
        _request_timeout: float | tuple[float | None, float | None] | None = None,
        _request_auth: dict[str, Any] | None = None,
        _content_type: str | None = None,
        _headers: dict[str, str] | None = None,
        _host_index: int = 0,
    ) -> models.Run:
        """Get a previously created Run (``GET /runs/{run_id}``).

        Get a run from its ID, without waiting for its output.

        Args:
            run_id: The ID of the run.

        Raises:
            NotFoundException, ConflictException, UnprocessableEntityException: 404, 409, 422.
        """
        options = (_request_timeout, _request_auth, _content_type, _headers, _host_index)
        return self.api_client.call(_GET_RUN, (run_id,), options)

    @with_http_info(get_run)
    def get_run_with_http_info(self) -> None:
        """Do the same as `get_run`, returning status and headers as well."""

    @without_preload_content(get_run)
    def get_run_without_preload_content(self) -> None:
        """Do the same as `get_run`, returning the response unread."""

    def get_run_output(
        self,
        run_id: str | UUID,
        block_timeout: int | None = None,
        _request_timeout: float | tuple[float | None, float | None] | None = None,
        _request_auth: dict[str, Any] | None = None,
        _content_type: str | None = None,
        _headers: dict[str, str] | None = None,
        _host_index: int = 0,
    ) -> models.RunOutput | None:
        """Retrieve last output of a run if available (``GET /runs/{run_id}/output``).

        Retrieve the last output of the run. The output can be:
          * an interrupt, when the status of the run is `interrupted`
          * the final result of the run, when its status is `success`
          * an error, when its status is `error` or `timeout`

        If the block timeout is given and the status is `pending`, the call blocks until the status
        changes or the timeout expires. If no timeout is given, or it has expired, and the status is
        `pending`, the response is `204` with no content, and the method returns `None`.

        Args:
            run_id: The ID of the run.
            block_timeout: For how many seconds the server may wait for the output. Optional.

        Returns:
            The RunOutput, or None for a 204.

        Raises:
            NotFoundException, ConflictException, UnprocessableEntityException: 404, 409, 422.
        """
        options = (_request_timeout, _request_auth, _content_type, _headers, _host_index)
        return self.api_client.call(_GET_RUN_OUTPUT, (run_id, block_timeout), options)

    @with_http_info(get_run_output)
    def get_run_output_with_http_info(self) -> None:
        """Do the same as `get_run_output`, returning status and headers as well."""

    @without_preload_content(get_run_output)
    def get_run_output_without_preload_content(self) -> None:
        """Do the same as `get_run_output`, returning the response unread."""

    def get_run_stream(
        self,
        run_id: str | UUID,
        _request_timeout: float | tuple[float | None, float | None] | None = None,
        _request_auth: dict[str, Any] | None = None,
        _content_type: str | None = None,
        _headers: dict[str, str] | None = None,
        _host_index: int = 0,
    ) -> streaming.EventStream[models.RunOutputStream]:
        """Stream the run output (``GET /runs/{run_id}/stream``).

        Send the output of the run as a stream of server-sent events, see
        <https://html.spec.whatwg.org/multipage/server-sent-events.html>.
        The stream ends when the run ends or is interrupted.

        Args:
            run_id: The ID of the run.

        Returns:
            An iterator and context manager of RunOutputStream; without events for a 204.

        Raises:
            NotFoundException, ConflictException, UnprocessableEntityException: 404, 409, 422.
        """
        options = (_request_timeout, _request_auth, _content_type, _headers, _host_index)
        return self.api_client.call(_GET_RUN_STREAM, (run_id,), options)

    @with_http_info(get_run_stream)
    def get_run_stream_with_http_info(self) -> None:
        """Do the same as `get_run_stream`, returning status and headers as well."""

    @without_preload_content(get_run_stream)
    def get_run_stream_without_preload_content(self) -> None:
        """Do the same as `get_run_stream`, returning the response unread."""

    def resume_run(
        self,
        run_id: str | UUID,
        body: dict[str, Any],
        _request_timeout: float | tuple[float | None, float | None] | None = None,
        _request_auth: dict[str, Any] | None = None,
        _content_type: str | None = None,
        _headers: dict[str, str] | None = None,
        _host_index: int = 0,
    ) -> models.Run:
        """Resume an interrupted Run (``POST /runs/{run_id}``).

        Give an interrupted run the input that its agent asked for, so that it continues. The body
        has to match the schema that the agent declares as `resume_payload` for this interrupt type.

        Args:
            run_id: The ID of the run.
            body: The input that the run was interrupted for.

        Raises:
            NotFoundException, ConflictException, UnprocessableEntityException: 404, 409, 422.
        """
        options = (_request_timeout, _request_auth, _content_type, _headers, _host_index)
        return self.api_client.call(_RESUME_RUN, (run_id, body), options)

    @with_http_info(resume_run)
    def resume_run_with_http_info(self) -> None:
        """Do the same as `resume_run`, returning status and headers as well."""

    @without_preload_content(resume_run)
    def resume_run_without_preload_content(self) -> None:
        """Do the same as `resume_run`, returning the response unread."""

    def search_runs(
        self,
        run_search_request: models.RunSearchRequest | Mapping[str, Any],
        _request_timeout: float | tuple[float | None, float | None] | None = None,
        _request_auth: dict[str, Any] | None = None,
        _content_type: str | None = None,
        _headers: dict[str, str] | None = None,
        _host_index: int = 0,
    ) -> list[models.Run]:
        """Search Runs (``POST /runs/search``).

        Search for runs. Without any criterion it lists all of them.
        Only runs that meet every given criterion are returned. Their order is up to the server.

        Args:
            run_search_request: Which runs to return. A dict of its fields will do.

        Raises:
            UnprocessableEntityException: 422.
        """
        options = (_request_timeout, _request_auth, _content_type, _headers, _host_index)
        return self.api_client.call(_SEARCH_RUNS, (run_search_request,), options)

    @with_http_info(search_runs)
    def search_runs_with_http_info(self) -> None:
        """Do the same as `search_runs`, returning status and headers as well."""

    @without_preload_content(search_runs)
    def search_runs_without_preload_content(self) -> None:
        """Do the same as `search_runs`, returning the response unread."""
