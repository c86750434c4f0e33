"""The parts of `rest`: what happens between a prepared request and the bytes of its answer.

``call``       a request on its way, and what it may cost in time
``dial``       a name and a port become a connected socket, in time
``connection`` urllib3's connections, with every wait bounded by the call's deadline
``head``       the status line and headers of an answer
``proxy``      which proxy leads to an origin
``tls``        the trust and the identity that a configuration asks for
``pools``      urllib3's pools, one for calls and one for streams to each origin
``response``   an answer, and its body as it arrives
``failure``    what went wrong becomes an error of the tree
``retry``      whether to send again, and when
``redirect``   whether to follow, and with what
"""
