"""The parts of `rest`: from a prepared request to the bytes of its response.

``urls``       one strict parser for hosts, URLs and the targets of redirects
``headers``    the headers of a request: merged, checked; the credentials of one call
``call``       one call: its request, and where a redirect leads it
``retry``      what may be retried, and when
``errors``     what went wrong becomes an error of the tree
``attempt``    the limits of one attempt, what it holds meanwhile, how to interrupt it
``slots``      a bounded number of threads or calls at once
``dial``       a name and a port become a connected socket, in time
``proxies``    which proxy leads to an origin
``tls``        the TLS context that a configuration asks for; TLS in TLS
``connection`` a connection, made by urllib3, used by us
``pool``       the connections of a client, a pool for each origin
``parse``      the head of a response, and where its body ends
``incoming``   a response as a connection brings it
``coding``     content codings, undone a bounded piece at a time
``response``   a response as callers see it, its body as it arrives and decoded
``observer``   what telemetry sees of a client
"""
