"""What is overridden of urllib3 and http.client is still there, in any installed version."""

from __future__ import annotations

import re

from urllib3.connection import HTTPSConnection

from acp_client_v0_1._http import connection


def test_urllib3_has_each_name_that_is_listed_at_the_top_of_the_module() -> None:
    listed = re.findall(r"``(\w+)``", str(connection.__doc__))
    assert {"connect", "_new_conn", "_tunnel"} <= set(listed)
    made = HTTPSConnection("localhost")
    assert [name for name in listed if not hasattr(made, name)] == []
