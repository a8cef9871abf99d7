"""The certificate is one that TLS takes, and another at each start."""

from __future__ import annotations

import ssl
import subprocess
import sys
from pathlib import Path

import pytest

from ledger.base.errors import ConfigError
from ledger.node.certificate import make_certificate


def test_tls_takes_it_with_its_key_and_shows_it_unchanged(tmp_path: Path) -> None:
    made = make_certificate()
    (tmp_path / "cert").write_bytes(made.pem)
    (tmp_path / "key").write_bytes(made.key_pem)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.minimum_version = ssl.TLSVersion.TLSv1_3
    server.load_cert_chain(tmp_path / "cert", tmp_path / "key")  # refused where the key is another's
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_mode = ssl.CERT_NONE
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = client.wrap_bio(back, there), server.wrap_bio(there, back, server_side=True)
    waits = set(ends)
    for _ in range(4):
        for end in list(waits):
            try:
                end.do_handshake()
                waits.remove(end)
            except ssl.SSLWantReadError:
                pass
    assert not waits
    assert ends[0].getpeercert(binary_form=True) == made.der
    assert make_certificate().der != made.der


def test_a_library_that_is_missing_is_one_line_that_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    run = subprocess.run

    def without(command: list[str], **options: object) -> object:
        return run([sys.executable, "-c", "raise ModuleNotFoundError('no cryptography')"], **options)  # type: ignore[call-overload]

    monkeypatch.setattr(subprocess, "run", without)
    with pytest.raises(ConfigError, match=r"no cryptography\); install energo with its packages"):
        make_certificate()


def test_the_library_stays_out_of_the_node() -> None:
    script = "import sys, ledger.node.loop; sys.exit('cryptography' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
