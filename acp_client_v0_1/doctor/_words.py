"""What each finding means for a script, and what to do. A new finding is a row of `WORDS`."""

# What the verdicts mean that need no words of their own.
MEANINGS = {
    "works": "rely on it",
    "not tried": "do not rely on it",
    "limited": "it failed as at a busy server, or at a proxy without one; examine it again later",
}
# What a finding means that differs or is missing, by its name: the meaning, and the advice.
WORDS = {
    # The way there
    "connection": "no call gets there, or each opens another one; check the host and the network",
    "TLS": "nobody vouches for the server, or not for long; renew its certificate, or name its CA",
    "time of a request": "each call takes this long; give calls more time",
    "clock": "its times are not yours; compare them with each other only",
    # Who you are
    "access": "the calls are refused; set the credentials that it asks for",
    "client certificate": "the server accepts no client without a certificate it knows; name yours",
    # The contract
    "contract": "not all operations could be asked for; see why",
    "version": "the outputs of runs are elsewhere; use a client of that version",
    "search_threads": "old conversations cannot be listed; keep their ids",
    "get_run_threadstate": "the state of a conversation cannot be read; keep it in results",
    "get_thread": "conversations do not work; send what was said before as a part of the input",
    "get_thread_state": "the state of a conversation cannot be read; keep it in results",
    "get_thread_history": "the runs of a conversation cannot be listed; keep their ids",
    "JSON": "it is called by another name, and read all the same; nothing to do",
    "errors": "an error's message has the words all the same; catch classes, and compare no words",
    "ids": "an id of another form is an invalid request, not a 404; catch ApiException",
    "invalid requests": "the error is of another class; catch ApiException",
    "times": "an answer to a question may wait a second; compare no times with yours",
    "thread ids": "a run's thread_id is the server's word, not yours; keep your own",
    "rate of requests": "the client pauses and asks again; keep fewer runs in flight",
    # Agents
    "search_agents": "no agent is found by its name; write its id",
    "list of agents": "only an agent whose name is known is found; give the name",
    "search by name": "find() reads more pages, or finds nothing; write the agent's id",
    "agents": "no run can be started; choose an agent that the server has",
    "get_agent_by_id": "an agent's name and version are not known; runs need neither",
    "get_acp_descriptor_by_id": "inputs cannot be checked before they are sent; leave check= out",
    "schemas": "check=True refuses this, or checks nothing; correct it, or leave check= out",
    # Runs
    "create_run": "no run can be started; read the reason",
    "later runs": "no further run could be started; see why",
    "metadata": "a run does not say which create made it: a lost one is not found; use a journal",
    "status": "only an output shows that a run has ended; wait with a limit",
    "run ids": "a new run takes the place of the one before; run one at a time",
    "get_run": "the status of a run is not known; wait for its output",
    "get_run_output": "no result can be fetched; ask who runs the server",
    "output while pending": "handles cope, RunsApi needs care; use agent.run, or a block_timeout",
    "output again": "a result is lost if its response is; read it once, and keep it",
    "failed outputs": "a wait ends in a 500, and handles ask again; use run.result()",
    "long poll": "runs take more requests; keep fewer in flight",
    "attempts": "a run that failed may succeed later; ask again",
    "result": "the agent does not do this input; read its reason",
    "questions": "runs end without asking; do not use agents that ask here",
    "resume_run": "an agent's question cannot be answered; do not use agents that ask here",
    "echo": "a handle does not know how others created its run; keep the mode of streaming",
    "get_run_stream": "events() gives the result alone, by long polls; show progress otherwise",
    "events in time": "updates come late; ask who runs the proxy to switch its buffering off",
    "event ids": "replays are told apart by content, `complete` may be None; make updates unique",
    "replay": "after a cut, events come again or are lost; have gaps marked",
    "keep-alive comments": "an event may lose its id, so a cut may leave a gap; have gaps marked",
    "end of the stream": "the end of a run is seen up to 15 s late; wait for the result",
    "search_runs": "a create whose response is lost cannot be found; use a journal",
    "search by metadata": "all runs are read and compared; search by agent and status",
    "order of searches": "pages shift while runs are made; read lists by iter_runs",
    "delete_run": "runs cannot be cancelled, and stay; give agents limits of their own",
    "body of a delete": "the client reads the status, with one request more; nothing to do",
    "after a delete": "a deleted run is still there; do not rely on RunGone",
    "unknown agent": "a wrong id is not a 404, and its run may never end; give a limit",
    "clean-up": "runs of this examination stay on the server; delete them there",
    "lost creates": "each may have made a run; look for `acp-client-doctor` in the metadata there",
}
_LIMITED = "agent.run(input, timeout=600)"
_JOURNAL = 'agent.map(inputs, journal="runs.jsonl")'
_MARKED = 'run.events(on_gap="mark")'
# A setting to change, as code. A report joins those of `map`.
SETTINGS = {
    "connection": 'Configuration(host="https://…")',
    "TLS": 'Configuration(ssl_ca_cert="ca.pem")',
    "time of a request": "Configuration(timeout=(10, 120))",
    "access": 'Configuration(access_token="…")',
    "client certificate": 'Configuration(cert_file="client.pem", key_file="client.key")',
    "search_agents": 'AgentHandle("its id", client)',
    **dict.fromkeys(("metadata", "search_runs", "output again"), _JOURNAL),
    **dict.fromkeys(("status", "unknown agent"), _LIMITED),
    **dict.fromkeys(("replay", "keep-alive comments"), _MARKED),
    "attempts": 'agent.map(inputs, journal="runs.jsonl", retry_failed=True)',
    "run ids": "agent.map(inputs, concurrency=1)",
    "rate of requests": "agent.map(inputs, concurrency=4)",
    "long poll": "agent.map(inputs, concurrency=16)",
}
