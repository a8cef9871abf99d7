"""The certificate that TLS wants of a server: self-signed, new at each start, made by `cryptography` in a process of its own.

It means nothing by itself: nobody checks its name, dates or signature, for the proofs inside the tunnel bind its hash
(`transport`). The library would be nine MiB in every node's memory for these 300 bytes; the process that makes them ends.
"""

from __future__ import annotations

import ssl
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from ledger.base.errors import ConfigError

MAKE_S: Final = 60.0  # a Pi Zero under load loads the library in some seconds
_BETWEEN: Final = "-----BEGIN PRIVATE KEY-----"


class Certificate(NamedTuple):
    """What `ssl` loads, and the bytes that the other end sees."""

    pem: bytes
    key_pem: bytes
    der: bytes


def make_certificate() -> Certificate:
    """A new one. Raises `ConfigError` where it cannot be made."""
    command = [sys.executable, "-m", "ledger.node.certificate"]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=MAKE_S, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        said = getattr(error, "stderr", None) or b""
        why = said.decode(errors="replace").strip().splitlines()[-1:] or [str(error)]
        raise ConfigError(
            f"no certificate for links could be made ({why[0]}); install energo with its packages"
        ) from None
    pem, between, key = done.stdout.decode().partition(_BETWEEN)
    return Certificate(pem.encode(), (between + key).encode(), ssl.PEM_cert_to_DER_cert(pem))


def _make() -> bytes:
    """The certificate and its key in PEM, one behind the other."""
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
    from cryptography.x509.oid import NameOID

    key = Ed25519PrivateKey.generate()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "energo")])
    begin = datetime(2020, 1, 1, tzinfo=UTC)  # whatever a Pi without a clock takes for today
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(begin).not_valid_after(begin + timedelta(days=36_500))
    made = builder.sign(key, None)
    return made.public_bytes(Encoding.PEM) + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


if __name__ == "__main__":
    sys.stdout.buffer.write(_make())
