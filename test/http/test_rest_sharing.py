"""Threads, forks, pickles and closing."""

import copy
import gc
import pickle
import socket
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.forks import printed_by
from support.parts import Interruptible, Pool
from support.proxies import SocksProxy
from support.socket_server import STALL, Gate, SocketServer, chunk, head, response, serve_each
from support.transport import eventually, in_child, in_use, pool_of, rest_client, talking
from urllib3.exceptions import ProtocolError

from acp_client_v0_1.configuration import Configuration
from acp_client_v0_1.exceptions import ConnectionException
from acp_client_v0_1.rest import RESTClientObject

echo = serve_each(lambda request: response(request.path.encode()))


def test_16_threads_with_many_calls_each_get_their_own_responses():
    def calls(thread):
        paths = [f"/{thread}/{n}" for n in range(100)]
        return [client.request("GET", server.url + path, safe=True).data for path in paths]

    with (
        SocketServer(handler=echo) as server,
        rest_client(connection_pool_maxsize=4) as client,
        ThreadPoolExecutor(16) as threads,
    ):
        responses = list(threads.map(calls, range(16)))
        assert in_use(pool_of(client).slots) == 0
        assert len(pool_of(client).idle) <= server.most_open <= 4
    assert responses == [[f"/{t}/{n}".encode() for n in range(100)] for t in range(16)]
    assert server.connections <= 4


def test_streams_take_no_pool_slot():
    stream = [head(transfer_encoding="chunked"), chunk(b"one"), STALL]
    scripts = (stream, stream, stream, response(b'"a"'))
    with talking(*scripts, connection_pool_maxsize=1) as (client, server):
        streams = [client.request("GET", server.url, stream=True) for _ in range(3)]
        for _ in range(3):
            assert client.request("GET", server.url, _request_timeout=5).data == b'"a"'
        client.close()  # the idle one, while the others lead to its pool
        assert eventually(lambda: server.still_open == 3)
        for open_stream in streams:
            assert open_stream.read_available() == b"one"
            open_stream.close()
        assert server.most_open == 4
        assert eventually(lambda: not server.still_open)


def test_a_child_does_not_disturb_its_parents_stream():
    gate = Gate()
    chunked = head(transfer_encoding="chunked")
    script = [chunked, chunk(b"one"), gate, chunk(b"two"), chunk(b"")]
    with talking(script) as (client, server):
        stream = client.request("GET", server.url, stream=True)
        assert stream.read_available() == b"one"

        def disturb():
            nonlocal stream
            with pytest.raises(ProtocolError, match="another process"):
                stream.response.read1(3)
            with pytest.raises(ConnectionException, match="another process"):
                stream.read_available()
            stream.abort()
            stream.close()
            assert stream.response.closed
            del stream
            gc.collect()

        assert in_child(disturb)() == 0
        gate.open()
        assert stream.read() == b"two"


def test_a_child_uses_no_connection_of_its_parent_and_closes_its_copies_of_the_idle_ones():
    """Otherwise those that its parent closes would stay open for their server."""
    with SocketServer(handler=echo) as server, rest_client() as client:

        def call(path):
            assert client.request("GET", server.url + path).data == path.encode()

        def first_calls():
            for _ in range(2):
                call("/child")
            assert len(pool_of(client).idle) == 1 and not pool.idle

        call("/parent")
        pool = pool_of(client)
        for _ in range(2):
            assert in_child(first_calls)() == 0
            call("/parent")
        assert len(pool.idle) == 1
    paths = ["/parent", *["/child", "/child", "/parent"] * 2]
    assert [request.path for request in server.requests] == paths
    assert [request.connection for request in server.requests] == [0, 1, 1, 0, 2, 2, 0]


CHILD_ENDS = """
import os, signal, sys
from acp_client_v0_1.configuration import Configuration
from acp_client_v0_1.rest import RESTClientObject

sys.stderr = sys.stdout  # so that nothing is printed unseen
url = "{}"
client = RESTClientObject(Configuration(retries=False))
client.request("GET", url)
stream = client.request("GET", url, stream=True)
child = os.fork()
if child == 0:
    signal.alarm(10)  # a test that hangs ends here
    assert client.request("GET", url).status == 200
    stream.close()
    del stream
    sys.exit(7)  # not os._exit: what is done at the end is to be done
_, status = os.waitpid(child, 0)
print(os.waitstatus_to_exitcode(status))
"""


def test_a_child_uses_its_own_connections_and_ends():
    with SocketServer(response(b'"a"')) as server:
        assert printed_by(CHILD_ENDS.format(server.url)) == "7\n"


@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda c: pickle.loads(pickle.dumps(c))]
)
def test_a_client_is_copied_without_its_pool_and_can_be_used_after_it_was_closed(copied):
    with SocketServer(handler=echo) as server, rest_client(timeout=7, access_token="t") as client:
        assert client.request("GET", server.url + "/a").data == b"/a"
        other = copied(client)
        assert isinstance(other, RESTClientObject)
        settings = other._configuration
        assert (settings.timeout, settings.access_token, settings.retries) == (7, "t", False)
        for end in (other.close, int, other.close):
            assert other.request("GET", server.url + "/b").data == b"/b"
            end()
    assert server.connections == 3


@pytest.mark.parametrize(("maxsize", "kept"), [(1, 64), (70, 70), (100, 90)])
def test_a_pool_keeps_as_many_idle_connections_as_it_may(maxsize, kept):
    """Streams and long polls take no slot, so that more may come back than there are slots."""

    class Stub:
        closed = False

        def mark_idle(self):
            pass

        def close(self):
            self.closed = True

    pool, connections = Pool(Stub, maxsize, None), [Stub() for _ in range(90)]
    for connection in connections:
        pool.put(connection)
    assert len(pool.idle) == kept
    assert [stub.closed for stub in connections] == [False] * kept + [True] * (90 - kept)


def test_another_thread_can_interrupt_the_call_under_way_and_no_later_one():
    calls = Interruptible(lambda: 1.0, 1.0)

    def interrupt():
        assert eventually(lambda: server.requests)
        calls.interrupt()

    with (
        talking([STALL], response(b"x")) as (client, server),
        ThreadPoolExecutor(1) as threads,
        calls,
    ):
        calls.interrupt()
        interrupting = threads.submit(interrupt)
        with pytest.raises(ConnectionException, match="closed without a response"):
            client.request("GET", server.url, _request_timeout=15)
        interrupting.result()
        for _ in range(2):
            received = client.request("GET", server.url, stream=True)
            calls.interrupt()
            assert received.read() == b"x"
        assert server.connections == 2


def test_a_client_that_is_never_closed_closes_its_connections_when_it_is_garbage():
    """With no ResourceWarning: warnings are errors here."""
    with SocketServer(response(b"x")) as server:
        client = RESTClientObject(Configuration(retries=False))
        assert client.request("GET", server.url).status == 200
        del client
        gc.collect()
        assert eventually(lambda: not server.still_open)


def test_an_idle_connection_keeps_nothing_of_its_last_call():
    with talking(response(b"x")) as (client, server):
        with Interruptible(lambda: 1.0, 1.0) as calls:
            client.request("GET", server.url)
        kept = weakref.ref(calls)
        del calls
        gc.collect()
        assert len(pool_of(client).idle) == 1
        assert kept() is None


# What a socket is asked for, by the level, the name and the value.
ON = (socket.SOL_SOCKET, "SO_KEEPALIVE", 1)
FIRST = (socket.IPPROTO_TCP, "TCP_KEEPIDLE", 45)
FIRST_ON_MACOS = (socket.IPPROTO_TCP, "TCP_KEEPALIVE", 45)
NEXT = (socket.IPPROTO_TCP, "TCP_KEEPINTVL", 15)
COUNT = (socket.IPPROTO_TCP, "TCP_KEEPCNT", 3)


def options_of(expected, **settings):
    """Make a call with these settings, directly and through a SOCKS proxy, and ask its sockets."""
    with SocksProxy() as proxy, SocketServer(response(b"x")) as server:
        for url in ("", f"socks5h://127.0.0.1:{proxy.port}"):
            with rest_client(proxy=url, timeout=None, **settings) as client:
                client.request("GET", server.url)
                (connection,) = pool_of(client).idle
                for level, name, value in expected:
                    if hasattr(socket, name):
                        found = connection.sock.getsockopt(level, getattr(socket, name))
                        # For a flag, macOS returns the bit of the option.
                        assert (found == value) or (value == 1 and found), name
                assert connection.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_tcp_asks_after_45_seconds_of_silence_whether_the_server_is_still_there():
    options_of([ON, FIRST, FIRST_ON_MACOS, NEXT, COUNT])


def test_socket_options_join_the_defaults_and_override_them():
    own = [(socket.IPPROTO_TCP, "TCP_KEEPINTVL", 7), (socket.SOL_SOCKET, "SO_BROADCAST", 1)]
    numbers = [(level, getattr(socket, name), v) for level, name, v in own if hasattr(socket, name)]
    options_of([ON, FIRST, FIRST_ON_MACOS, *own, COUNT], socket_options=numbers)
    off = (socket.SOL_SOCKET, "SO_KEEPALIVE", 0)
    options_of([off], socket_options=[(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 0)])


def test_what_a_platform_lacks_of_tcp_keepalive_is_left_out(monkeypatch):
    for _, name, _ in (COUNT, NEXT, FIRST, FIRST_ON_MACOS, ON):
        monkeypatch.delattr(socket, name, raising=False)
        options_of([ON])
