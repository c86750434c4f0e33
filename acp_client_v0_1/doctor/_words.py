"""What each finding means for a script, and what to do. A new finding is a row of `WORDS`."""

# What the verdicts mean that need no words of their own.
MEANINGS = {
    "works": "rely on it",
    "not tried": "do not rely on it",
    "limited": "it failed as at a busy server, or at a proxy without one; examine it again later",
}
# What an operation of the contract means that differs or is missing, and that `WORDS` lacks.
OTHER = "this operation of the client does not work here; do without it, or ask who runs the server"
# What a finding means that differs or is missing, by its name: the meaning, and the advice.
WORDS = {
    # The way there
    "connection": "no call gets there, or each opens another one; check host= and the network",
    "settings": "nothing can be sent; correct the setting",
    "TLS": "its certificate is not verified, or ends soon; set ssl_ca_cert, or renew it",
    # Who you are
    "access": "the calls are refused; set the credentials that it asks for, such as access_token",
    "client certificate": "it wants one that it trusts; set cert_file and key_file, or check them",
    # The contract
    "contract": "not all operations could be asked for; see why",
    "version": "the outputs of runs are elsewhere; use a client of that version",
    "search_threads": "old conversations cannot be listed; keep their ids",
    "get_run_threadstate": "the state of a conversation cannot be read; keep it in results",
    "get_thread": "conversations do not work; send what was said before as a part of the input",
    "get_thread_state": "the state of a conversation cannot be read; keep it in results",
    "get_thread_history": "the runs of a conversation cannot be listed; keep their ids",
    "errors": "an error's message has the words all the same; catch classes, and compare no words",
    "ids": "an id of another form is an invalid request, not a 404; catch ApiException",
    "invalid requests": "the error is of another class; catch ApiException",
    "times": "an answer to a question may wait a second; compare no times with yours",
    "thread ids": "a run's thread_id is the server's word, not yours; keep your own",
    "rate of requests": "the client pauses and asks again; look into its log, or its proxy's",
    "requests at the same time": "a batch waits as it is asked to; use map(…, concurrency=4)",
    "cache": "polls may get an old status; let it keep no responses: see the page on real servers",
    # Agents
    "search_agents": "no agent is found by its name; write AgentHandle(its id, client)",
    "list of agents": "only an agent whose name is known is found; give the name",
    "agents": "no run can be started; choose an agent that the server has",
    "get_agent_by_id": "an agent's name and version are not known; runs need neither",
    "get_acp_descriptor_by_id": "inputs cannot be checked before they are sent; leave check= out",
    "schemas": "check=True refuses this, or checks nothing; correct it, or leave check= out",
    # Runs
    "create_run": "no run can be started; read the reason",
    "later runs": "no further run could be started; see why",
    "metadata": "a lost create is RunStartAmbiguous unless a search finds it; do not read it back",
    "status": "only an output shows that a run has ended; give a wait a timeout=",
    "run ids": "a new run takes the place of the one before; use map(…, concurrency=1)",
    "ids that come again": "after a restart, an id may be another run's; keep tokens, not ids",
    "get_run": "the status of a run is not known; wait for its output",
    "get_run_output": "no result can be fetched; ask who runs the server",
    "output while pending": "handles cope, RunsApi needs care; use agent.run, or a block_timeout",
    "output again": "a result is lost if its response is; read it once, or use map(…, journal=…)",
    "failed outputs": "a wait ends in a 500, and handles ask again; use run.result()",
    "long poll": "runs take more requests; use map(…, concurrency=16)",
    "attempts": "a run that failed may succeed later; ask again, or use map(…, retry_failed=True)",
    "result": "the agent does not do this input; read its reason",
    "questions": "runs end without asking; do not use agents that ask here",
    "resume_run": "an agent's question cannot be answered; do not use agents that ask here",
    "echo": "a handle does not know how others created its run; keep the mode of streaming",
    "get_run_stream": "events() gives the result alone, by long polls; show progress otherwise",
    "events in time": "updates come late; ask who runs the proxy to switch its buffering off",
    "event ids": "replays are told apart by content, `complete` may be None; make updates unique",
    "replay": "after a cut, events come again or are lost; use events(on_gap='mark')",
    "keep-alive comments": "an event may lose its id, and a cut leave a gap; use on_gap='mark'",
    "end of the stream": "the end of a run is seen up to 15 s late; wait for the result",
    "search_runs": "a create whose response is lost cannot be found; use map(…, journal=…)",
    "search by metadata": "handles compare runs again; with RunsApi, search by agent and status",
    "order of searches": "pages shift while runs are made; read lists by iter_runs",
    "delete_run": "runs cannot be cancelled, and stay; give agents limits of their own",
    "after a delete": "a deleted run is still there; do not rely on RunGone",
    "unknown agent": "a wrong id is not a 404, and its run may never end; give a wait a timeout=",
    "clean-up": "runs may stay there; delete those with `acp-client-doctor` in their metadata",
}
