"""A service that answers as Intel's PCS version 4 does, with what a simulated Intel publishes."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import quote as url_quote
from urllib.parse import urlsplit

from cocoon.attestation.collateral import Collateral, SignedDocument

__all__ = ["PcsServer", "pcs_server"]


class PcsServer:
    """What it serves and was asked. `broken`: paths it fails on; `slow_sec`: how long it thinks."""

    def __init__(self, collateral: Collateral) -> None:
        self.collateral = collateral
        self.asked: list[str] = []
        self.broken: set[str] = set()
        self.slow_sec = 0.0
        self.url = ""

    def answer(self, path: str) -> tuple[bytes, dict[str, str]] | None:
        """Body and headers; None for what Intel's service does not have."""
        found = self.collateral
        match path:
            case "/tdx/certification/v4/tcb":
                return _document("tcbInfo", found.tcb_info_document, "TCB-Info-Issuer-Chain")
            case "/tdx/certification/v4/qe/identity":
                return _document("enclaveIdentity", found.qe_identity_document, "SGX-Enclave-Identity-Issuer-Chain")
            case "/sgx/certification/v4/pckcrl":
                return found.pck_crl_der, {"SGX-PCK-CRL-Issuer-Chain": url_quote(found.pck_crl_issuer_chain_pem)}
            case "/sgx/certification/v4/rootcacrl":
                return found.root_ca_crl_der.hex().encode(), {}
        return None


def _document(name: str, document: SignedDocument, header: str) -> tuple[bytes, dict[str, str]]:
    body = b'{"%s":%s,"signature":"%s"}' % (name.encode(), document.body, document.signature.hex().encode())
    return body, {header: url_quote(document.issuer_chain_pem)}


@contextmanager
def pcs_server(collateral: Collateral) -> Iterator[PcsServer]:
    """Serves `collateral` on a free local port."""
    served = PcsServer(collateral)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            served.asked.append(self.path)
            time.sleep(served.slow_sec)
            path = urlsplit(self.path).path
            answer = None if path in served.broken else served.answer(path)
            with suppress(ConnectionError):  # whoever found it too slow has hung up
                self.reply(answer)

        def reply(self, answer: tuple[bytes, dict[str, str]] | None) -> None:
            if answer is None:
                self.send_error(404)
                return
            body, headers = answer
            self.send_response(200)
            for name, value in (headers | {"Content-Length": str(len(body))}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Says nothing: tests read `asked`."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
