"""Signatures and trees against the standards' own vectors."""

from __future__ import annotations

import pytest

from ledger.base import crypto

# RFC 8032 section 7.1, tests 1 to 3: seed, public key, message, signature.
RFC_8032 = [
    (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ),
    (
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
    ),
]


@pytest.mark.parametrize(("seed", "public", "message", "signature"), RFC_8032)
def test_ed25519_gives_the_rfcs_signatures(seed: str, public: str, message: str, signature: str) -> None:
    key, text = bytes.fromhex(seed), bytes.fromhex(message)
    assert crypto.ED25519.public(key).hex() == public
    assert crypto.ED25519.sign(key, text).hex() == signature
    assert crypto.ED25519.verify(bytes.fromhex(public), bytes.fromhex(signature), text)


@pytest.mark.parametrize(("seed", "public", "message", "signature"), RFC_8032)
def test_a_flipped_bit_anywhere_fails(seed: str, public: str, message: str, signature: str) -> None:
    key, raw, text = bytes.fromhex(public), bytes.fromhex(signature), bytes.fromhex(message)
    for at in range(0, 512, 37):
        bad = bytearray(raw)
        bad[at // 8] ^= 1 << at % 8
        assert not crypto.ED25519.verify(key, bytes(bad), text)
    assert not crypto.ED25519.verify(key, raw, text + b"\0")


def test_small_order_keys_and_lengths_are_refused() -> None:
    identity = b"\1" + bytes(31)
    assert not crypto.ED25519.verify(identity, identity + bytes(32), b"anything")
    assert not crypto.ED25519.verify(bytes(31), bytes(64), b"")
    assert not crypto.ED25519.verify(bytes(32), bytes(63), b"")


# RFC 6962's own tree (the leaves of the certificate-transparency reference tests).
CT_LEAVES = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
CT_ROOTS = {
    1: "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    2: "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    3: "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    5: "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    8: "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
}


@pytest.mark.parametrize(("count", "root"), CT_ROOTS.items())
def test_merkle_roots_are_those_of_certificate_transparency(count: int, root: str) -> None:
    assert crypto.merkle_root([bytes.fromhex(leaf) for leaf in CT_LEAVES[:count]]).hex() == root


def test_the_empty_tree_is_the_hash_of_nothing() -> None:
    assert crypto.merkle_root([]) == crypto.sha256()


def test_domain_tags_differ_and_have_one_length() -> None:
    tags = [value for name, value in vars(crypto).items() if name.startswith("DOMAIN_")]
    assert len(tags) == len(set(tags)) >= 8
    assert {len(tag) for tag in tags} == {16}
