"""``python -m acp_client_v0_1.doctor``: the command ``acp-client doctor``."""

import sys

from acp_client_v0_1.cli import main

if __name__ == "__main__":
    sys.exit(main(["doctor", *sys.argv[1:]]))
