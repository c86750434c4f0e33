"""``python -m acp_client_v0_1``: the command ``acp-client``."""

import sys

from acp_client_v0_1.cli import main

if __name__ == "__main__":
    sys.exit(main())
