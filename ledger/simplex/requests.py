"""What a node misses and asks for: bodies and certificates, of one other member at a time, each in turn, again after a while."""

from __future__ import annotations

from collections.abc import Sequence

from ledger.base.units import Millis

from .messages import BodyRequest, CertificateRequest


class Requests:
    """What is wanted, and when it was last asked for. `others` are the peers that can be asked."""

    def __init__(self) -> None:
        self.others: Sequence[int] = ()
        self._turn = 0
        self._bodies: dict[bytes, Millis] = {}
        self._views: dict[int, Millis] = {}

    def body(self, block_hash: bytes, now_ms: Millis, retry_ms: Millis) -> tuple[int, BodyRequest] | None:
        """Want a body: (whom to ask, what), or None while an answer may still come."""
        if now_ms - self._bodies.get(block_hash, now_ms - retry_ms) < retry_ms or not self.others:
            return None
        self._bodies[block_hash] = now_ms
        return self._next(), BodyRequest(block_hash)

    def certificates(self, view: int, now_ms: Millis, retry_ms: Millis) -> tuple[int, CertificateRequest] | None:
        """Want a view's certificates: (whom to ask, what), or None while an answer may still come."""
        if now_ms - self._views.get(view, now_ms - retry_ms) < retry_ms or not self.others:
            return None
        self._views[view] = now_ms
        return self._next(), CertificateRequest((view,))

    def _next(self) -> int:
        self._turn += 1
        return self.others[self._turn % len(self.others)]

    def arrived(self, block_hash: bytes) -> bool:
        """A body came; whether it was wanted."""
        return self._bodies.pop(block_hash, None) is not None

    def certified(self, view: int) -> None:
        """A view's certificate came."""
        self._views.pop(view, None)

    def forget(self) -> None:
        """A block became final: what is still missing will be wanted anew."""
        self._bodies.clear()
        self._views.clear()

    def retry_times(self, retry_ms: Millis) -> list[Millis]:
        """When to ask again."""
        return [asked_ms + retry_ms for asked_ms in (*self._bodies.values(), *self._views.values())]
