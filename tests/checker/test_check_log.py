"""The checker checked: against the vectors of the RFCs, and against small logs made in memory, sound ones and ones with one
fault each. What it needs to make a log (signing, proofs by the definition) stands here, so that the checker has none of it."""

import base64
import copy
import hashlib
import json
import os
import random
import subprocess
import sys
import tempfile
import unittest

import check_log as checker

ORIGIN = "registry.example.vn/main"
SIZES = [1, 2, 3, 7, 255, 256, 257, 512, 700]
FLIPS = 40


# Making a log.


def secret_parts(secret):
    raw = hashlib.sha512(secret).digest()
    scalar = int.from_bytes(raw[:32], "little") & ((1 << 254) - 8) | (1 << 254)
    return scalar, raw[32:]


def encoded(point):
    x, y, z, _ = point
    inverse = pow(z, checker.P - 2, checker.P)
    x, y = x * inverse % checker.P, y * inverse % checker.P
    return (y | (x & 1) << 255).to_bytes(32, "little")


def public(secret):
    return encoded(checker.times(secret_parts(secret)[0], checker.BASE))


def sign(secret, message):
    scalar, prefix = secret_parts(secret)
    r = int.from_bytes(hashlib.sha512(prefix + message).digest(), "little") % checker.ORDER
    point = encoded(checker.times(r, checker.BASE))
    challenge = hashlib.sha512(point + public(secret) + message).digest()
    s = (r + int.from_bytes(challenge, "little") * scalar) % checker.ORDER
    return point + s.to_bytes(32, "little")


def key_text(secret, name=ORIGIN):
    raw = b"\x01" + public(secret)
    key_id = hashlib.sha256(name.encode() + b"\n" + raw).digest()[:4]
    return f"{name}+{key_id.hex()}+{base64.b64encode(raw).decode()}"


def in_base64(raw):
    return base64.b64encode(raw).decode()


def root_by_definition(leaves):
    if len(leaves) == 1:
        return leaves[0]
    split = 1 << (len(leaves) - 1).bit_length() - 1
    return checker.node_hash(root_by_definition(leaves[:split]), root_by_definition(leaves[split:]))


def inclusion_by_definition(index, leaves):
    if len(leaves) == 1:
        return []
    split = 1 << (len(leaves) - 1).bit_length() - 1
    left, right = leaves[:split], leaves[split:]
    if index < split:
        return inclusion_by_definition(index, left) + [root_by_definition(right)]
    return inclusion_by_definition(index - split, right) + [root_by_definition(left)]


def consistency_by_definition(size, leaves, whole=True):
    if size == len(leaves):
        return [] if whole else [root_by_definition(leaves)]
    split = 1 << (len(leaves) - 1).bit_length() - 1
    left, right = leaves[:split], leaves[split:]
    if size <= split:
        return consistency_by_definition(size, left, whole) + [root_by_definition(right)]
    return consistency_by_definition(size - split, right, False) + [root_by_definition(left)]


def text(value):
    return len(value.encode()).to_bytes(2, "big") + value.encode()


def optional(value, write):
    return b"\x00" if value is None else b"\x01" + write(value)


def entry_bytes(act, at, resource=None, subjects=(), digest=None, reference=None, verdict=0, list_version=0):
    written = bytes([1, act]) + at.to_bytes(8, "big") + bytes(16) + text("970436") + text("core") + b"\x00"
    written += b"\x00" if resource is None else b"\x01" + resource
    written += bytes([verdict]) + list_version.to_bytes(8, "big") + bytes([len(subjects)])
    for subject, code in subjects:
        written += subject + bytes([code]) + b"\x01" + bytes(16) + (7).to_bytes(4, "big")
    written += optional(digest, bytes) + optional(reference, text) + b"\x00"
    return written + (1).to_bytes(4, "big")


CHECK_BYTES = bytes.fromhex("0191f1b3c8a07def8123456789abcdef")


def check_id():
    alphabet, number, letters = "0123456789abcdefghjkmnpqrstvwxyz", int.from_bytes(CHECK_BYTES, "big"), ""
    for _ in range(26):
        letters, number = alphabet[number & 31] + letters, number >> 5
    return "check_" + letters


class Memory:
    """A log of so many entries, one more in the later checkpoint, and the answer to one check in it."""

    def __init__(self, size, change_entries=lambda entries: None):
        self.secret, self.size = bytes(range(32)), size
        self.answer = json.dumps(
            {"id": check_id(), "verdict": "warn", "list_version": 9, "results": [{"verdict": "warn"}], "salt": "s"}
        ).encode()
        entries = [entry_bytes(checker.LOG_KEY_ACT, 1_000, reference=key_text(self.secret))]
        digest = hashlib.sha256(self.answer).digest()
        subjects = [(bytes(range(32)), 2)]
        check = entry_bytes(1, 1_001, CHECK_BYTES, subjects, digest, "FT1", 2, 9)
        self.check_index = 1 + (size - 1) // 2
        for index in range(1, size + 2):
            entries.append(check if index == self.check_index else entry_bytes(19, 1_001 + index))
        change_entries(entries)
        self.entries, self.leaves = entries, [checker.leaf_hash(entry) for entry in entries]
        self.files = self.make()

    def checkpoint(self, size, root=None, secret=None, origin=ORIGIN):
        root = root or root_by_definition(self.leaves[:size])
        note = f"{origin}\n{size}\n{in_base64(root)}\n"
        secret = secret or self.secret
        key_id = bytes.fromhex(key_text(secret, origin).split("+")[1])
        signature = in_base64(key_id + sign(secret, note.encode()))
        return f"{note}\n\u2014 {origin} {signature}\n".encode()

    def receipt(self, index, size, root=None):
        lines = ["c2sp.org/tlog-proof@v1", "extra " + in_base64(self.entries[index]), f"index {index}"]
        lines += [in_base64(step) for step in inclusion_by_definition(index, self.leaves[:size])]
        return ("\n".join(lines) + "\n\n").encode() + self.checkpoint(size, root)

    def make(self):
        size, files = self.size, {"/.well-known/log-key": [key_text(self.secret).encode() + b"\n"]}
        files["/log/main/checkpoint"] = [self.checkpoint(size), self.checkpoint(size + 1)]
        level, hashes = 0, self.leaves[:size]
        while hashes:
            for number, width, path in checker.tiles_of(len(hashes)):
                part = hashes[number * 256 : number * 256 + width]
                files[f"/log/main/tile/{level}/{path}"] = [b"".join(part)]
                if level == 0:
                    bundle = self.entries[number * 256 : number * 256 + width]
                    bundle = b"".join(len(entry).to_bytes(2, "big") + entry for entry in bundle)
                    files[f"/log/main/tile/entries/{path}"] = [bundle]
            full = len(hashes) // 256
            hashes = [root_by_definition(hashes[n * 256 : (n + 1) * 256]) for n in range(full)]
            level += 1
        receipt_size = max(size, self.check_index + 1)
        files[f"/v1/checks/{check_id()}/receipt"] = [self.receipt(self.check_index, receipt_size)]
        files[f"/v1/checks/{check_id()}"] = [json.dumps({"log_entry": f"main/{self.check_index}"}).encode()]
        proof = [in_base64(step) for step in consistency_by_definition(size, self.leaves[: size + 1])]
        told = {"from": size, "to": size + 1, "proof": proof}
        files[f"/v1/log/main/consistency?from={size}&to={size + 1}"] = [json.dumps(told).encode()]
        return files


class Source:
    def __init__(self, files):
        self.files, self.asked = files, {}

    def get(self, path, token=None, media=None, within_s=0):
        if path not in self.files:
            raise checker.Fault(f"{path} is not there")
        place = self.asked.get(path, 0)
        self.asked[path] = place + 1
        return self.files[path][min(place, len(self.files[path]) - 1)]

    def wait(self):
        raise checker.Fault("the log has not grown")


def findings(files, answer):
    told = []
    check = checker.Check(Source(files), "main", None, None, told.append)
    return check.run(answer, check_id()), told


class Vectors(unittest.TestCase):
    def test_signatures_of_rfc_8032(self):
        vectors = [
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
        for secret, key, message, signature in vectors:
            secret, key, message, signature = (bytes.fromhex(t) for t in (secret, key, message, signature))
            self.assertEqual(public(secret), key)
            self.assertEqual(sign(secret, message), signature)
            self.assertTrue(checker.is_signed(key, message, signature))
            for bit in range(0, 512, 37):
                wrong = bytearray(signature)
                wrong[bit // 8] ^= 1 << bit % 8
                self.assertFalse(checker.is_signed(key, message, bytes(wrong)))
            self.assertFalse(checker.is_signed(key, message + b"x", signature))

    def test_a_signature_with_a_scalar_beyond_the_order_is_refused(self):
        secret = bytes(32)
        good = sign(secret, b"m")
        s = int.from_bytes(good[32:], "little") + checker.ORDER
        self.assertTrue(checker.is_signed(public(secret), b"m", good))
        self.assertFalse(checker.is_signed(public(secret), b"m", good[:32] + s.to_bytes(32, "little")))

    def test_roots_of_rfc_6962_implementations(self):
        leaves = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
        hashes = [checker.leaf_hash(bytes.fromhex(leaf)) for leaf in leaves]
        roots = [
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
            "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
            "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
            "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
            "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
        ]
        for size, root in enumerate(roots):
            self.assertEqual(checker.root_of(hashes[:size]).hex(), root)

    def test_proofs_by_the_definition_are_accepted_and_no_others(self):
        leaves = [checker.leaf_hash(bytes([n])) for n in range(40)]
        roots = [None] + [root_by_definition(leaves[:size]) for size in range(1, 41)]
        for size in range(1, 41):
            self.assertEqual(checker.root_of(leaves[:size]), roots[size])
            for index in range(size):
                proof = inclusion_by_definition(index, leaves[:size])
                self.assertEqual(checker.root_by_inclusion(index, size, leaves[index], proof), roots[size])
                for wrong in (proof + [leaves[0]], proof[:-1], [leaves[39]] + proof[1:]):
                    if wrong != proof:
                        self.assertFalse(self.leads_to(roots[size], index, size, leaves[index], wrong))
            for old in range(1, size + 1):
                proof = consistency_by_definition(old, leaves[:size])
                self.assertTrue(checker.is_consistent(old, roots[old], size, roots[size], proof))
                self.assertFalse(checker.is_consistent(old, roots[old], size, roots[size], proof + [leaves[0]]))
                if old < size:
                    self.assertFalse(checker.is_consistent(old, leaves[39], size, roots[size], proof))
                    self.assertFalse(checker.is_consistent(old, roots[old], size, leaves[39], proof))
                    self.assertFalse(checker.is_consistent(old, roots[old], size, roots[size], proof[:-1]))

    @staticmethod
    def leads_to(root, index, size, leaf, proof):
        try:
            return checker.root_by_inclusion(index, size, leaf, proof) == root
        except checker.Fault:
            return False

    def test_paths_of_tiles(self):
        self.assertEqual(checker.tile_path(1_234_067), "x001/x234/067")
        self.assertEqual([checker.tile_path(n) for n in (0, 7, 999, 1000)], ["000", "007", "999", "x001/000"])
        widths = {level: [w for _, w, _ in checker.tiles_of(70_000 >> 8 * level)] for level in range(3)}
        self.assertEqual((len(widths[0]), widths[0][-1], widths[1], widths[2]), (274, 112, [256, 17], [1]))


class Logs(unittest.TestCase):
    def test_sound_logs_are_sound(self):
        for size in SIZES:
            log = Memory(size)
            sound, told = findings(log.files, log.answer)
            self.assertTrue(sound, (size, told))
            self.assertEqual(told[-1], "sound")
            self.assertEqual(len(told), 11)

    def test_every_changed_byte_is_found(self):
        chance = random.Random(224)
        log = Memory(700)
        for path in log.files:
            if path == f"/v1/checks/{check_id()}":
                continue
            for version, whole in enumerate(log.files[path]):
                for _ in range(FLIPS // len(log.files[path])):
                    place, bit = chance.randrange(len(whole)), 1 << chance.randrange(8)
                    wrong = bytearray(whole)
                    wrong[place] ^= bit
                    files = copy.deepcopy(log.files)
                    files[path][version] = bytes(wrong)
                    with self.subTest(path=path, version=version, place=place, bit=bit):
                        if self.is_told_the_same(path, bytes(wrong), whole):
                            continue
                        sound, told = findings(files, log.answer)
                        self.assertFalse(sound, told)

    @staticmethod
    def is_told_the_same(path, wrong, whole):
        """Blanks in JSON tell nothing."""
        if "consistency" in path:
            try:
                return json.loads(wrong) == json.loads(whole)
            except ValueError:
                return False
        return False

    def faulty(self, change, answer=None, size=300):
        log = Memory(size)
        change(log)
        sound, told = findings(log.files, answer or log.answer)
        self.assertFalse(sound, told)
        return told

    def test_a_checkpoint_by_another_key_is_refused(self):
        def change(log):
            log.files["/log/main/checkpoint"][0] = log.checkpoint(300, secret=bytes(32))

        self.assertIn("has not signed", self.faulty(change)[1])

    def test_a_signed_root_of_another_tree_is_refused(self):
        def change(log):
            log.files["/log/main/checkpoint"][0] = log.checkpoint(300, root=bytes(32))

        self.assertTrue(any("not that of the entries" in line for line in self.faulty(change)))

    def test_a_later_checkpoint_of_another_log_is_refused(self):
        def change(log):
            log.files["/log/main/checkpoint"][1] = log.checkpoint(301, root=bytes(32))

        self.assertTrue(any("not proven" in line for line in self.faulty(change)))

    def test_another_origin_is_refused(self):
        def change(log):
            log.files["/log/main/checkpoint"][0] = log.checkpoint(300, origin="registry.example.vn/other")

        self.assertIn("another log's", self.faulty(change)[1])

    def test_a_smaller_log_after_a_larger_one_is_refused(self):
        def change(log):
            log.files["/log/main/checkpoint"][1:] = [log.checkpoint(299)]

        self.assertTrue(any(line.startswith("FAULT later") for line in self.faulty(change)))

    def test_a_receipt_of_another_entry_or_for_another_answer_is_refused(self):
        def change(log):
            log.files[f"/v1/checks/{check_id()}/receipt"] = [log.receipt(3, 300)]

        self.assertTrue(any("none of a check" in line for line in self.faulty(change)))
        answer = Memory(1).answer.replace(b'"s"', b'"t"')
        self.assertTrue(any("digest" in line for line in self.faulty(lambda log: None, answer)))

    def test_a_receipt_whose_proof_leads_to_another_root_than_is_signed_is_refused(self):
        def change(log):
            log.files[f"/v1/checks/{check_id()}/receipt"] = [log.receipt(log.check_index, 300, bytes(32))]

        self.assertTrue(any("does not lead to the signed root" in line for line in self.faulty(change)))

    def faulty_entries(self, change_entries):
        log = Memory(300, change_entries)
        sound, told = findings(log.files, log.answer)
        self.assertFalse(sound, told)
        return [line for line in told if line.startswith("FAULT")]

    def test_well_signed_entries_with_times_or_keys_that_cannot_be_are_found(self):
        def change_time(entries):
            entries[200:202] = [entry_bytes(19, 20_000), entry_bytes(19, 9_999)]

        def change_key(entries):
            entries[0] = entry_bytes(checker.LOG_KEY_ACT, 1_000, reference=key_text(bytes(32)))

        def change_form(entries):
            entries[290] += b"\x00"

        self.assertIn("entry 201 lies further back", self.faulty_entries(change_time)[0])
        self.assertIn("not the one that is served", self.faulty_entries(change_key)[0])
        self.assertIn("entry 290: an entry has more", self.faulty_entries(change_form)[0])

    def test_a_key_that_another_has_rotated_out_is_refused(self):
        def rotate(entries):
            entries[250] = entry_bytes(checker.LOG_KEY_ACT, 1_251, reference=key_text(bytes(32)))

        self.assertIn("not the one that is served", self.faulty_entries(rotate)[0])

    def test_a_missing_tile_is_a_fault(self):
        def change(log):
            del log.files["/log/main/tile/1/000.p/1"]

        self.assertTrue(any("not there" in line for line in self.faulty(change)))

    def test_the_command_reads_what_was_kept_and_exits_1_on_a_fault(self):
        log = Memory(300)
        with tempfile.TemporaryDirectory() as folder:
            seen = {}
            for path, versions in log.files.items():
                for body in versions:
                    place = checker.kept_place(os.path.join(folder, "kept"), seen, path)
                    os.makedirs(os.path.dirname(place), exist_ok=True)
                    with open(place, "wb") as file:
                        file.write(body)
            answer = os.path.join(folder, "answer")
            with open(answer, "wb") as file:
                file.write(log.answer)
            command = [sys.executable, checker.__file__, "file:" + os.path.join(folder, "kept")]
            command += ["--answer", answer, "--check", check_id()]
            sound = subprocess.run(command, capture_output=True, text=True, check=False)
            self.assertEqual((sound.returncode, sound.stdout.splitlines()[-1]), (0, "sound"), sound)
            with open(answer, "ab") as file:
                file.write(b" ")
            faulty = subprocess.run(command, capture_output=True, text=True, check=False)
            self.assertEqual((faulty.returncode, faulty.stdout.splitlines()[-1]), (1, "1 faults"), faulty)


if __name__ == "__main__":
    unittest.main()
