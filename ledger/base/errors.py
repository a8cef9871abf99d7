"""The tree of expected errors. Each carries the facts that disagreed; its text tells a person what to do.

Two kinds of error exist: these, and bugs (`assert` with a sentence). Untrusted bytes raise `DecodeError` and
nothing else. Evidence of misbehavior is data, not an exception.
"""

from __future__ import annotations


class EnergoError(Exception):
    """The root of everything that can be expected to go wrong. `code` is stable, for programs."""

    code = "error"


class UnitError(EnergoError, ValueError):
    """Text that is not the amount, price or fraction it should be."""

    code = "bad_number"


class DecodeError(EnergoError, ValueError):
    """Bytes from outside that are not the canonical form of what they should be."""

    code = "malformed"


class ConfigError(EnergoError, ValueError):
    """A configuration or genesis file that cannot be used; names the file, the key and the fix."""

    code = "bad_config"


class FolderInUse(EnergoError):
    """Another process owns this data folder."""

    code = "folder_in_use"


class DiskFailed(EnergoError):
    """The disk did not take what had to be durable (full, read-only, input/output error)."""

    code = "disk_failed"


class InvalidTransaction(EnergoError, ValueError):
    """A transaction that no block may carry: wrong chain, signature, nonce, expiry or sender."""

    code = "invalid_transaction"

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Refused(EnergoError, ValueError):
    """A transaction that a block carries and whose request is not granted; it changes its sender's nonce only."""

    code = "refused"

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class InvalidBlock(EnergoError, ValueError):
    """A block that breaks a rule; carries what was found and what the rule says."""

    code = "invalid_block"

    def __init__(self, what: str, found: object, expected: object) -> None:
        super().__init__(f"{what}: found {_short(found)}, expected {_short(expected)}")
        self.what = what


class SignerRefused(EnergoError):
    """The wallet will not sign this."""

    code = "signer_refused"

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class SignerUnavailable(EnergoError):
    """No wallet answers on its socket."""

    code = "no_wallet"


class NodeUnavailable(EnergoError):
    """No node answers on its socket."""

    code = "no_node"


class NodeRefused(EnergoError):
    """The node answered, and said no. `code` and the message are the node's."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def _short(value: object) -> str:
    return value.hex()[:16] if isinstance(value, bytes) else str(value)
