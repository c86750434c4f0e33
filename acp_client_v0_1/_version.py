"""The version of this package, stated only here, and the name that servers see."""

import sys

__version__ = "0.2.0"

USER_AGENT = "acp_client_v0_1/{} Python/{}.{}.{}".format(__version__, *sys.version_info)
