"""The parts of `rest`: what happens between a prepared request and the bytes of its answer.

``call``       one call: its request, and where a redirect leads it
``dial``       a name and a port become a connected socket, in time
``attempt``    the limits of one attempt, known by the thread that makes it
``connection`` urllib3's connections, with every wait bounded by the call's deadline
``answer``     http.client's response, with every wait bounded likewise
``head``       the status line and headers of an answer
``framing``    where the body of an answer ends
``coding``     content codings, undone a bounded piece at a time
``proxy``      which proxy leads to an origin
``tls``        the trust and the identity that a configuration asks for
``pool``       a pool of urllib3 that may be closed while calls are under way
``pools``      the pools of a client, one for calls and one for streams to each origin
``response``   an answer, and its body as it arrives
``errors``     what went wrong becomes an error of the tree
``retry``      whether to send again, and when
"""
