"""The parts of `rest`: what happens between a prepared request and the bytes of its response.

``urls``       one strict parser for hosts, URLs and the targets of redirects
``headers``    the headers of a request: merged, checked
``auth``       what a call's own credentials become
``call``       one call: its request, and where a redirect leads it
``retry``      whether to send again, and when
``errors``     what went wrong becomes an error of the tree
``attempt``    the limits of one attempt, and what it holds meanwhile
``slots``      how many may do something at once
``dial``       a name and a port become a connected socket, in time
``proxies``    which proxy leads to an origin
``tls``        the TLS context that a configuration asks for; TLS in TLS
``connection`` a connection, made by urllib3, used by us
``pool``       the connections of a client, a pool for each origin
``parse``      the head of a response, and where its body ends
``coding``     content codings, undone a bounded piece at a time
``incoming``   a response as a connection brings it
``response``   a response, and its body as it arrives
"""
