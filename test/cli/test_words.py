"""What the command says: true, in its own words, and in one line if something goes wrong.

To add a row, write it in `SAID`: the line that a user types, the exit status, and the words on
stdout or stderr, as many as are needed.

    says("run echo [1]", 2, "argument INPUT: not a JSON object: [1]\n"),

The line is as in a shell, in a folder with `FILES`: variables may stand before the command, `$slow`
is the token of a run of the agent slow, which is made for the row, `$answered` that of a run which
has got its answer, and `$gone` that of a run which was deleted. In the words, `$run` is the id of
the first run, and `$host` the server's URL. `faults` is what the server does wrong, `stdin` what is
typed or piped into the command, and `never` has words that must not be there. `NEVER` has those
that no row may have.
"""

import json
import logging
import os
import pickle
import re
import shlex
import signal
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from string import Template
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.batches import wait_for
from support.commands import (
    KEY,
    SECONDS,
    Inside,
    acp,
    begun,
    data,
    ended,
    first_line,
    in_shell,
    lines,
    started,
)
from support.examples import RESULT, RUN, on_the_page_of_messages
from support.socket_server import Request, SocketServer, response, serve_each

from acp_client_v0_1 import (
    AgentHandle,
    ApiException,
    InterruptLimit,
    ResumeAmbiguous,
    RunFailed,
    RunHandle,
    RunStartAmbiguous,
    SearchDrift,
    ServiceException,
    StaleInterrupt,
)
from acp_client_v0_1.testing import (
    BUILTIN_AGENTS,
    COUNTER_AGENT_ID,
    ECHO_AGENT_ID,
    Fault,
    LocalServer,
    Quirks,
)
from acp_client_v0_1.testing import __main__ as serving

CANCEL = "run --cancel-on-exit"
STOPPED = "acp-client: stopped by Ctrl-C"
# Words for callers in Python, and escapes of a terminal.
NEVER = re.compile(
    r"RunHandle|AgentHandle|ApiClient|Configuration\(|error\.|\w=[\"(]|version=|\x1b"
)


def twin(input: Any, config: Any, context: Any) -> Any:
    return input


@pytest.fixture
def server() -> Iterator[LocalServer]:
    with LocalServer(api_key={"x-api-key": KEY}) as running:
        for version in ("1.0.0", "2.0.0"):
            running.register(twin, name="twin", version=version)
        yield running


def says(line: str, status: int, *words: str, never=(), faults=(), stdin=None) -> SimpleNamespace:
    return SimpleNamespace(**locals())


FILES = {
    "bad": b'{}\n\n{"a":1\n',
    "nan": b'{"a": NaN}\n',
    "csv": b"{}\na,b\n",
    "latin.jsonl": b'{"name": "Zo\xeb"}\n',
    "utf16": '{"n": 1}\r\n{"n": 2}\r\n'.encode("utf-16"),
    "utf16be": '{"n": 1}\n{"n": 2}\n'.encode("utf-16-be"),
    "names": b"acprun1.\xff\n",
    "run.token": b"acprun1.x",
    "two.tokens": b"acprun1.x\nacprun1.y\n",
    "secret": b"[default]\naws_secret_access_key = acprun1.hidden\n",
    "few.csv": b"a,b\n1,2\n3\n",
    "many.csv": b"a,b\n1,2,3\n",
    "same.csv": b"a,a\n1,2\n",
    "noname.csv": b"a,\n1,2\n",
    "ids": b"r1\n\nr2\n",
    "ids.bad": b"r1\n# r2\n",
    "blank": b"\n",
    "in.jsonl.gz": b"\x1f\x8b\x08\x00",
    "in.xlsx": b"PK\3\4\x14",
    "other": b"a\0b\n",
    "twice": b'{"a": 1, "a": 2}\n',
    "quoted.csv": b'a,b\n"1"2,3\n',
    "latin.csv": b"a,b\n\xff,3\n",
    "comma": b'{"a": 1 "b", 2}\n',
    "in": b"{}\n",
    "empty": b"\n",
    "pretty": b'{\n  "a": 1\n}\n',
    "semi.csv": b"a;b\n1;2\n",
    "tabs.tsv": b"a\tb\n1\t2\n",
}

UNEVEN = "is not CSV: it does not have one value for each name"
NO_TIME = "argument --timeout: a number of seconds, 0 or more, is needed, not"
NO_COUNT = "a whole number above 0 is needed, not"
NO_PORT = "argument --port: a number from 0 to 65535 is needed, not"
NOT_SET = "it is empty: is a variable not set?"
NOT_UTF_8 = "or bytes that are not UTF-8; nothing was sent\n"
TYPOGRAPHIC = "; its quotes are typographic, as"
POWERSHELL = "is not UTF-8 text: in PowerShell, write"
UNREAD = "stdin was not read, as INPUT was not given: - stands for stdin\n"
NOTHING = "there was no input in stdin: did the step before it fail?\n"
FIRST = '"index":0,'  # the result of the line before
CANCELLED = "the run was cancelled", '"status":"cancelled"'
STREAMED = ("broken", "on_interrupt")
ASK = "next: acp-client wait --ask $run\n"
NO_OUTPUT = (Fault(path="/runs/*/output", status=403, times=None),)
NO_OUTPUT_LATER = (Fault(path="/runs/*/output", status=403, delay=0.5, times=None),)
BUSY_OUTPUT = (Fault(path="/runs/*/output", status=429, retry_after=60, times=None),)
NOT_YOURS = (Fault(method="DELETE", status=403, body="not yours", times=None),)
START_CUT = (
    Fault(method="POST", path="/runs", cut="close"),
    Fault(method="POST", path="/runs/search", status=403, times=None),
)
AWAY = (Fault(path="/*/search", status=503),)
NO_TOKEN = ("line 1 of secret has no id or token of a run; nothing was sent",)
OF_RUNS = ("wait", "show", "cancel", "delete", "stream")
LISTS, FORMS = ("agents", "search", "threads"), ("json", "jsonl", "text", "id")
OPTIONS = ("--results", "--journal", "--key", "--answer-command", "--host", "--config")
NOT_CANCELLED = "the run was not cancelled: ", "not yours", "next: acp-client wait", '"pending"'
FINISHED = ("the run had finished, and is kept: acp-client wait $run\n",)
UNCLEAR = "been started or not: the connection was closed", "next: acp-client show acprun1."
ANSWER = "what the answer command"
STARTED = ('"run_id":"$run"', f'"agent_id":"{ECHO_AGENT_ID}"', '"thread_id":"', '"token":"acprun1.')
COUNTING = """run counter '{"count": 2, "interval": 0}' --stream custom"""
SLOWLY = """run slow '{"seconds": 60}'"""
ASKING = "run approval {}"


def fault(status: int) -> tuple[Fault, ...]:
    return (Fault(path="/agents/search", status=status),)


SAID = [
    # How a run ends
    says("""run echo '{"n":1}'""", 0, '{"n":1}\n'),
    says("""run echo '{"a":["Ä",null],"b":true}' --format text""", 0, 'a: ["Ä", null]\nb: true\n'),
    says(f"{COUNTING} --format jsonl", 0, '"count":1,"of":2}}', '{"count":2,"of":2}\n'),
    says(f"{COUNTING} --format id", 0, "$run\n"),  # once, as the next command takes each for a run
    says("wait $answered", 0, '"approved":true'),
    says("wait $slow --timeout 0", 3, '"status":"pending"', "next: acp-client wait $run\n"),
    says("wait $slow --timeout 0.3", 3, '"status":"pending"', "next: acp-client wait $run\n"),
    says(f"{SLOWLY} --timeout 0", 3, '"run_id":"$run"', "has no output yet"),
    says('run approval \'{"action": "go"}\'', 4, '"status":"interrupted"', '"action":"go"', ASK),
    says(f"{ASKING} --ask", 4, "--ask needs a terminal", ASK),
    says("""run failing '{"errcode": 9, "description": "no ink"}'""", 5, '"errcode":9', '"no ink"'),
    says("""run failing '{"timeout": true}'""", 6, '"status":"timeout"'),
    says("wait $echo $failing", 5, '"status":"success","result":{}', '"status":"error"'),
    says("wait $gone", 7, '"status":"gone"'),
    says("show $gone", 7),
    says("cancel $slow", 0, '{"run_id":"$run","cancelled":true}\n'),
    says("cancel $answered", 0, '{"run_id":"$run","cancelled":false}\n'),
    says("delete $answered", 0, '{"run_id":"$run","deleted":true}\n'),
    says("start echo {} --format id", 0, "$run\n"),
    says("start echo {} --format json", 0, *STARTED),
    # What is listed, and whether the server is there
    says("agents", 0, *(f'"name":"{agent.name}"' for agent in BUILTIN_AGENTS)),
    says("agents --name echo --format id", 0, f"{ECHO_AGENT_ID}\n"),
    says("agents --name nobody", 0, "[]\n"),
    says("history nothing", 1, "404"),
    says("describe counter", 0, '"streaming":{"result":true,"custom":true}'),
    says("describe counter --format id", 0, f"{COUNTER_AGENT_ID}\n"),
    says(f"describe {COUNTER_AGENT_ID}", 0, '"name":"counter"'),
    says("describe counter --schema input", 0, '"count":{"type":"integer"}'),
    says("describe echo --schema thread_state", 0, '"type":"object"'),
    says("describe approval --schema interrupts", 0, '"interrupt_type":"approval"'),
    says("describe counter --schema thread_state", 1, "counter declares no thread_state\n"),
    says("ping", 0, '"server":"$host","milliseconds":'),
    says("ACP_API_KEY=wrong ping", 1, "401"),
    says("ACP_HOST=http://127.0.0.1:9 ping", 10, "cannot connect"),
    says("ACP_HOST=http://nowhere.invalid:8000 ping", 1, "nowhere.invalid"),
    *(says("agents", 10, str(code), faults=fault(code)) for code in (408, 429, 503)),
    *(says("agents", 1, str(code), faults=fault(code)) for code in (404, 501)),
    *(says(f"{each} --format {form}", 10, "503", faults=AWAY) for each in LISTS for form in FORMS),
    # Cancelled on exit
    says(f"{SLOWLY} --timeout 1.5 --cancel-on-exit", 3, *CANCELLED, never=("next",)),
    says(f"{ASKING} --cancel-on-exit", 4, "nobody answers", *CANCELLED, never=("next",)),
    says(
        f"{SLOWLY} --timeout 1.5 --cancel-on-exit",
        3,
        *NOT_CANCELLED,
        faults=NOT_YOURS,
        never=CANCELLED[:1],
    ),
    says("run echo {} --cancel-on-exit", 1, *FINISHED, faults=NO_OUTPUT_LATER, never=CANCELLED[:1]),
    # The way on
    says("wait $approval", 4, ASK),
    says(f"ACP_HOST= {ASKING} --ask --host $host", 4, "acp-client wait --ask --host $host $run\n"),
    says("resume $answered {}", 1, "run $run was not used: ", "next: acp-client show $run\n"),
    says("stream $approval", 4, "nobody answers", never=STREAMED),
    says("stream $failing", 5, never=STREAMED),
    says("stream $echo", 0, never=STREAMED),
    says("run twin", 1, "use an id"),
    says("run nobody", 1, "no agent is called 'nobody'"),
    # Otherwise nobody could pick the run up, and the same command would start another.
    says(SLOWLY, 1, "403", "the run was started: acp-client wait $run\n", faults=NO_OUTPUT),
    says(f"{SLOWLY} --timeout 5", 3, "Retry-After: 60 s", "wait $run\n", faults=BUSY_OUTPUT),
    says("start echo {}", 8, *UNCLEAR, faults=START_CUT),
    says("start echo {} --format json", 8, '"run_id":null,"status":null', faults=START_CUT),
    says(f"{ASKING} --answer-command 'echo no'", 4, f"{ANSWER} printed is not JSON", ASK),
    says(f"{ASKING} --answer-command 'echo [1]'", 4, f"{ANSWER} printed is not a JSON object", ASK),
    says(f"{ASKING} --answer-command false", 4, "the answer command ended with status 1", ASK),
    says(f"{ASKING} --answer-command true", 4, f"{ANSWER} printed is empty, and a JSON", ASK),
    # Servers, keys and tokens
    says("ACP_HOST= agents", 2, "no host was set: set ACP_HOST, or give --host URL"),
    says("ACP_HOST=http://127.0.0.1:9 show $slow", 2, "host (ACP_HOST) is http://127.0.0.1:9\n"),
    says("""ACP_HOST="'http://h:9'" agents""", 2, "stands in quotation marks; remove them"),
    says(
        "ACP_API_KEY= agents", 1, "ACP_API_KEY", "(ACP_TOKEN)", "(ACP_USERNAME)", "(ACP_PASSWORD)"
    ),
    says("ACP_DEBUG=maybe agents", 2, "ACP_DEBUG", "'maybe' is neither true nor false"),
    says("wait run.token", 7, "write @run.token for the ids or tokens in it"),
    says("show @ids", 7, '"run_id":"r1"', '"run_id":"r2"'),
    # What is on stdin
    says("stream -", 2, f"acp-client: {NOTHING}"),
    says("resume - {}", 2, f"acp-client: {NOTHING}", stdin="\n"),
    says("stream -", 2, "acp-client: stdin must name one run, not 2\n", stdin="r1\nr2\n"),
    *(says(f"{each} -", 0, "[]\n", NOTHING) for each in ("wait", "show", "cancel", "delete")),
    says("wait -", 0, "[]\n", NOTHING, stdin="\n"),
    says("show r1 -", 7, '"run_id":"r1"', NOTHING),
    *(
        says(f"{each} - --require-input", 2, f"acp-client: {NOTHING}", never=("[]",))
        for each in ("wait", "show r1", "cancel", "delete")
    ),
    says("show - --require-input", 7, '"run_id":"r1"', stdin="r1\n", never=(NOTHING,)),
    says("batch echo -", 0, NOTHING),
    says("batch echo - --require-input --format json", 2, NOTHING, never=("]",)),
    says("batch echo empty --require-input", 2, "acp-client: there was no input in empty: did th"),
    says("batch echo in --require-input", 0, FIRST),
    says("run echo", 0, UNREAD, stdin='{"n": 1}'),
    says("start echo --format id", 0, UNREAD, stdin='{"n": 1}'),
    says("run echo", 0, never=(UNREAD,)),
    says("start echo --format id", 0, never=(UNREAD,)),
    says("run echo {}", 0, never=(UNREAD,), stdin='{"n": 1}'),
    says("batch echo empty", 0, "there was no input in empty: did the step before it fail?\n"),
    says("batch echo csv --format json", 2, "line 2 of csv is not JSON", FIRST, never=("]",)),
    # Options that there are not
    says("--hlep", 2, "unrecognized arguments: --hlep; did you mean '--help'?\n"),
    says("rnu echo", 2, "argument COMMAND: invalid choice: 'rnu'; did you mean 'run'?\n"),
    says(f"{'x' * 300} echo", 2, f"argument COMMAND: invalid choice: '{'x' * 165}\n"),
    says("--versoin", 2, "unrecognized arguments: --versoin; did you mean '--version'?\n"),
    # It must not be taken for --client-token: that is sent in the metadata of a run.
    says("run echo {} --token=t", 2, "unrecognized arguments: --token; set ACP_TOKEN\n"),
    says("run echo --header=x --password y", 2, "arguments: --password; set ACP_PASSWORD\n"),
    # What other programs have
    says("agents --output json", 2, "arguments: --output; did you mean '--format'?\n"),
    says("--output json agents", 2, "arguments: --output; write --format after the command\n"),
    says("--timeout 5 run echo {}", 2, "arguments: --timeout; write --timeout after the command\n"),
    says("--url http://h run echo", 2, "arguments: --url; did you mean '--host'?\n"),
    says("batch a f --workers=4", 2, "arguments: --workers; did you mean '--concurrency'?\n"),
    says("batch a f -o x", 2, "unrecognized arguments: -o; did you mean '--results'?\n"),
    says("start echo --idempotency-key k", 2, "-key; did you mean '--client-token'?\n"),
    says("run echo {} --no-stream", 2, "unrecognized arguments: --no-stream\n"),
    says("serve --host h", 2, "unrecognized arguments: --host; did you mean '--bind'?\n"),
    says("status r1", 2, "invalid choice: 'status'; did you mean 'show'?\n"),
    says("map a f", 2, "invalid choice: 'map'; did you mean 'batch'?\n"),
    says("runs", 2, "invalid choice: 'runs'; did you mean 'search'?\n"),
    says("server", 2, "argument COMMAND: invalid choice: 'server'; did you mean 'serve'?\n"),
    says("run echo --input {}", 2, "arguments: --input; write INPUT without --input\n"),
    says("run echo -d {}", 2, "unrecognized arguments: -d; write INPUT without -d\n"),
    says("run --agent=echo {}", 2, "arguments: --agent; write AGENT without --agent\n"),
    says("run echo --imput {}", 2, "arguments: --imput; write INPUT without --imput\n"),
    # CPython 3.14 takes the value of an unknown option for INPUT.
    says("run echo --zzz x", 2, ": --zzz", never=("did you mean",)),
    says("completion pwsh", 2, "invalid choice: 'pwsh'\n"),
    says("agents --zzz", 2, "usage: acp-client agents ", "unrecognized arguments: --zzz\n"),
    says("serve --api-key k=x", 2, ": --api-key; did you mean '--api-key-env'?\n"),
    says("batch a f --jurnal=x", 2, "arguments: --jurnal; did you mean '--journal'?\n"),
    says("search --limit status", 2, f"{NO_COUNT} status\n"),
    says("run --ask", 2, "arguments are required: AGENT\n"),
    # Arguments and files
    says("", 2, "arguments are required: COMMAND", "usage: acp-client "),
    says("--help", 0, "\nexit status:\n  0 success               1 the server refused"),
    says("--help", 0, "\n  a run that exists:\n    wait "),
    says("--version", 0, "acp-client "),
    says("wait", 2, "arguments are required: RUN"),
    says("run echo {", 2, "; write JSON in quotes, as"),
    says("run echo Hello", 2, "write JSON in quotes"),
    says("run echo [1]", 2, "argument INPUT: not a JSON object: [1]\n"),
    says(f"run echo [{'1,' * 50}1]", 2, f"INPUT: not a JSON object: [{'1, ' * 19}1,\n"),
    says("""run echo '{"a": NaN}'""", 2, "NaN is not JSON\n"),
    says("""run echo '{"a" 1}'""", 2, "INPUT: not JSON: Expecting ':' delimiter at column"),
    says("""run echo '{"a":""" + "[" * 10_000 + "'", 2, "nested too deep"),
    says("""run echo '{"n": "\udcff"}'""", 2, "argument INPUT: not UTF-8 text\n"),
    # What a shell makes of {"message": "x"} without quotes.
    says("run echo {message: x}", 2, "unrecognized arguments: x}; write JSON in quotes"),
    says("""run echo '{"a":1}}'""", 2, "argument INPUT: not JSON: Extra data at column 8\n"),
    says("resume - -", 2, "only one argument can be -, which stands for stdin\n"),
    says("run echo -", 2, "argument INPUT: stdin is empty, and a JSON object is needed\n"),
    says("run echo in", 2, "INPUT: not JSON: Expecting value at column 1; it is a file: write @in"),
    says("search --metadata in", 2, "--metadata: not JSON", "; it is a file: write @in\n"),
    says("resume r1 in", 2, "BODY: not JSON: Expecting value", "; it is a file: write @in\n"),
    says("agents echo", 2, "arguments: echo; if that is an agent, write --name echo\n"),
    *(
        says(f"{each} echo", 2, "arguments: echo; if that is an agent, write --agent echo\n")
        for each in ("search", "threads", "doctor")
    ),
    *(
        says(f"ping {each}", 2, f"unrecognized arguments: {each}; set ACP_VERIFY_SSL=false\n")
        for each in ("--insecure", "-k", "--verify-ssl")
    ),
    says("batch echo in --retry", 2, "arguments: --retry; did you mean '--retry-failed'?\n"),
    says("batch echo in --resume", 2, "arguments: --resume; did you mean '--journal'?\n"),
    says("run echo --retry", 2, "unrecognized arguments: --retry; set ACP_RETRIES\n"),
    says("--token 5ecret", 2, "arguments: --token; set ACP_TOKEN\n", never=("5ecret",)),
    says("answer r1 {}", 2, "invalid choice: 'answer'; did you mean 'resume'?\n"),
    says("run echo -v", 2, "unrecognized arguments: -v; did you mean '--debug'?\n"),
    says(
        "ping --host http://me:5ecret@h",
        2,
        "must not contain user information; set username (ACP_USERNAME) and password (ACP_PASS",
        never=("5ecret",),
    ),
    says("run echo @csv", 2, "INPUT: csv is not JSON: Extra data: line 2 column 1 (char 3)\n"),
    says("run echo \u2018{\u201cn\u201d:1}\u2019", 2, TYPOGRAPHIC),
    says("run echo '{\u201cn\u201d:1}'", 2, TYPOGRAPHIC),
    says("serve --bind 0.0.0.0:8000", 2, "--bind: '0.0.0.0:8000' is not a host name without"),
    says("run echo @nowhere.json", 2, "cannot read nowhere.json: No such file or directory\n"),
    says("run echo @/proc/self/mem", 2, "argument INPUT: "),
    says("run echo @in\0put", 2, "put: embedded null byte\n"),
    says("run echo {} --thread ''", 2, "argument --thread: it is empty"),
    says("search --agent ''", 2, "argument --agent: it is empty"),
    says("start echo {} --reuse", 2, "reuse needs a client token"),
    says("run approval {} --ask --answer-command true", 2, "exclude each other"),
    says("wait acprun1.damaged", 2, "token"),
    says("stream @ids", 2, "ids must name one run, not 2\n"),
    says("delete @ids.bad", 2, "line 2 of ids.bad has no id or token of a run; nothing was"),
    says("delete @blank", 2, "line 1 of blank has no id or token of a run; nothing was"),
    says("run echo @", 2, "the name of a file is needed after @: is a variable not set?\n"),
    says("wait @", 2, "the name of a file is needed after @: is a variable not set?\n"),
    says("run echo @@csv", 2, "cannot read @csv", "; write it with one @ less\n"),
    says("wait @acprun1.e30.00000000", 2, "; it is a token: write it without @\n"),
    says("""batch echo '{"n":1}'""", 2, "; it is JSON, not the name of a file: run takes it, with"),
    says("wait acprun9.e30.00000000", 2, "version 9", "use the run's id"),
    says("wait ''", 2, "the id or name '' is empty, or has"),
    says("""show '{"run_id": "r1"}'""", 2, "not JSON: print it by --format id\n"),
    says("show @names", 2, NOT_UTF_8),
    says("show run\udcff", 2, NOT_UTF_8),
    *(says(f"{each} @secret", 2, *NO_TOKEN, never=("hidden",)) for each in OF_RUNS),
    says("show a\x1b[31m", 2, "control or invisible"),
    says("history a\x07", 2, "control or invisible"),
    says("run e\u202echo", 2, "control or invisible"),
    says("wait 'a\nb'", 2, "control or invisible"),
    *(says(f"wait r --timeout {each}", 2, f"{NO_TIME} {each}") for each in ("-0.1", "nan", "inf")),
    says("search --limit 0", 2, f"argument --limit: {NO_COUNT} 0\n"),
    says("search --limit 1000000001", 2, f"argument --limit: {NO_COUNT} 1000000001\n"),
    says("batch a f --concurrency x", 2, f"argument --concurrency: {NO_COUNT} x"),
    says("serve --port 65536", 2, f"{NO_PORT} 65536"),
    says("serve --port -1", 2, f"{NO_PORT} -1"),
    says("serve --api-key-env=NOT_SET", 2, "the variable NOT_SET is not set"),
    says("agents --status x", 2, "unrecognized arguments: --status\n"),
    says("completion bash --format id", 2, "unrecognized arguments: --format"),
    says("agents --host nonsense", 2, "host"),
    says("""agents --host '"http://127.0.0.1:9"'""", 2, "stands in quotation marks; remove them"),
    says("batch echo nowhere.jsonl", 2, "acp-client: cannot read nowhere.jsonl: No such file or"),
    says("batch echo @in", 2, "@in: No such file or directory; write it with one @ less\n"),
    says("batch echo in.jsonl.gz", 2, "not UTF-8 text: unpack it first, as gunzip -k does\n"),
    says("batch echo in.xlsx", 2, "line 1 of in.xlsx is not UTF-8 text: it is a ZIP archive or"),
    says("batch echo other", 2, "line 1 of other is not UTF-8 text\n"),
    says("batch echo latin.jsonl", 2, "acp-client: line 1 of latin.jsonl is not UTF-8 text\n"),
    says("batch echo utf16", 2, f"line 1 of utf16 {POWERSHELL}"),
    says("batch echo utf16be --progress", 2, f"line 1 of utf16be {POWERSHELL}"),
    says("batch echo bad", 2, "line 3 of bad is not JSON: Expecting ',' delimiter at col", FIRST),
    says("batch echo nan", 2, "line 1 of nan is not JSON: NaN is not JSON"),
    says("batch echo comma", 2, "line 1 of comma is not JSON: Expecting ',' delimiter at"),
    # Only a first line can be the header of CSV.
    says("batch echo csv", 2, "line 2 of csv is not JSON: Expecting value at column 1\n", FIRST),
    says("batch echo few.csv", 2, f"line 3 of few.csv {UNEVEN}", FIRST),
    says("batch echo many.csv", 2, f"line 2 of many.csv {UNEVEN}"),
    says("batch echo same.csv", 2, "line 1 of same.csv is not CSV: it has a name twice, or"),
    says("batch echo noname.csv", 2, "line 1 of noname.csv is not CSV: it has a name twice"),
    says("batch echo twice", 2, "line 1 of twice is not JSON: an object has the key 'a' twice\n"),
    says("""run echo '{"o": {"a": 1, "a": 2}}'""", 2, "an object has the key 'a' twice\n"),
    says("batch echo in --results -", 2, "--results names a file; without it, results are"),
    *(says(f"batch echo in {each} ''", 2, f"argument {each}: {NOT_SET}") for each in OPTIONS),
    says("start echo --client-token ''", 2, f"argument --client-token: {NOT_SET}"),
    says("batch echo ''", 2, f"argument FILE: {NOT_SET}"),
    says("batch echo quoted.csv", 2, "line 2 of quoted.csv is not CSV: ',' expected after '\"'"),
    says("batch echo latin.csv", 2, "line 2 of latin.csv is not CSV: 'utf-8' codec can't"),
    says("batch echo pretty", 2, "at column 2; write each object in one line, as jq -c . does\n"),
    says("batch echo semi.csv", 2, "line 2 of semi.csv is not CSV: its values are not sep"),
    says("batch echo tabs.tsv", 2, "CSV with commas is read from a file whose name ends with"),
    says("batch echo in --key n", 2, "line 1 of in has no member 'n' for --key"),
    says("batch echo in --results out --format json", 2, "--results needs --format jsonl or id"),
    says("batch echo in --results out --format text", 2, "--results needs --format jsonl"),
    says("batch echo in --results /dev/full", 1, "cannot use /dev/full: No space left on device\n"),
    says("batch echo in --results none/such", 2, "none/such cannot be opened: No such file or"),
    says("batch echo in --timeout 0", 2, "acp-client: the timeout must be above 0 seconds: a run"),
    says("batch echo in --retry-failed", 2, "--retry-failed needs --journal FILE\n"),
    says(
        "run echo {} --json", 2, "--json; leave it out: --format says how the output is written\n"
    ),
    says("run echo {} --follow", 2, "--follow; did you mean '--stream'?\n"),
    says("ping http://127.0.0.1:1", 2, "http://127.0.0.1:1; write --host and the URL\n"),
    says("rm r1", 2, "invalid choice: 'rm'; did you mean 'delete'?\n"),
    says("schema echo", 2, "invalid choice: 'schema'; did you mean 'describe'?\n"),
]


TOKEN = re.compile(r"\$(approval|answered|failing|gone|slow|echo)\b")


def token_of(agent: str, server: LocalServer, inside: Inside) -> str:
    """The token of a run that another process has started."""
    if agent == "gone":
        token = started(server, "slow", {"seconds": 60})
        assert inside(server, "cancel", token).returncode == 0
        return token
    if agent != "answered":
        return started(server, agent, {"seconds": 60} if agent == "slow" else {})
    token = started(server, "approval", {})
    assert inside(server, "resume", token, '{"approved": true}').returncode == 0
    assert inside(server, "wait", token).returncode == 0
    return token


@pytest.mark.parametrize("row", SAID, ids=lambda row: row.line[:40] or "nothing")
def test_a_line_ends_with_its_status_and_its_words(row, server, inside, folder, set_timing):
    for name, content in FILES.items():
        (folder / name).write_bytes(content)
    line = TOKEN.sub(lambda found: token_of(found[1], server, inside), row.line)
    before = server.runs
    server.faults.add(*row.faults)
    set_timing(young=0.2)
    first, *more = shlex.split(line.replace("$host", server.url)) or [""]
    variables = {}
    while re.match("ACP_[A-Z_]+=", first):
        name, _, variables[name] = first.partition("=")
        first, *more = more
    arguments = [first, *more] if first else []
    if row.stdin is None:
        done = inside(server, *arguments, **variables)
    else:
        done = acp(server, *arguments, stdin=row.stdin, more=variables)
    said = done.stdout + done.stderr
    assert done.returncode == row.status, said
    run_ids = [run["run_id"] for run in (*before, *server.runs)]
    known = {"host": server.url, "run": run_ids[0] if run_ids else ""}
    for words in row.words:
        assert Template(words).safe_substitute(known) in said, said
    assert not NEVER.search(said) and "line 1 column" not in done.stderr
    assert [words for words in row.never if words in said] == [], said
    assert row.status not in (1, 2, 10) or FIRST in row.words or not done.stdout
    assert "nothing was sent" not in said or server.requests == ()
    assert max(map(len, done.stderr.splitlines()), default=0) < 400
    assert {path.name for path in folder.iterdir()} == FILES.keys()
    # What goes wrong is on the page, unless a wrong line or a bare status of a server explains it.
    ours = [each for each in done.stderr.splitlines() if each.startswith("acp-client: ")]
    assert row.status in (2, 10) or all(map(on_the_page_of_messages, ours)), said
    if "was cancelled" in said:
        assert "pending" not in {run["status"] for run in server.runs}
    os.fstat(0)  # the command has not closed stdin


def started_run(server: LocalServer) -> str:
    """The id of the only run of a server."""
    (run,) = server.runs
    return str(run["run_id"])


@pytest.fixture
def token(server: LocalServer, inside: Inside) -> str:
    """The token of a run that asks something, which another process has started."""
    token = started(server, "approval", {"action": "deploy"})
    assert inside(server, "wait", token).returncode == 4
    return token


# What takes more than a line


def test_events_are_missing(inside):
    quirks = Quirks(event_ids="connection", replay=False)
    with LocalServer(api_key={"x-api-key": KEY}, quirks=quirks) as server:
        done = inside(
            server, "start", "counter", '{"count": 300, "interval": 0.1}', "--stream", "custom"
        )
        server.faults.add(Fault(path="/runs/*/stream", cut="close", after_events=2))
        done = inside(server, "stream", done.stdout.strip())
    assert done.returncode == 9
    assert "next: acp-client stream --on-gap mark --from " in done.stderr
    assert "broken after event " in done.stderr


def test_a_stream_that_was_broken_says_that_events_may_be_missing(inside):
    quirks = Quirks(event_ids="none")
    with LocalServer(api_key={"x-api-key": KEY}, quirks=quirks) as server:
        token = started(server, "counter", {"count": 3, "interval": 0.1}, streaming="custom")
        server.faults.add(Fault(path="/runs/*/stream", cut="close", after_events=1))
        done = inside(server, "stream", token)
    assert done.returncode == 0
    assert done.stderr.splitlines()[-1].startswith("events may be missing, ")


def test_an_answer_command_gets_the_question_and_answers_it(server, inside, token, folder):
    answer = """grep -q '"action": "deploy"' && echo '{"approved": true}'"""
    for command in (["wait", token], ["run", "approval", '{"action": "deploy"}']):
        assert data(inside(server, *command, "--answer-command", answer))["approved"] is True
    # In a batch, nobody waits until others are answered.
    Path("in").write_text('{"action": "deploy"}\n' * 2, "utf-8")
    other = "touch $$.asked; until [ $(ls *.asked | wc -l) -gt 1 ]; do sleep 0.05; done"
    command = ["batch", "approval", "in", "--answer-command", f"{other}; {answer}"]
    assert [item["result"]["approved"] for item in lines(inside(server, *command))] == [True] * 2


def test_a_timeout_of_0_only_looks_and_asks_nobody(server, inside, token, folder):
    done = inside(server, "wait", token, "--timeout", "0", "--answer-command", "touch asked")
    assert data(done, 4)["status"] == "interrupted" and not (folder / "asked").exists()


def test_several_runs_have_an_outcome_each_although_nobody_can_answer(server, inside, token):
    ran = inside(server, "start", "echo", "{}", "--format", "id").stdout.strip()
    done = inside(server, "wait", token, ran, token, "--ask", "--format", "json")
    assert [each["status"] for each in data(done, 4)] == ["interrupted", "success", "interrupted"]
    assert done.stderr.count("--ask needs a terminal\n") == 2
    answer = ("--answer-command", """echo '{"x": 1e999}'""")
    refused, other = data(inside(server, "wait", token, ran, *answer), 2)
    assert other["status"] == "success" and "inf is not a JSON number" in refused["error"]


def test_an_error_of_a_run_has_no_advice_for_python():
    about = {"run_id": "r1", "token": "acprun1.e30.a3830348"}
    errors: tuple[tuple[ApiException, str], ...] = (
        (InterruptLimit(**about, limit=3), "run r1 asks again after 3 answers"),
        (
            ResumeAmbiguous(**about, times=2, why="no response"),
            "run r1 may or may not have got the answer, which was sent twice: no response",
        ),
        (SearchDrift(offset=3, why="fewer"), "at offset 3: fewer; search again"),
    )
    for error, words in errors:
        said = error.without("hint")
        assert str(error) == f"{said}; {error.hint}" and pickle.loads(pickle.dumps(error)).hint
        assert words in said and not NEVER.search(said)
        assert not re.search(r"RunHandle|on_\w+=|client_token|iterate|cancel\(", said)


@pytest.mark.parametrize("journal", [[], ["--journal", "journal"]])
def test_ctrl_c_in_a_batch_has_the_words_of_a_shell(server, tmp_path, journal):
    inputs = '{"seconds": 0}\n{"seconds": 60}\n'
    process = begun(server, "batch", "slow", "-", *journal, stdin=inputs, cwd=tmp_path)
    first_line(process)
    # The second run is in flight once its output is asked for.
    wait_for(lambda: len({each.path for each in server.requests if "/output" in each.path}) == 2)
    done = ended(process)
    err = done.stderr
    assert done.returncode == 130
    assert not NEVER.search(err) and "map()" not in err and "call" not in err
    assert ("the same again continues" if journal else "with a journal, the same") in err


@pytest.mark.parametrize("given", ["start", "run", CANCEL, f"{CANCEL} --client-token earlier"])
def test_ctrl_c_during_a_start_names_the_run_or_cancels_it(server, inside, given):
    server.faults.add(Fault(method="POST", path="/runs", cut="stall", after_wire_bytes=0))
    process = begun(server, *given.split(), "slow", '{"seconds": 60}')
    wait_for(lambda: len(server.runs) == 1)
    run, done = started_run(server), ended(process)
    told, *others = done.stderr.splitlines()
    cancels = given.startswith(CANCEL)
    assert told.startswith("unclear whether the run was started: acp-client show acprun1.")
    assert others == ["the run was cancelled"] * cancels + [STOPPED]
    ending = f'{{"run_id":"{run}","status":"cancelled"}}\n' if cancels else ""
    assert (done.returncode, done.stdout, len(server.runs)) == (130, ending, not cancels)
    if server.runs:
        assert data(inside(server, "show", told.split()[-1]))["run_id"] == run


@pytest.mark.parametrize("command", ["wait", "stream"])
def test_ctrl_c_says_that_the_run_continues(inside, monkeypatch, command):
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(RunHandle, "result", interrupted)
    monkeypatch.setattr(RunHandle, "events", interrupted)
    done = inside("http://127.0.0.1:9", command, "r1")
    assert done.stderr == "acp-client: the run may continue on the server: acp-client wait r1\n"
    assert done.stdout == "" and done.returncode >= 128


def test_the_help_of_each_command_names_what_its_arguments_take(inside):
    overview = inside("", "--help").stdout
    commands = re.findall(r"(?m)^    ([a-z]+)(?: |$)", overview)
    assert len(commands) > 10 and overview.count(":\n    ") == 6
    for command in commands:
        shown = inside("", command, "--help").stdout
        assert f"example:\n  acp-client {command} " in shown
        # A text that several commands share is true of each.
        assert not re.search("all runs|the one to try|of the run,", shown)
        arguments = re.findall(r"(?m)^  (--\S+|[A-Z]+|\{\S+)( \S+)?\s\s+(\S+)", shown)
        assert len(arguments) == len(re.findall(r"(?m)^  (?!acp-client|-h)\S", shown)), command
        for name, takes, help in arguments:
            assert not help[:2].isupper(), (command, name)
            assert takes.isupper() or "{" in takes or not takes, (command, name)


def test_only_for_the_doctor_is_an_agent_no_filter(inside):
    """It starts runs, which its help says before anything is started."""
    filters, starts = (
        "--agent AGENT +only this agent",
        "--agent AGENT +run it: up to five runs, deleted in",
    )
    for command, words in (("search", filters), ("threads", filters), ("doctor", starts)):
        assert re.search(words, inside("", command, "--help").stdout), command


def test_a_signal_that_is_ignored_stays_ignored(inside, monkeypatch):
    """As shells start what runs in the background, and as nohup does."""
    seen: list[object] = []

    def look(*_: object, **__: object) -> None:
        seen.extend(map(signal.getsignal, (2, 15)))
        raise ApiException(reason="enough")

    monkeypatch.setattr(AgentHandle, "find", look)
    terminated = signal.getsignal(signal.SIGTERM)
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert inside("http://127.0.0.1:9", "run", "echo", "{}").returncode == 1
    finally:
        signal.signal(signal.SIGINT, before)
    assert seen[0] == signal.SIG_IGN and seen[1] not in (signal.SIG_IGN, terminated)


def test_an_error_that_nobody_expected_is_one_line(inside, monkeypatch):
    hooks, before = list[Any](), sys.excepthook

    def broken(*_: object, **__: object) -> None:
        hooks.append(sys.excepthook)
        raise RuntimeError("a bug")

    monkeypatch.setattr(RunHandle, "refresh", broken)
    for command in (["show", "r"], ["show", "r", "--debug"], ["show", "r", "another"]):
        with pytest.raises(RuntimeError) as caught:
            inside("http://127.0.0.1:9", *command)
    assert hooks[1] == before
    inside.capture.readouterr()
    hooks[0](RuntimeError, caught.value, None)
    said = inside.capture.readouterr().err
    assert said == "acp-client: RuntimeError: a bug (--debug shows where)\n"


ADVICE = (
    "|journal=|set host (ACP_HOST)|; iterate on|, or RunHandle('r', client)|answer it by error."
)
PRINTABLE = st.characters(blacklist_categories=("Cc", "Cf", "Co", "Cn", "Cs", "Zl", "Zp", "Zs"))
WORDS = st.lists(st.text(PRINTABLE, max_size=9) | st.sampled_from(ADVICE.split("|")), max_size=3)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20)
@given(WORDS.map(lambda words: " ".join(" ".join(words).split())))
def test_the_words_of_a_server_are_left_as_they_are(inside, text):
    run = {"run_id": "r1", "token": "acprun1.e30.a3830348"}
    for error in (
        RunFailed(**run, errcode=1, description=text),
        StaleInterrupt(**run, now=text),
        RunStartAmbiguous(client_token="c", token=run["token"], why=text),
        ApiException(418, "No", data={"detail": f"said: {text}"}),
        ServiceException(502, text),
    ):
        with patch.object(AgentHandle, "find", side_effect=error):
            said = inside("http://127.0.0.1:9", "run", "echo", "{}").stderr
        assert error.without("hint") in said, error
        assert text in said or isinstance(error, ServiceException)
        assert error.hint not in said.splitlines()[0] or not error.hint


def test_serve_passes_its_options_on(inside, monkeypatch):
    passed: list[Any] = []
    monkeypatch.setattr(serving, "serve", lambda *given, **more: passed.append((given, more)))
    for options in (["--port=0", "--api-key-env=KEY"], ["--port", "65535"], []):
        assert inside("", "serve", *options).returncode == 0
    assert [given for given, _ in passed] == [
        ("127.0.0.1", 0, "KEY"),
        ("127.0.0.1", 65535, ""),
        ("127.0.0.1", 8000, ""),
    ]


# What is passed on


def test_each_option_reaches_its_call(server, inside, folder, monkeypatch):
    (folder / "in").write_text("{}\n{}\n", "utf-8")
    given = dict[str, Any]()

    def note(agent: AgentHandle, inputs: object = None, **options: Any) -> None:
        given.clear()
        given.update(options)
        raise ApiException(reason="enough")

    for method in ("map", "start"):
        monkeypatch.setattr(AgentHandle, method, note)
    shared = """--config '{"c": 1}' --metadata '{"m": 2}' --check"""
    of_runs = {"config": {"c": 1}, "metadata": {"m": 2}, "check": True}
    of_batches = "--concurrency 3 --ordered --timeout 5 --journal j --retry-failed"
    calls: tuple[tuple[str, dict[str, Any]], ...] = (
        (
            f"batch echo in {of_batches} --cancel-on-exit --progress {shared}",
            {
                "concurrency": 3, "ordered": True, "timeout": 5.0, "journal": "j", "total": 2,
                "retry_failed": True, "on_stop": "cancel", "progress": True, "key": None,
                "on_interrupt": None, **of_runs,
            },
        ),
        ("batch echo in", {"on_stop": "leave", "progress": False, "total": None, "concurrency": 8}),
        (
            f"start echo {{}} --thread t --client-token c --reuse --stream custom {shared}",
            {
                "timeout": None, "input": {}, "thread_id": "t", "client_token": "c",
                "reuse": True, "streaming": "custom", **of_runs,
            },
        ),
        ("batch echo in --concurrency 1", {"concurrency": 1, "check": False}),
        ("run echo {}", {"timeout": None, "reuse": False, "check": False}),
    )  # fmt: skip
    for command, expected in calls:
        assert inside(server, *shlex.split(command)).returncode == 1
        assert {name: given.get(name, ...) for name in expected} == expected, command
    for options in (["--timeout", "7", "{}"], ["{}", "--timeout", "7"]):
        inside(server, "run", "echo", *options)
        assert 0 < given["timeout"] <= 7.0 and given["input"] == {}


def test_what_is_searched_for_reaches_the_search(server, inside):
    of_echo = {"agent_id": ECHO_AGENT_ID, "metadata": {"m": 2}}
    for command, expected in (
        ("agents --name a --version 1", {"name": "a", "version": "1"}),
        (
            """search --agent echo --status error --metadata '{"m": 2}'""",
            {**of_echo, "status": "error"},
        ),
        ("""threads --agent echo --metadata '{"m": 2}'""", of_echo),
    ):
        assert inside(server, *shlex.split(command)).returncode == 0
        sent = json.loads(server.requests[-1].body)
        assert expected.items() <= sent.items(), command


# Several runs


def run_of(request: Request) -> bytes:
    return response(json.dumps({**RUN, "run_id": request.path.rpartition("/")[2]}).encode())


def test_64_outcomes_come_at_once_and_keep_the_order_of_their_runs(inside):
    together, runs = threading.Barrier(64, timeout=SECONDS), [f"r{n}" for n in range(320)]

    def reply(request: Request) -> bytes:
        together.wait()
        return run_of(request)

    with SocketServer(handler=serve_each(reply)) as server:
        shown = data(inside(server.url, "show", *runs, ACP_CONNECTION_POOL_MAXSIZE="64"))
    assert [run["run_id"] for run in shown] == runs


def test_a_list_that_ends_early_begins_no_more_requests(inside, monkeypatch):
    begun, over = list[str](), threading.Event()

    def reply(request: Request) -> bytes:
        begun.append(request.path)
        if request.path != "/runs/r0":
            over.wait(SECONDS)
        return run_of(request)

    with SocketServer(handler=serve_each(reply)) as server, open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        assert inside(server.url, "show", *(f"r{n}" for n in range(1000))).returncode == 1
        over.set()
        time.sleep(0.1)
        assert len(begun) <= 65  # one for each thread, and another for that of the first run


@pytest.mark.slow
def test_ctrl_c_does_not_wait_for_the_threads_that_wait_for_runs(server):
    run = started(server, "slow", {"seconds": 60})
    process = begun(server, "wait", "-", stdin=f"{run}\n" * 100)
    wait_for(lambda: any(each.path.endswith("/output") for each in server.requests))
    done = ended(process)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", f"{STOPPED}\n")


def test_once_the_time_is_over_the_runs_that_are_left_are_checked(server, inside):
    slow, ended = started(server, "slow", {"seconds": 60}), started(server, "echo", {})
    server.faults.add(Fault(path="/runs/*/output", delay=0.1, times=None))
    # No more than 64 are waited for at once.
    *others, last = data(inside(server, "wait", *[slow] * 64, ended, "--timeout", "0.3"), 3)
    assert last["status"] == "success" and {each["status"] for each in others} <= {"pending", None}


def test_several_runs_are_ended(server, inside):
    tokens = [started(server, "slow", {"seconds": 60}) for _ in range(2)]
    shown = data(inside(server, "show", *tokens))
    assert [run["status"] for run in shown] == ["pending", "pending"]
    done = inside(server, "cancel", *tokens, "nothing")
    assert [each.get("cancelled") for each in data(done, 7)] == [True, True, None]


def test_a_warning_is_one_line_once(inside, monkeypatch):
    log = logging.getLogger("acp_client_v0_1.handles")

    def warn(*_: object, **__: object) -> None:
        for run in ("r1", "r2"):
            log.warning("%s: no response; asking again for 300 s", run)
        log.info("quiet")
        log.warning("the server is back")
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn("the schema\ncannot be used", stacklevel=1)
        raise ApiException(reason="enough")

    monkeypatch.setattr(AgentHandle, "find", warn)
    assert inside("http://127.0.0.1:9", "run", "echo", "{}").stderr.splitlines()[:-1] == [
        "acp-client: r1: no response; asking again for 300 s",
        "acp-client: the server is back",
        "acp-client: the schema cannot be used",
    ]


# Where things stand, and how they are written


def test_the_host_may_stand_before_the_command(server, inside):
    nowhere = "http://127.0.0.1:9"
    assert data(inside(nowhere, "--host", server.url, "run", "echo", "{}")) == {}
    assert data(inside(nowhere, "run", "echo", "{}", "--host", server.url)) == {}
    assert inside(server, "--host", nowhere, "run", "echo", "{}").returncode == 10
    assert inside("", "--hos", server.url, "agents", "--name", "echo").returncode == 2


def test_a_batch_names_the_command_that_converts_its_file(server, inside, folder):
    for name, between in (("people.json", ",\n"), ("my line.jsonl", ", ")):
        content = between.join(['[{"name": "Zo\xeb"}', '{"name": "Ada"}]\n'])
        (folder / name).write_text(content, "utf-8")
        done = inside(server, "batch", "echo", name)
        assert (done.returncode, done.stdout) == (2, "") and f"line 1 of {name}" in done.stderr
        assert done.stderr.endswith(f"; to convert an array: jq -c '.[]' {shlex.quote(name)}\n")


def test_a_file_that_is_csv_by_its_name_is_taken_as_it_is(server, inside, folder):
    content = b'\xef\xbb\xbfname,age\r\nZo\xc3\xab,3\r\n\r\n"two\nlines",""\r\n'
    Path("people.CSV").write_bytes(content.replace(b"3", b"3" * 200_000))
    done = inside(server, "batch", "echo", "people.CSV", "--ordered", "--key", "name")
    items = lines(done)
    assert [item["key"] for item in items] == ["Zo\u00eb", "two\nlines"]
    assert items[1]["result"] == {"name": "two\nlines", "age": ""}
    assert done.stderr == ("people.CSV is CSV: an input for each row, with text for name, age\n")
    Path("people.txt").write_bytes(content)
    done = inside(server, "batch", "echo", "people.txt")
    assert done.returncode == 2 and "a file whose name ends with .csv\n" in done.stderr


def test_a_byte_order_mark_is_accepted(server, inside, folder):
    (folder / "in.jsonl").write_bytes(b'\xef\xbb\xbf{"n": 1}\n{"n": 2}\n')
    items = lines(inside(server, "batch", "echo", "in.jsonl", "--ordered", "--key", "n"))
    assert [(item["key"], item["result"]["n"]) for item in items] == [("1", 1), ("2", 2)]
    (folder / "in.json").write_bytes(b'\xef\xbb\xbf{"n": 1}')
    assert data(inside(server, "run", "echo", "@in.json")) == {"n": 1}


@pytest.mark.slow
def test_json_is_utf_8_whatever_the_locale(server):
    text = '{"text": "Zo\u00eb \u2713"}'
    locale = "LC_ALL=C PYTHONCOERCECLOCALE=0 PYTHONUTF8=0"
    for command in ("run", "batch"):
        done = in_shell(server, f"{locale} new_acp {command} echo -", text)
        assert done.returncode == 0, done.stderr
        assert "Zo\u00eb \u2713" in done.stdout


def test_pending_is_printed_only_if_the_server_said_so(inside):
    """And a result that a server gives once is printed once, with the status 0."""
    run = {**RUN, "agent_id": ECHO_AGENT_ID, "creation": {"agent_id": ECHO_AGENT_ID}, "status": ""}
    outputs = [response(json.dumps(RESULT).encode())]

    def reply(request: Request) -> Any:
        if request.path.endswith("/stream"):
            return response(b"", 501)
        if "/output" not in request.path:
            return response(json.dumps(run).encode())
        return outputs.pop() if outputs else response(status=204, content_type="")

    with SocketServer(handler=serve_each(reply)) as server:
        create = ("run", ECHO_AGENT_ID, "{}", "--stream", "custom", "--format", "jsonl")
        shown = lines(inside(server.url, *create, "--timeout", "5"), 0)
        assert len(shown) == 2 and shown[0]["result"] == shown[1]
        (ending,) = lines(inside(server.url, *create, "--timeout", "0.5"), 3)
        assert ending["status"] is None and "has no event after" in ending["error"]
        ending = data(inside(server.url, "wait", "r1", "--timeout", "0"), 3)
        assert ending == {"run_id": "r1", "status": "pending"}
