# Generated from openapi.yaml by `make generate`. Do not edit: change the contract or templates/.

"""What the contract says of statuses and operations, for code that needs no model."""

from __future__ import annotations

STATUSES = ("pending", "error", "success", "timeout", "interrupted")
"""The statuses of a run."""

FINAL = frozenset(("error", "success", "timeout"))
"""The statuses of a run that has ended. A run that is interrupted has not ended."""

WITH_OUTPUT = frozenset(("error", "success", "timeout", "interrupted"))
"""A run of one of these statuses certainly has an output."""

OPERATIONS = {
    "get_acp_descriptor_by_id": ("AgentsApi", "GET", "/agents/{agent_id}/descriptor"),
    "get_agent_by_id": ("AgentsApi", "GET", "/agents/{agent_id}"),
    "search_agents": ("AgentsApi", "POST", "/agents/search"),
    "create_run": ("RunsApi", "POST", "/runs"),
    "delete_run": ("RunsApi", "DELETE", "/runs/{run_id}"),
    "get_run": ("RunsApi", "GET", "/runs/{run_id}"),
    "get_run_output": ("RunsApi", "GET", "/runs/{run_id}/output"),
    "get_run_stream": ("RunsApi", "GET", "/runs/{run_id}/stream"),
    "resume_run": ("RunsApi", "POST", "/runs/{run_id}"),
    "search_runs": ("RunsApi", "POST", "/runs/search"),
    "create_thread": ("ThreadsApi", "POST", "/threads"),
    "delete_thread": ("ThreadsApi", "DELETE", "/threads/{thread_id}"),
    "get_run_threadstate": ("ThreadsApi", "GET", "/runs/{run_id}/threadstate"),
    "get_thread": ("ThreadsApi", "GET", "/threads/{thread_id}"),
    "get_thread_history": ("ThreadsApi", "GET", "/threads/{thread_id}/history"),
    "get_thread_state": ("ThreadsApi", "GET", "/threads/{thread_id}/state"),
    "search_threads": ("ThreadsApi", "POST", "/threads/search"),
}
"""The class, the method of HTTP and the path of each operation, by its name."""
