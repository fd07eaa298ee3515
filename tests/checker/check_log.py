#!/usr/bin/env python3
"""Checks a log over HTTP from the public formats alone: C2SP signed-note, tlog-checkpoint, tlog-tiles and tlog-proof, RFC
6962, RFC 8032, and form 1 of an entry. It shares no line with what it checks, needs nothing but Python, and must never
call a log sound that it has not recomputed whole.

It prints one line a finding, and ends with 0 if all are good, else with 1.
"""

import argparse
import base64
import gzip
import hashlib
import http.client
import json
import os
import ssl
import sys
import time
import urllib.parse

TILE = 256
HASH = 32
ED25519 = 1
LATER_S = 10
RECEIPT_S = 10


class Fault(Exception):
    """What is wrong, in words."""


# Ed25519 (RFC 8032, section 5.1.7), in plain integers.

P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
ROOT_OF_MINUS_1 = pow(2, (P - 1) // 4, P)


def add_points(a, b):
    """In extended coordinates."""
    ax, ay, az, at = a
    bx, by, bz, bt = b
    m, n = (ay - ax) * (by - bx) % P, (ay + ax) * (by + bx) % P
    o, q = 2 * at * bt * D % P, 2 * az * bz % P
    e, f, g, h = n - m, q - o, q + o, n + m
    return (e * f % P, g * h % P, f * g % P, e * h % P)


def times(number, point):
    result = (0, 1, 1, 0)
    while number:
        if number & 1:
            result = add_points(result, point)
        point = add_points(point, point)
        number >>= 1
    return result


def same_point(a, b):
    return (a[0] * b[2] - b[0] * a[2]) % P == 0 and (a[1] * b[2] - b[1] * a[2]) % P == 0


def point_of(encoded):
    """None for what is no canonical encoding of a point."""
    number = int.from_bytes(encoded, "little")
    sign, y = number >> 255, number & (2**255 - 1)
    if y >= P:
        return None
    square = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * ROOT_OF_MINUS_1 % P
    if (x * x - square) % P or (x == 0 and sign):
        return None
    if x & 1 != sign:
        x = P - x
    return (x, y, 1, x * y % P)


BASE = point_of((4 * pow(5, P - 2, P) % P).to_bytes(32, "little"))


def is_signed(key, message, signature):
    if len(key) != 32 or len(signature) != 64:
        return False
    a, r = point_of(key), point_of(signature[:32])
    s = int.from_bytes(signature[32:], "little")
    if a is None or r is None or s >= ORDER:
        return False
    challenge = hashlib.sha512(signature[:32] + key + message).digest()
    h = int.from_bytes(challenge, "little") % ORDER
    return same_point(times(s, BASE), add_points(r, times(h, a)))


# The tree (RFC 6962, section 2.1).


def leaf_hash(entry):
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left, right):
    return hashlib.sha256(b"\x01" + left + right).digest()


def root_of(hashes):
    """The root over these, each of which stands for a whole subtree of one size."""
    if not hashes:
        return hashlib.sha256(b"").digest()
    level = list(hashes)
    # Pairing from the left and carrying the odd one up gives the splits of RFC 6962.
    while len(level) > 1:
        paired = [node_hash(level[i], level[i + 1]) for i in range(0, len(level) - 1, 2)]
        level = paired + level[len(level) & ~1 :]
    return level[0]


def root_by_inclusion(index, size, leaf, proof):
    """The root that an inclusion proof leads to (RFC 9162, section 2.1.3.2)."""
    if index >= size:
        raise Fault(f"index {index} is not below the size {size}")
    place, last, root = index, size - 1, leaf
    for step in proof:
        if last == 0:
            raise Fault("the inclusion proof is too long")
        if place & 1 or place == last:
            root = node_hash(step, root)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            root = node_hash(root, step)
        place, last = place >> 1, last >> 1
    if last:
        raise Fault("the inclusion proof is too short")
    return root


def is_consistent(old_size, old_root, new_size, new_root, proof):
    """RFC 9162, section 2.1.4.2."""
    if not 0 < old_size <= new_size:
        return False
    if old_size == new_size:
        return not proof and old_root == new_root
    steps = list(proof)
    if old_size & (old_size - 1) == 0:
        steps.insert(0, old_root)
    if not steps:
        return False
    place, last = old_size - 1, new_size - 1
    while place & 1:
        place, last = place >> 1, last >> 1
    old = new = steps[0]
    for step in steps[1:]:
        if last == 0:
            return False
        if place & 1 or place == last:
            old, new = node_hash(step, old), node_hash(step, new)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            new = node_hash(new, step)
        place, last = place >> 1, last >> 1
    return old == old_root and new == new_root and last == 0


# Notes, checkpoints and proofs (C2SP).


def decoded(text, what):
    """Standard Base 64, in the one writing that its bytes have."""
    try:
        raw = base64.b64decode(text, validate=True)
    except ValueError as error:
        raise Fault(f"{what} is no Base 64") from error
    if base64.b64encode(raw).decode() != text:
        raise Fault(f"{what} is not written in the usual Base 64")
    return raw


def number_of(text, what):
    if not (text.isascii() and text.isdigit()) or (text[0] == "0" and text != "0"):
        raise Fault(f"{what} is no decimal number")
    return int(text)


class Key:
    """A verifier key: `<name>+<8 hex digits of its id>+<Base 64 of its type and its bytes>`."""

    def __init__(self, text):
        parts = text.split("+", 2)
        if len(parts) != 3 or not parts[0] or any(letter.isspace() for letter in text):
            raise Fault("a verifier key has not its form")
        self.text = text
        self.name, hex_id, encoded = parts
        raw = decoded(encoded, "a verifier key")
        if len(raw) != 33 or raw[0] != ED25519:
            raise Fault("a verifier key is none of Ed25519")
        self.key = raw[1:]
        self.id = hashlib.sha256(self.name.encode() + b"\n" + raw).digest()[:4]
        if self.id.hex() != hex_id:
            raise Fault("a verifier key has the id of another")


class Checkpoint:
    """A checkpoint whose form is right; `signed_by` tells whose it is."""

    def __init__(self, note):
        try:
            text = note.decode("utf-8")
        except UnicodeDecodeError as error:
            raise Fault("a checkpoint is no UTF-8") from error
        if any(ord(letter) < 0x20 and letter != "\n" for letter in text):
            raise Fault("a checkpoint has a control character")
        split = text.rfind("\n\n")
        if split < 0 or not text.endswith("\n"):
            raise Fault("a checkpoint has not the form of a signed note")
        self.note = note
        self.text = text[: split + 1]
        signatures = text[split + 2 : -1].split("\n")
        self.signatures = [signature_of(line) for line in signatures]
        lines = self.text[:-1].split("\n")
        if len(lines) < 3 or not all(lines):
            raise Fault("a checkpoint has fewer lines than three, or an empty one")
        self.origin = lines[0]
        self.size = number_of(lines[1], "the size in a checkpoint")
        self.root = decoded(lines[2], "the root in a checkpoint")
        if len(self.root) != HASH:
            raise Fault("the root in a checkpoint is no SHA-256")
        if len(lines) > 3:
            raise Fault("a checkpoint has lines that nobody can audit")

    def signed_by(self, keys):
        """Those of the keys that have signed it. One signature of a known key that is wrong makes the whole note wrong."""
        good = []
        for name, key_id, signature in self.signatures:
            for key in keys:
                if (key.name, key.id) != (name, key_id):
                    continue
                if not is_signed(key.key, self.text.encode(), signature):
                    raise Fault("a signature of a known key is wrong")
                good.append(key)
        return good


def signature_of(line):
    parts = line.split(" ")
    if len(parts) != 3 or parts[0] != "\u2014" or not parts[1] or "+" in parts[1]:
        raise Fault("a signature has not its form")
    raw = decoded(parts[2], "a signature")
    if len(raw) < 5:
        raise Fault("a signature is too short")
    return parts[1], raw[:4], raw[4:]


class Receipt:
    """A tlog-proof with extra data."""

    def __init__(self, raw):
        head, blank, note = raw.partition(b"\n\n")
        if not blank:
            raise Fault("a receipt without a checkpoint")
        try:
            lines = head.decode("ascii").split("\n")
        except UnicodeDecodeError as error:
            raise Fault("a receipt is no ASCII before its checkpoint") from error
        if len(lines) < 3 or lines[0] != "c2sp.org/tlog-proof@v1":
            raise Fault("a receipt does not begin as one")
        if not lines[1].startswith("extra ") or not lines[2].startswith("index "):
            raise Fault("a receipt has no entry or no index")
        self.entry = decoded(lines[1][len("extra ") :], "the entry in a receipt")
        self.index = number_of(lines[2][len("index ") :], "the index in a receipt")
        self.proof = [hash_of(line, "a step of a receipt's proof") for line in lines[3:]]
        self.checkpoint = Checkpoint(note)


def hash_of(text, what):
    raw = decoded(text, what)
    if len(raw) != HASH:
        raise Fault(f"{what} is no SHA-256")
    return raw


# An entry, form 1.

VERDICTS = [None, "clear", "warn", "hold", "block"]
CHECK_ACT = 1
LOG_KEY_ACT = 21
CHECK_RESOURCE = 1


class Reader:
    def __init__(self, raw):
        self.raw, self.at = raw, 0

    def take(self, length):
        taken = self.raw[self.at : self.at + length]
        if len(taken) != length:
            raise Fault("an entry is cut off")
        self.at += length
        return taken

    def number(self, length):
        return int.from_bytes(self.take(length), "big")

    def text(self):
        try:
            return self.take(self.number(2)).decode("utf-8")
        except UnicodeDecodeError as error:
            raise Fault("a text in an entry is no UTF-8") from error

    def optional(self, read):
        present = self.number(1)
        if present > 1:
            raise Fault("an optional field in an entry is neither there nor not")
        return read() if present else None


class Entry:
    def __init__(self, raw):
        reader = Reader(raw)
        if reader.number(1) != 1:
            raise Fault("an entry of an unknown form")
        self.act = reader.number(1)
        self.at = reader.number(8)
        self.request_id = reader.take(16)
        self.party, self.client = reader.text(), reader.text()
        self.operator = reader.optional(reader.text)
        self.resource_kind = reader.number(1)
        if self.resource_kind > 7:
            raise Fault("an entry about an unknown kind of thing")
        self.resource = None
        if self.resource_kind:
            self.resource = reader.text() if self.resource_kind in (4, 5) else reader.take(16)
        self.verdict = self.verdict_of(reader.number(1))
        self.list_version = reader.number(8)
        self.subjects = [self.subject_of(reader) for _ in range(reader.number(1))]
        self.digest = reader.optional(lambda: reader.take(32))
        self.reference = reader.optional(reader.text)
        self.problem = reader.optional(reader.text)
        self.count = reader.number(4)
        if reader.at != len(raw) or not self.act:
            raise Fault("an entry has more than its fields")

    @staticmethod
    def verdict_of(code):
        if code >= len(VERDICTS):
            raise Fault("an entry with an unknown verdict")
        return VERDICTS[code]

    @classmethod
    def subject_of(cls, reader):
        subject, verdict = reader.take(32), cls.verdict_of(reader.number(1))
        return subject, verdict, [(reader.take(16), reader.number(4)) for _ in range(reader.number(1))]


def bytes_of_id(text, prefix):
    """The 16 bytes of a TypeID."""
    alphabet = "0123456789abcdefghjkmnpqrstvwxyz"
    suffix = text[len(prefix) + 1 :]
    if not text.startswith(prefix + "_") or len(suffix) != 26 or any(c not in alphabet for c in suffix):
        raise Fault(f"{text} is no {prefix} id")
    number = 0
    for letter in suffix:
        number = number * 32 + alphabet.index(letter)
    if number >> 128:
        raise Fault(f"{text} is no {prefix} id")
    return number.to_bytes(16, "big")


# Where answers come from.


class Web:
    """A server, over one connection. What it answers is kept in a folder if one is named."""

    def __init__(self, url, ca_file, keep=None):
        parts = urllib.parse.urlsplit(url)
        context = ssl.create_default_context(cafile=ca_file)
        self.connection = http.client.HTTPSConnection(parts.hostname, parts.port, timeout=30, context=context)
        self.keep, self.seen = keep, {}

    def ask(self, path, token):
        headers = {"Accept-Encoding": "gzip, identity"}
        if token:
            headers["Authorization"] = "Bearer " + token
        self.connection.request("GET", path, headers=headers)
        response = self.connection.getresponse()
        body = response.read()
        if response.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        return response.status, response.headers.get("Content-Type", ""), body

    def get(self, path, token=None, media=None, within_s=0):
        deadline = time.monotonic() + within_s
        status, kind, body = self.ask(path, token)
        while status in (429, 503) and time.monotonic() < deadline:
            time.sleep(0.5)
            status, kind, body = self.ask(path, token)
        if status != 200:
            raise Fault(f"{path} answers {status}")
        if media and kind.lower().replace(" ", "") != media:
            raise Fault(f"{path} is of the type {kind}, not {media}")
        if self.keep:
            place = kept_place(self.keep, self.seen, path)
            os.makedirs(os.path.dirname(place), exist_ok=True)
            with open(place, "wb") as file:
                file.write(body)
        return body

    def wait(self):
        time.sleep(0.2)


class Folder:
    """What `Web` kept."""

    def __init__(self, folder):
        self.folder, self.seen = folder, {}

    def get(self, path, token=None, media=None, within_s=0):
        try:
            with open(kept_place(self.folder, self.seen, path), "rb") as file:
                return file.read()
        except FileNotFoundError as error:
            raise Fault(f"{path} is not there") from error

    def wait(self):
        pass


def kept_place(folder, seen, path):
    """A path that is asked again has another place each time, since the answer may be another."""
    seen[path] = seen.get(path, 0) + 1
    return os.path.join(folder, *path.strip("/").split("/")) + f".{seen[path]}"


# The check itself.


def tile_path(number):
    text = f"{number % 1000:03}"
    while number >= 1000:
        number //= 1000
        text = f"x{number % 1000:03}/{text}"
    return text


def tiles_of(count):
    """Each tile of a level of so many hashes: number, width, and what its path ends with."""
    for number in range((count + TILE - 1) // TILE):
        width = min(TILE, count - number * TILE)
        yield number, width, tile_path(number) + ("" if width == TILE else f".p/{width}")


class Check:
    def __init__(self, source, node, auditor, bank, say=print, key=None):
        self.source, self.node, self.auditor, self.bank, self.say = source, node, auditor, bank, say
        self.given_key = key
        self.faults = 0
        self.keys, self.leaves, self.entries = [], [], []
        self.receipt = None

    def finding(self, what, check):
        """Runs one check. Its fault is told and counted, and whatever goes wrong in it is one."""
        try:
            told = check()
        except Exception as error:  # pylint: disable=broad-except
            self.faults += 1
            reason = str(error) if isinstance(error, Fault) else f"{type(error).__name__}: {error}"
            self.say(f"FAULT {what}: {reason}")
            return False
        self.say(f"good  {what}: {told}")
        return True

    def run(self, answer, check_id):
        steps = [
            ("key", self.check_key),
            ("checkpoint", self.check_checkpoint),
            ("bundles", self.check_bundles),
            ("entries", self.check_entries),
            ("keys in the log", self.check_keys_in_log),
            ("tiles", self.check_tiles),
            ("root", self.check_root),
            ("receipt", lambda: self.check_receipt(answer, check_id)),
            ("later checkpoint", lambda: self.check_later(check_id)),
            ("consistency", self.check_consistency),
        ]
        for what, check in steps:
            # What follows one of these that cannot be read would compare nothing with nothing.
            if not self.finding(what, check) and what in ("key", "checkpoint", "bundles", "later checkpoint"):
                break
        self.say("sound" if self.faults == 0 else f"{self.faults} faults")
        return self.faults == 0

    def read_checkpoint(self):
        note = self.source.get(f"/log/{self.node}/checkpoint", self.auditor, "text/plain;charset=utf-8")
        return Checkpoint(note)

    def check_key(self):
        text = self.given_key or self.source.get("/.well-known/log-key", None).decode("utf-8").removesuffix("\n")
        self.key = Key(text)
        if not self.key.name.endswith("/" + self.node):
            raise Fault("the key is of another log")
        return self.key.name

    def check_signature(self, checkpoint):
        if checkpoint.origin != self.key.name:
            raise Fault("its origin is another log's")
        if self.key not in checkpoint.signed_by([self.key]):
            raise Fault("the log's key has not signed it")

    def check_checkpoint(self):
        self.first = self.read_checkpoint()
        self.check_signature(self.first)
        if self.first.size == 0:
            raise Fault("its tree is empty")
        return f"size {self.first.size}"

    def check_bundles(self):
        for number, width, path in tiles_of(self.first.size):
            path = f"/log/{self.node}/tile/entries/{path}"
            bundle = Reader(self.source.get(path, self.auditor, "application/octet-stream"))
            for _ in range(width):
                self.entries.append(bundle.take(bundle.number(2)))
            if bundle.at != len(bundle.raw):
                raise Fault(f"bundle {number} has more than {width} entries")
        self.leaves = [leaf_hash(entry) for entry in self.entries]
        return f"{len(self.leaves)} entries"

    def check_entries(self):
        latest = 0
        for index, raw in enumerate(self.entries):
            try:
                entry = Entry(raw)
            except Fault as fault:
                raise Fault(f"entry {index}: {fault}") from fault
            if entry.at + 10_000 < latest:
                raise Fault(f"entry {index} lies further back than the declared skew")
            latest = max(latest, entry.at)
            if entry.act == LOG_KEY_ACT:
                self.keys.append((index, Key(entry.reference)))
        return "each has form 1, times are in order"

    def check_keys_in_log(self):
        if not self.keys or self.keys[0][0] != 0:
            raise Fault("the first entry does not tell the key")
        if self.keys[-1][1].text != self.key.text:
            raise Fault("the last key that the log tells is not the one that is served")
        return f"{len(self.keys)}"

    def check_tiles(self):
        """Every hash of every level is recomputed from the one below, and that from the entries."""
        level, hashes, compared = 0, self.leaves, 0
        while hashes:
            for number, width, path in tiles_of(len(hashes)):
                served = self.source.get(
                    f"/log/{self.node}/tile/{level}/{path}", self.auditor, "application/octet-stream"
                )
                if served != b"".join(hashes[number * TILE : number * TILE + width]):
                    raise Fault(f"tile {level}/{path} is not that of the entries")
                compared += 1
            full = len(hashes) // TILE
            hashes = [root_of(hashes[n * TILE : (n + 1) * TILE]) for n in range(full)]
            level += 1
        return f"{compared} on {level} levels"

    def check_root(self):
        if root_of(self.leaves) != self.first.root:
            raise Fault("the signed root is not that of the entries")
        return self.first.root.hex()

    def check_receipt(self, answer, check_id):
        path = f"/v1/checks/{check_id}/receipt"
        raw = self.source.get(path, self.bank, within_s=RECEIPT_S)
        receipt = self.receipt = Receipt(raw)
        size = receipt.checkpoint.size
        keys = [key for index, key in self.keys if index < size]
        if receipt.checkpoint.origin != self.key.name or not receipt.checkpoint.signed_by(keys):
            raise Fault("no key of this log has signed its checkpoint")
        root = root_by_inclusion(receipt.index, size, leaf_hash(receipt.entry), receipt.proof)
        if root != receipt.checkpoint.root:
            raise Fault("its proof does not lead to the signed root")
        if size <= len(self.leaves) and root != root_of(self.leaves[:size]):
            raise Fault("the root that it has is another one than the entries have")
        if receipt.index < len(self.entries) and self.entries[receipt.index] != receipt.entry:
            raise Fault("the log has another entry at its index")
        entry, told = Entry(receipt.entry), json.loads(answer)
        if entry.act != CHECK_ACT or entry.resource_kind != CHECK_RESOURCE:
            raise Fault("its entry is none of a check")
        if entry.resource != bytes_of_id(check_id, "check") or told["id"] != check_id:
            raise Fault("its entry is another check's")
        if entry.digest != hashlib.sha256(answer).digest():
            raise Fault("its entry does not hold the digest of the answer")
        if entry.verdict != told["verdict"] or entry.list_version != told["list_version"]:
            raise Fault("its entry tells another verdict than the answer")
        if [verdict for _, verdict, _ in entry.subjects] != [result["verdict"] for result in told["results"]]:
            raise Fault("its entry tells other verdicts than the answer")
        return f"entry {receipt.index} of {size} holds the digest of the answer"

    def check_later(self, check_id):
        """Reading a check leaves an entry in the log of the node that answers, so that this one has grown. Of another node's log,
        whose key that one does not serve, it is only known that it has not shrunk."""
        read = json.loads(self.source.get(f"/v1/checks/{check_id}", self.bank))
        if self.receipt and read["log_entry"] != f"{self.node}/{self.receipt.index}":
            raise Fault("the check is said to stand elsewhere in the log")
        deadline = time.monotonic() + LATER_S
        self.later = self.read_checkpoint()
        grows = not self.given_key
        while grows and self.later.size <= self.first.size and time.monotonic() < deadline:
            self.source.wait()
            self.later = self.read_checkpoint()
        self.check_signature(self.later)
        if grows and self.later.size <= self.first.size:
            raise Fault("there is none, though the log has grown")
        if self.later.size < self.first.size:
            raise Fault("it is of fewer entries than the one before")
        return f"size {self.later.size}"

    def check_consistency(self):
        points = [self.first, self.later] + ([self.receipt.checkpoint] if self.receipt else [])
        points.sort(key=lambda point: point.size)
        for old, new in zip(points, points[1:]):
            if old.size == new.size:
                if old.root != new.root:
                    raise Fault(f"two roots are signed for the size {old.size}")
                continue
            path = f"/v1/log/{self.node}/consistency?from={old.size}&to={new.size}"
            told = json.loads(self.source.get(path, self.auditor))
            proof = [hash_of(step, "a step of a consistency proof") for step in told["proof"]]
            if (told["from"], told["to"]) != (old.size, new.size):
                raise Fault("a consistency proof for other sizes than were asked for")
            if not is_consistent(old.size, old.root, new.size, new.root, proof):
                raise Fault(f"{old.size} is not proven to be the beginning of {new.size}")
        return " <= ".join(str(point.size) for point in points)


def main(arguments):
    parser = argparse.ArgumentParser(description="Checks a log over HTTP, or as it was kept.")
    parser.add_argument("url", help="https://..., or file: and a folder that --keep has filled")
    parser.add_argument("--ca", help="file of the certificates to trust")
    parser.add_argument("--auditor", help="file with an auditor's token")
    parser.add_argument("--bank", help="file with the token of the bank that made the check")
    parser.add_argument("--node", default="main")
    parser.add_argument("--key", help="file with the key of the node's log, if the log is another's than that of the server")
    parser.add_argument("--answer", required=True, help="file with the exact body of a check's answer")
    parser.add_argument("--check", required=True, help="the id of that check")
    parser.add_argument("--keep", help="folder to keep what is read in")
    given = parser.parse_args(arguments)
    if given.url.startswith("file:"):
        source, tokens = Folder(given.url.removeprefix("file:")), (None, None)
    else:
        source = Web(given.url, given.ca, given.keep)
        tokens = tuple(read_text(path) for path in (given.auditor, given.bank))
    with open(given.answer, "rb") as file:
        answer = file.read()
    key = read_text(given.key) if given.key else None
    return 0 if Check(source, given.node, *tokens, key=key).run(answer, given.check) else 1


def read_text(path):
    with open(path, encoding="utf-8") as file:
        return file.read().strip()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
