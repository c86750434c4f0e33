"""Serves the built site on this machine, with its search: `make site-serve`."""

from __future__ import annotations

import functools
import sys
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

from build_site import SITE


def main(port: str) -> None:
    """Serve the site until Ctrl-C."""
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(SITE))
    try:
        server = ThreadingHTTPServer(("127.0.0.1", int(port)), handler)
    except (OSError, OverflowError, ValueError) as error:
        why = f"port {port} cannot be used: {getattr(error, 'strerror', None) or error}"
        raise SystemExit(f"{why}; another one: make site-serve SITE_PORT=8081") from error
    print(f"http://127.0.0.1:{server.server_port} shows the site until Ctrl-C", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        server.server_close()


if __name__ == "__main__":
    main(sys.argv[1])
