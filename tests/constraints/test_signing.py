"""Signatures: the recorded vectors, and keys that are rotated."""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import math
from pathlib import Path
from typing import Any

import pytest

from cascade.connectors.mqtt import KeyFile, SigningKey
from cascade.connectors.mqtt.constraints.canonical import canonical
from cascade.connectors.mqtt.constraints.signing import Refusal, Stamp, sign, verify

VECTORS: dict[str, Any] = json.loads((Path(__file__).parents[1] / "vectors" / "signed.json").read_text("utf-8"))
KEYS = {name: bytes.fromhex(secret) for name, secret in VECTORS["keys"].items()}


def by_name(case: dict[str, Any]) -> str:
    return str(case["name"])


@pytest.mark.parametrize("case", VECTORS["canonical"], ids=lambda case: ascii(case["canonical"])[:30])
def test_each_value_has_one_form(case):
    assert canonical(case["value"]).decode() == case["canonical"]
    assert canonical(json.loads(case["canonical"])).decode() == case["canonical"]


@pytest.mark.parametrize(
    "value", [2**53 + 1, -(2**53) - 1, 10**400, math.nan, math.inf, "\ud800", {1: 2}, {"a": b""}, object()]
)
def test_what_has_no_form_is_refused(value):
    with pytest.raises(ValueError, match=r"."):
        canonical(value)


@pytest.mark.parametrize("case", VECTORS["signed"], ids=by_name)
def test_a_recorded_signature_is_valid_and_made_again(case):
    message, signature = case["message"], case["message"]["signature"]
    secret = KEYS[signature["key"]]
    assert (
        hmac.new(secret, b"cascade-control-1\n" + case["canonical"].encode(), hashlib.sha256).hexdigest()
        == signature["mac"]
    )
    stamp = verify(message, case["topic"], KEYS.get, now=case["now"])
    assert stamp == Stamp(case["seq"], case["lapses_at"], signature["mac"])
    unsigned = {name: value for name, value in message.items() if name != "signature"}
    key = SigningKey(id=signature["key"], secret=secret)
    again = sign(unsigned, case["topic"], key, issued_at=signature["iat"], ttl=signature["ttl"], seq=signature["seq"])
    assert again == message


@pytest.mark.parametrize("case", VECTORS["refused"], ids=by_name)
def test_a_recorded_refusal(case):
    with pytest.raises(Refusal) as refusal:
        verify(case["message"], case["topic"], KEYS.get, now=case["now"])
    assert refusal.value.reason == case["reason"]


def test_the_order_of_fields_does_not_matter():
    case = VECTORS["signed"][2]
    turned = dict(reversed(case["message"].items()))
    turned["signature"] = dict(reversed(turned["signature"].items()))
    assert verify(turned, case["topic"], KEYS.get, now=case["now"]).seq == case["seq"]


def test_keys_that_cannot_be_had_are_a_refusal():
    case = VECTORS["signed"][0]

    def unreachable(key_id: str) -> bytes:
        raise OSError("the vault is closed")

    with pytest.raises(Refusal, match="OSError") as refusal:
        verify(case["message"], case["topic"], unreachable, now=case["now"])
    assert refusal.value.reason == "unknown_key"


def key_file(path: Path, *keys: SigningKey) -> Path:
    path.write_text("# for the fleet\n\n" + "".join(f"{key.line}\n" for key in keys))
    path.chmod(0o600)
    return path


def test_the_first_key_of_a_file_signs_and_all_verify(tmp_path):
    new, old = SigningKey.generate("new"), SigningKey.generate("old")
    keys = KeyFile(key_file(tmp_path / "keys", new, old))
    assert keys.signing() == new
    assert (keys("new"), keys("old"), keys("other")) == (new.secret, old.secret, None)


def test_keys_are_rotated_while_programs_run(tmp_path, caplog):
    old, new = SigningKey.generate("old"), SigningKey.generate("new")
    path = key_file(tmp_path / "keys", old)
    keys = KeyFile(path)
    key_file(path, old, new)
    assert (keys.signing(), keys("new")) == (old, new.secret)
    key_file(path, new)
    assert (keys.signing(), keys("old")) == (new, None)
    with caplog.at_level(logging.WARNING):
        path.write_text("broken")
        assert [keys.signing() for _ in range(3)] == [new] * 3
        path.unlink()
        assert keys("new") == new.secret
    assert [record.message.count("stay in use") for record in caplog.records] == [1, 1]
    key_file(path, old)
    assert keys.signing() == old


def test_a_key_file_that_others_can_read_is_told(tmp_path, caplog):
    path = key_file(tmp_path / "keys", SigningKey.generate("k"))
    path.chmod(0o644)
    with caplog.at_level(logging.WARNING):
        KeyFile(path)
    assert "chmod 600" in caplog.text


@pytest.mark.parametrize("line", ["k", "k 00ff", "k xyz", f"k {'00' * 32} more", ""])
def test_a_file_that_holds_no_key_names_the_line_and_no_secret(tmp_path, line):
    path = tmp_path / "keys"
    path.write_text(f"# keys\n{line}\n")
    with pytest.raises(ValueError, match=r"line 2|holds no key") as raised:
        KeyFile(path)
    assert not line or line.split()[-1] not in str(raised.value).replace(str(path), "").replace("key", "")


def test_a_key_does_not_show_its_secret():
    key = SigningKey(id="k", secret=b"0123456789abcdef")
    assert "0123456789abcdef" not in repr(key)
    with pytest.raises(ValueError, match="16 bytes"):
        SigningKey(id="k", secret=b"short")
    for name in ("", "two words", "#k"):
        with pytest.raises(ValueError, match="one word"):
            SigningKey(id=name, secret=bytes(32))
