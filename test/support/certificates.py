"""Certificates of a private authority: of servers, and of a client."""

from __future__ import annotations

import ssl
from pathlib import Path

import trustme


class Certificates:
    def __init__(self, folder: Path) -> None:
        self.authority = trustme.CA()
        self.ca_file = str(folder / "ca.pem")
        self.authority.cert_pem.write_to_path(self.ca_file)
        self.ca_text = self.authority.cert_pem.bytes().decode()
        identity = self.authority.issue_cert("client@acp.invalid")
        self.client_file = str(folder / "client.pem")
        identity.private_key_and_cert_chain_pem.write_to_path(self.client_file)
        self.key_file = str(folder / "key.pem")
        identity.private_key_pem.write_to_path(self.key_file)
        self.cert_file = str(folder / "cert.pem")
        identity.cert_chain_pems[0].write_to_path(self.cert_file)

    def server(self, name: str = "127.0.0.1", *others: str, mutual: bool = False) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.authority.issue_cert(name, *others).configure_cert(context)
        if mutual:
            self.authority.configure_trust(context)
            context.verify_mode = ssl.CERT_REQUIRED
        return context
