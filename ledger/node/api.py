"""The node's local API: HTTP/JSON on two Unix sockets, one for operators and one that only reads.

Answers come from the final state and the store; nothing here decides anything. Starlette on uvicorn serve both sockets as
tasks of the node's own loop. Errors are `{"error": {"code", "message"}}`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, Final

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ledger.base import codec
from ledger.base.crypto import HASH_BYTES
from ledger.base.errors import ConfigError, DecodeError, EnergoError
from ledger.base.limits import LOCAL_REQUEST_BYTES_MAX
from ledger.base.recovery import decode_recovery
from ledger.client import socket_path
from ledger.state.tables import ACCOUNT

from . import views
from .loop import Node
from .store import ReadingRow

COUNT_DEFAULT: Final = 20
COUNT_MAX: Final = 10_000  # of a list: a hundred days of slots
WAIT_MS_MAX: Final = 30_000
OPERATORS_MODE: Final = 0o117  # umask: 0660
VIEW_MODE: Final = 0o111  # umask: 0666


class ApiError(Exception):
    """A request that cannot be served, in words."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code


def _error(status: int, code: str, message: str) -> JSONResponse:
    return JSONResponse({"error": {"code": code, "message": message}}, status_code=status)


def _number(request: Request, name: str, default: int, highest: int) -> int:
    text = request.query_params.get(name, str(default))
    if not text.isascii() or not text.isdigit() or not 0 <= int(text) <= highest:
        raise ApiError(400, "bad_number", f"{name} must be a whole number up to {highest}")
    return int(text)


Handler = Callable[[Node, Request], Awaitable[Any]]


async def _status(node: Node, request: Request) -> Any:
    return node.status()


async def _peers(node: Node, request: Request) -> Any:
    return node.peers()


async def _balance(node: Node, request: Request) -> Any:
    wanted = request.query_params.get("account", "self")
    account = node.account if wanted == "self" else node.names.account(wanted)
    state = node.core.chain.final.state
    row = None if account is None else state.get(ACCOUNT, (account,))
    if account is None or row is None:
        raise ApiError(404, "no_such_account", f"no account of this street is called {wanted}")
    next_nonce = node.core.mempool.pending_nonce(row.owner_key, row.nonce) + 1
    return views.balance(state, node.names, account, next_nonce)


async def _readings(node: Node, request: Request) -> Any:
    count = _number(request, "count", COUNT_DEFAULT, COUNT_MAX)
    waiting = [
        ReadingRow(r.device, envelope.nonce, r.slot, r.import_wh, r.export_wh, r.stored_wh, r.flags, 0)
        for envelope, r in node.core.mempool.readings()
    ]
    found = [views.reading(row, node.names, "pending") for row in waiting]
    found += [views.reading(row, node.names, "final") for row in node.store.readings(count)]
    return found[:count]


async def _feed(node: Node, request: Request) -> Any:
    found = views.feed(node.core.chain.final.state, request.path_params["name"])
    if found is None:
        raise ApiError(404, "unknown_device", f"no device is called {request.path_params['name']}; register it first")
    return found


async def _slots(node: Node, request: Request) -> Any:
    count = _number(request, "count", COUNT_DEFAULT, COUNT_MAX)
    return [views.slot(closed, node.names, height) for height, closed in node.store.slots(count)]


async def _blocks(node: Node, request: Request) -> Any:
    count = _number(request, "count", COUNT_DEFAULT, COUNT_MAX)
    state, names = node.core.chain.final.state, node.names
    found = node.store.recent_blocks(count)
    return [views.block(block, size, names, names.leader(block.header, state)) for block, size in found]


async def _orders(node: Node, request: Request) -> Any:
    return views.orders(node.core.chain.final.state, node.names, node.account)


async def _trades(node: Node, request: Request) -> Any:
    count = _number(request, "count", COUNT_DEFAULT, COUNT_MAX)
    return [views.trade(event, node.names, height, time_ms) for height, time_ms, event in node.store.trades(count)]


async def _generators(node: Node, request: Request) -> Any:
    return views.generators(node.core.chain.final.state, node.names)


async def _pools(node: Node, request: Request) -> Any:
    return views.pools(node.core.chain.final.state, node.names)


async def _members(node: Node, request: Request) -> Any:
    core = node.core
    return views.members(core.chain.final.state, core.directory, core.machine.committee, node.names)


async def _recovery(node: Node, request: Request) -> Any:
    return node.recovery()


async def _announce(node: Node, request: Request) -> Any:
    try:
        document = json.loads(await _body(request))
        recovery = decode_recovery(bytes.fromhex(document["recovery"]))
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ApiError(400, "malformed", 'the body must be {"recovery": "hexadecimal digits"}') from None
    node.announce_recovery(recovery)
    return node.recovery()


def transaction_of(body: bytes) -> bytes:
    """The transaction's bytes in the body of a request. Raises `ApiError`."""
    try:
        return bytes.fromhex(json.loads(body)["transaction"])
    except (ValueError, KeyError, TypeError, RecursionError):  # the last: arrays nested thousands deep
        raise ApiError(400, "malformed", 'the body must be {"transaction": "hexadecimal digits"}') from None


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > LOCAL_REQUEST_BYTES_MAX:
            raise ApiError(413, "too_large", f"a request has at most {LOCAL_REQUEST_BYTES_MAX} bytes")
    return bytes(body)


async def _submit(node: Node, request: Request) -> Any:
    transaction_id, known = node.submit(transaction_of(await _body(request)))
    return {"id": transaction_id.hex(), "status": "known" if known else "pending"}


async def _invite(node: Node, request: Request) -> Any:
    body = await _body(request)
    try:
        wanted = json.loads(body)
        long, bus = wanted.get("long", False), wanted.get("bus", "")
    except (ValueError, AttributeError, RecursionError):
        long, bus = None, None
    if type(long) is not bool or type(bus) is not str:
        raise ApiError(400, "malformed", 'the body must be {"long": true or false, "bus": "a bus, or nothing"}')
    if bus and all(each.name != bus for each in node.genesis.buses):
        raise ApiError(404, "unknown_bus", f"no bus of this street is called {bus}")
    return node.invite(long=long, bus=bus)


async def _invitations(node: Node, request: Request) -> Any:
    return node.door.show()


async def _transaction(node: Node, request: Request) -> Any:
    try:
        wanted = codec.of_length(bytes.fromhex(request.path_params["id"]), HASH_BYTES, "id")
    except ValueError:
        raise ApiError(400, "malformed", "a transaction's id has 64 hexadecimal digits") from None
    wait_ms = _number(request, "wait_ms", 0, WAIT_MS_MAX)
    height = await node.wait_final(wanted, wait_ms)
    if height is None:
        pending = node.core.mempool.get(wanted[:8]) is not None
        status = "pending" if pending else "unknown"
        return {"id": wanted.hex(), "status": status, "height": None, "code": "", "message": "", "events": []}
    code, message, did = views.receipt(node.store.events(height), wanted, node.names)
    return {
        "id": wanted.hex(),
        "status": "refused" if code else "final",
        "height": height,
        "code": code,
        "message": message,
        "events": did,
    }


_READS: Final[dict[str, Handler]] = {
    "/v1/status": _status,
    "/v1/peers": _peers,
    "/v1/balance": _balance,
    "/v1/readings": _readings,
    "/v1/feeds/{name}": _feed,
    "/v1/slots": _slots,
    "/v1/blocks": _blocks,
    "/v1/members": _members,
    "/v1/recovery": _recovery,
    "/v1/orders": _orders,
    "/v1/trades": _trades,
    "/v1/generators": _generators,
    "/v1/pools": _pools,
    "/v1/transactions/{id}": _transaction,
}
_WRITES: Final[dict[str, Handler]] = {
    "/v1/transactions": _submit,
    "/v1/recovery": _announce,
    "/v1/invitations": _invite,
}
_OPERATORS_READS: Final[dict[str, Handler]] = {"/v1/invitations": _invitations}  # who comes is not everybody's matter


def application(node: Node, *, writes: bool) -> Starlette:
    """The API of one socket."""

    def endpoint(handler: Handler) -> Callable[[Request], Awaitable[Response]]:
        async def serve(request: Request) -> Response:
            try:
                return JSONResponse(await handler(node, request))
            except ApiError as error:
                return _error(error.status, error.code, str(error))
            except DecodeError as error:
                return _error(400, error.code, str(error))
            except EnergoError as error:
                return _error(409, error.code, str(error))
            except AssertionError as broken:
                node.fail(broken)
                return _error(500, "broken", "the node found itself broken and stops; its log says where")

        return serve

    def http_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException), "only those are handled here"
        return _error(error.status_code, "not_found", f"there is no {request.method} {request.url.path}")

    routes = [Route(path, endpoint(handler), methods=["GET"]) for path, handler in _READS.items()]
    if writes:
        routes += [Route(path, endpoint(handler), methods=["GET"]) for path, handler in _OPERATORS_READS.items()]
        routes += [Route(path, endpoint(handler), methods=["POST"]) for path, handler in _WRITES.items()]
    return Starlette(routes=routes, exception_handlers={HTTPException: http_error})


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: the node has its own."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _bind(path: Path, umask: int) -> socket.socket:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    address, folder = socket_path(path)
    before = os.umask(umask)
    try:
        bound.bind(address)
    except OSError as error:
        raise ConfigError(f"{path}: the socket cannot be made ({error.strerror}); check the folder's rights") from None
    finally:
        os.umask(before)
        if folder is not None:
            os.close(folder)
    bound.listen(64)
    bound.setblocking(False)
    return bound


class Api:
    """Both sockets."""

    def __init__(self, node: Node, operators: Path, view: Path) -> None:
        self._paths = (operators, view)
        self._servers: list[tuple[_Server, socket.socket]] = []
        for path, writes, umask in ((operators, True, OPERATORS_MODE), (view, False, VIEW_MODE)):
            config = uvicorn.Config(
                application(node, writes=writes),
                http="h11",
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                timeout_graceful_shutdown=1,
            )
            self._servers.append((_Server(config), _bind(path, umask)))
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Serve as tasks of the running loop."""
        self._tasks = [asyncio.create_task(server.serve(sockets=[bound])) for server, bound in self._servers]

    async def close(self) -> None:
        """Stop serving and remove the sockets."""
        for server, _ in self._servers:
            server.should_exit = True
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for path in self._paths:
            path.unlink(missing_ok=True)
