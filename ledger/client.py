"""The one client of the local sockets that meter, agent, panel and CLI share. Blocking, standard library only.

`NodeClient` speaks HTTP/JSON to a node's Unix socket; `WalletClient` speaks length-prefixed canonical CBOR to the wallet's.
Every failure is `NodeUnavailable`, `NodeRefused`, `SignerUnavailable` or `SignerRefused`, with words for a person.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
from pathlib import Path
from typing import Any, Final

from ledger.base import codec
from ledger.base.errors import DecodeError, NodeRefused, NodeUnavailable, SignerRefused, SignerUnavailable
from ledger.base.intents import Intent
from ledger.base.limits import LOCAL_REQUEST_BYTES_MAX

SOCKET_PATH_MAX: Final = 107  # sun_path of Linux, less the closing zero
RESPONSE_BYTES_MAX: Final = 32 * 1024 * 1024  # a long list of slots as JSON
LENGTH_BYTES: Final = 4


def socket_path(path: Path) -> tuple[str, int | None]:
    """An address for `bind` or `connect` that fits, and a descriptor to close once that is done (or None)."""
    text = str(path)
    if len(os.fsencode(text)) <= SOCKET_PATH_MAX:
        return text, None
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    return f"/proc/self/fd/{folder}/{path.name}", folder


def connect_unix(path: Path, timeout_s: float) -> socket.socket:
    """A connected stream socket. Raises `OSError`."""
    link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    link.settimeout(timeout_s)
    folder: int | None = None
    try:
        address, folder = socket_path(path)
        link.connect(address)
    except OSError:
        link.close()
        raise
    finally:
        if folder is not None:
            os.close(folder)
    return link


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path, self._timeout_s = path, timeout_s

    def connect(self) -> None:
        self.sock = connect_unix(self._path, self._timeout_s)


class NodeClient:
    """A node's local API. Each call opens a connection of its own: callers are few and the socket is local."""

    def __init__(self, path: Path, timeout_s: float = 10.0) -> None:
        self.path, self.timeout_s = path, timeout_s

    def _request(self, method: str, target: str, body: object | None) -> Any:
        link = _UnixConnection(self.path, self.timeout_s)
        try:
            payload = None if body is None else json.dumps(body).encode()
            link.request(method, target, payload, {"content-type": "application/json"} if payload else {})
            response = link.getresponse()
            raw = response.read(RESPONSE_BYTES_MAX + 1)
        except (OSError, http.client.HTTPException) as error:
            raise NodeUnavailable(f"no node answers at {self.path} ({error}); is energo-node running?") from None
        finally:
            link.close()
        try:
            document = json.loads(raw)
        except ValueError:
            raise NodeUnavailable(f"what answers at {self.path} is not a node; check --node") from None
        if response.status >= 400:
            problem = document.get("error", {}) if isinstance(document, dict) else {}
            raise NodeRefused(str(problem.get("code", response.status)), str(problem.get("message", "refused")))
        return document

    def get(self, target: str) -> Any:
        """The JSON document at a path such as `/v1/status`. Raises `NodeUnavailable`, `NodeRefused`."""
        return self._request("GET", target, None)

    def post(self, target: str, body: object) -> Any:
        """Hand a JSON document over. Raises `NodeUnavailable`, `NodeRefused`."""
        return self._request("POST", target, body)

    def submit(self, raw: bytes) -> str:
        """Hand a signed transaction to the node; its id (hex). Raises `NodeUnavailable`, `NodeRefused`."""
        return str(self.post("/v1/transactions", {"transaction": raw.hex()})["id"])

    def wait(self, transaction_id: str, timeout_s: float = 8.0) -> Any:
        """The transaction's state, waiting up to `timeout_s` (below the client's own) for it to be final."""
        return self.get(f"/v1/transactions/{transaction_id}?wait_ms={int(timeout_s * 1000)}")


class WalletClient:
    """The wallet's socket for one role (node, agent or owner); the file's rights decide who may open it."""

    def __init__(self, path: Path, timeout_s: float = 10.0) -> None:
        self.path, self.timeout_s = path, timeout_s

    def call(self, request: tuple[object, ...]) -> Any:
        """One typed request, one answer. Raises `SignerUnavailable`, `SignerRefused`."""
        try:
            with connect_unix(self.path, self.timeout_s) as link:
                send_message(link, codec.encode(request))
                answer = codec.decode(receive_message(link), bytes_max=LOCAL_REQUEST_BYTES_MAX)
        except (OSError, DecodeError) as error:
            raise SignerUnavailable(f"no wallet answers at {self.path} ({error}); is energo-wallet running?") from None
        return unpack_answer(answer)

    def public_keys(self) -> tuple[bytes, bytes, bytes]:
        """Public keys: owner's, node's, transport's."""
        owner, node, transport = self.call(("keys",))
        return owner, node, transport

    def sign_transaction(self, intent: Intent, *, nonce: int, valid_until_height: int) -> bytes:
        """The signed transaction that says `intent`, if the wallet's rules let this role ask for it."""
        raw = self.call(("transaction", intent.KIND, intent.body(), nonce, valid_until_height))
        assert isinstance(raw, bytes), "the wallet answers a transaction with bytes"
        return raw


def unpack_answer(answer: Any) -> Any:
    """The value of `[True, value]`; raises `SignerRefused` for `[False, code, message]`."""
    match answer:
        case [True, value]:
            return value
        case [False, str(code), str(message)]:
            raise SignerRefused(code, message)
    raise SignerUnavailable("the wallet answered in a form that this software does not know")


def send_message(link: socket.socket, payload: bytes) -> None:
    """One length-prefixed message."""
    link.sendall(len(payload).to_bytes(LENGTH_BYTES, "big") + payload)


def receive_message(link: socket.socket) -> bytes:
    """One length-prefixed message of bounded size. Raises `OSError` when the other end closes, `DecodeError` when too long."""
    size = int.from_bytes(_receive_exactly(link, LENGTH_BYTES), "big")
    if size > LOCAL_REQUEST_BYTES_MAX:
        raise DecodeError(f"a message of {size} bytes where at most {LOCAL_REQUEST_BYTES_MAX} are allowed")
    return _receive_exactly(link, size)


def _receive_exactly(link: socket.socket, size: int) -> bytes:
    received = bytearray()
    while len(received) < size:
        part = link.recv(size - len(received))
        if not part:
            raise ConnectionError("the other end closed the connection")
        received += part
    return bytes(received)
