# Generated from openapi.yaml by `make generate`. Do not edit: change the contract or templates/.
"""The operations of the tag Agents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from acp_client_v0_1 import models
from acp_client_v0_1._operation import Operation, Parameter
from acp_client_v0_1._variants import with_http_info, without_preload_content
from acp_client_v0_1.api_client import Api
from acp_client_v0_1.api_response import ApiResponse as ApiResponse

__all__ = ["AgentsApi"]

_GET_ACP_DESCRIPTOR_BY_ID = Operation(
    "GET", "/agents/{agent_id}/descriptor", lambda: models.AgentACPDescriptor, safe=True
)
_GET_AGENT_BY_ID = Operation("GET", "/agents/{agent_id}", lambda: models.Agent, safe=True)
_SEARCH_AGENTS = Operation(
    "POST",
    "/agents/search",
    lambda: list[models.Agent],
    (Parameter("agent_search_request", lambda: models.AgentSearchRequest),),
    safe=True,
)


class AgentsApi(Api):
    """Find agents and read what they can do.

    An operation returns the decoded response, its variant ``…_with_http_info`` an ``ApiResponse``,
    and ``…_without_preload_content`` urllib3's response, unread, whatever its status. The base
    class, `Api`, describes the arguments that begin with an underscore.

    Each raises ``ApiTypeError`` or ``ApiValueError``, naming the argument, before anything is sent,
    and an ``ApiException`` (see ``acp_client_v0_1.exceptions``) if the call fails.
    """

    def get_acp_descriptor_by_id(
        self,
        agent_id: str | UUID,
        _request_timeout: float | tuple[float | None, float | None] | None = None,
        _request_auth: dict[str, Any] | None = None,
        _content_type: str | None = None,
        _headers: dict[str, str] | None = None,
        _host_index: int = 0,
    ) -> models.AgentACPDescriptor:
        """Get the ACP descriptor of an Agent (``GET /agents/{agent_id}/descriptor``).

        Get what an agent can do and the schemas of all that it takes and gives.

        Args:
            agent_id: The ID of the agent.

        Raises:
            NotFoundException, UnprocessableEntityException: 404, 422.
        """
        options = (_request_timeout, _request_auth, _content_type, _headers, _host_index)
        return self.api_client.call(_GET_ACP_DESCRIPTOR_BY_ID, (agent_id,), options)

    @with_http_info(get_acp_descriptor_by_id)
    def get_acp_descriptor_by_id_with_http_info(self) -> None:
        """Do the same as `get_acp_descriptor_by_id`, returning status and headers as well."""

    @without_preload_content(get_acp_descriptor_by_id)
    def get_acp_descriptor_by_id_without_preload_content(self) -> None:
        """Do the same as `get_acp_descriptor_by_id`, returning the response unread."""

    def get_agent_by_id(
        self,
        agent_id: str | UUID,
        _request_timeout: float | tuple[float | None, float | None] | None = None,
        _request_auth: dict[str, Any] | None = None,
        _content_type: str | None = None,
        _headers: dict[str, str] | None = None,
        _host_index: int = 0,
    ) -> models.Agent:
        """Get an Agent (``GET /agents/{agent_id}``).

        Get an agent from its ID.

        Args:
            agent_id: The ID of the agent.

        Raises:
            NotFoundException, UnprocessableEntityException: 404, 422.
        """
        options = (_request_timeout, _request_auth, _content_type, _headers, _host_index)
        return self.api_client.call(_GET_AGENT_BY_ID, (agent_id,), options)

    @with_http_info(get_agent_by_id)
    def get_agent_by_id_with_http_info(self) -> None:
        """Do the same as `get_agent_by_id`, returning status and headers as well."""

    @without_preload_content(get_agent_by_id)
    def get_agent_by_id_without_preload_content(self) -> None:
        """Do the same as `get_agent_by_id`, returning the response unread."""

    def search_agents(
        self,
        agent_search_request: models.AgentSearchRequest | Mapping[str, Any],
        _request_timeout: float | tuple[float | None, float | None] | None = None,
        _request_auth: dict[str, Any] | None = None,
        _content_type: str | None = None,
        _headers: dict[str, str] | None = None,
        _host_index: int = 0,
    ) -> list[models.Agent]:
        """Search Agents (``POST /agents/search``).

        Search for agents by name and version. Without any criterion it lists all of them.

        Args:
            agent_search_request: Which agents to return. A dict of its fields will do.

        Raises:
            UnprocessableEntityException: 422.
        """
        options = (_request_timeout, _request_auth, _content_type, _headers, _host_index)
        return self.api_client.call(_SEARCH_AGENTS, (agent_search_request,), options)

    @with_http_info(search_agents)
    def search_agents_with_http_info(self) -> None:
        """Do the same as `search_agents`, returning status and headers as well."""

    @without_preload_content(search_agents)
    def search_agents_without_preload_content(self) -> None:
        """Do the same as `search_agents`, returning the response unread."""
