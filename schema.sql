-- The database of an embedded registry (SQLite). Times are milliseconds since 1970-01-01T00:00:00Z; ids are the
-- 16 bytes of a UUIDv7 (on the wire a TypeID); truth values are 0 and 1; enum values are the names of openapi.yaml.
-- Every row below is written by the log's writer in the transaction that writes the entry of the act, and by nothing else.
-- Tables whose rows hold a whole document have row numbers: new rows fill up pages one after the other, and only the small
-- entries of the key's index go where the key says. The others are kept by their key alone.

-- Which numbered migrations have run.
CREATE TABLE schema_migration (
    number      INTEGER NOT NULL PRIMARY KEY, -- 1, 2, 3 ... without gaps
    applied_at  INTEGER NOT NULL              -- when
) STRICT;

-- The one row that says which registry this is.
CREATE TABLE registry (
    id          INTEGER NOT NULL PRIMARY KEY CHECK (id = 1), -- always 1
    name        TEXT    NOT NULL, -- first part of every log's origin, e.g. registry.example.vn
    created_at  INTEGER NOT NULL, -- when it was made
    pepper      BLOB              -- keyed hash of the name: tells whether a node has the registry's pepper; NULL: not yet known
) STRICT;

-- The one row that numbers changes; a commit that carries a change holds it.
CREATE TABLE change_head (
    id          INTEGER NOT NULL PRIMARY KEY CHECK (id = 1), -- always 1
    number      INTEGER NOT NULL -- of the last change; the list_version of answers
) STRICT;

-- One row for each numbered step of the registry.
CREATE TABLE change (
    number      INTEGER NOT NULL PRIMARY KEY, -- 1, 2, 3 ... without gaps
    at          INTEGER NOT NULL,             -- when the act was done
    node        TEXT    NOT NULL,             -- whose log holds the entry of the act
    log_index   INTEGER NOT NULL,             -- the index of that entry
    kind        TEXT    NOT NULL              -- flag, flags, import, party, client, objection, correction, or together: several of these
) STRICT;

-- Institutions with access.
CREATE TABLE party (
    id          TEXT    NOT NULL PRIMARY KEY, -- BIN or code
    name        TEXT    NOT NULL,             -- as people write it
    role        TEXT    NOT NULL,             -- bank, payment_intermediary, police, auditor or operator
    state       TEXT    NOT NULL,             -- enabled or disabled
    version     INTEGER NOT NULL,             -- 1 and counting; the ETag
    created_at  INTEGER NOT NULL,             -- when it was made
    change      INTEGER NOT NULL,             -- number of the change that wrote this version
    parent      TEXT                          -- of a police unit, the party above it; NULL: none
) STRICT, WITHOUT ROWID;

-- Credentials' owners: a core system, or one officer.
CREATE TABLE client (
    id                TEXT    NOT NULL PRIMARY KEY, -- client_id of RFC 6749
    party             TEXT    NOT NULL REFERENCES party (id), -- whose client it is
    name              TEXT    NOT NULL,             -- as people write it
    scopes            TEXT    NOT NULL,             -- separated by spaces
    quotas            TEXT    NOT NULL,             -- JSON: overrides of the default quotas by policy
    state             TEXT    NOT NULL,             -- enabled or disabled
    version           INTEGER NOT NULL,             -- 1 and counting; the ETag
    created_at        INTEGER NOT NULL,             -- when it was made
    tokens_void_until INTEGER,                      -- tokens issued up to here are refused; NULL: none
    change            INTEGER NOT NULL              -- number of the change that wrote this version
) STRICT, WITHOUT ROWID;

-- What a client proves itself with. Never a secret in clear.
CREATE TABLE client_credential (
    client      TEXT    NOT NULL REFERENCES client (id), -- whose credential it is
    place       INTEGER NOT NULL, -- 0, 1 ... newest first
    kind        TEXT    NOT NULL, -- secret or key
    value       TEXT    NOT NULL, -- argon2id hash in PHC form, or the public key
    created_at  INTEGER NOT NULL, -- when it was made
    expires_at  INTEGER,          -- refused from here on; NULL: no end
    PRIMARY KEY (client, place)
) STRICT, WITHOUT ROWID;

-- The list as checks see it: the newest version of each flag, only what an answer needs, so that it loads fast.
CREATE TABLE flag (
    id          BLOB    NOT NULL PRIMARY KEY, -- UUIDv7
    subject     TEXT    NOT NULL, -- canonical text, e.g. account:970436:0011001932418
    verdict     TEXT    NOT NULL, -- warn, hold or block
    category    TEXT    NOT NULL, -- mule, impersonation ...
    case_ref    TEXT    NOT NULL, -- the police's case
    state       TEXT    NOT NULL, -- proposed, active, rejected or lifted; expiry is told by expires_at
    version     INTEGER NOT NULL, -- 1 and counting; the ETag
    since       INTEGER,          -- answers from here on; NULL: not yet
    expires_at  INTEGER,          -- answers no more from here on
    document    TEXT,             -- number of the legal document, if any
    linked      TEXT,             -- canonical texts of linked subjects, one a line; NULL: none
    unit        TEXT    NOT NULL DEFAULT '' -- the police unit that owns it
) STRICT, WITHOUT ROWID;

-- Every version of every flag, whole; never changed, never deleted.
CREATE TABLE flag_version (
    flag        BLOB    NOT NULL, -- id of the flag
    version     INTEGER NOT NULL, -- 1 and counting
    change      INTEGER NOT NULL, -- number of the change that wrote it; who, when and where stand there and in body
    body        TEXT    NOT NULL, -- JSON of the whole flag
    PRIMARY KEY (flag, version)
) STRICT;

-- For the other nodes, which follow the changes by number.
CREATE INDEX flag_version_by_change ON flag_version (change);

-- What banks object to on behalf of holders, and what was answered.
CREATE TABLE objection (
    id          BLOB    NOT NULL PRIMARY KEY, -- UUIDv7
    flag        BLOB    NOT NULL, -- id of the flag
    party       TEXT    NOT NULL, -- who filed it
    state       TEXT    NOT NULL, -- open, upheld or dismissed
    deadline    INTEGER NOT NULL, -- open after this it is overdue
    version     INTEGER NOT NULL, -- 1 and counting; the ETag
    filed       INTEGER NOT NULL, -- number of the change that filed it
    change      INTEGER NOT NULL, -- number of the change that wrote this version
    body        TEXT    NOT NULL  -- JSON of the whole objection
) STRICT;

-- A party has one open objection to a flag.
CREATE UNIQUE INDEX objection_open ON objection (flag, party) WHERE state = 'open';

-- For a flag's history.
CREATE INDEX objection_by_flag ON objection (flag, id);

-- For the party that filed it.
CREATE INDEX objection_by_party ON objection (party, id);

-- For the list of open ones.
CREATE INDEX objection_by_state ON objection (state, id);

-- Flags that should never have been there: who must be told.
CREATE TABLE correction (
    flag         BLOB    NOT NULL PRIMARY KEY, -- id of the flag
    node         TEXT    NOT NULL, -- which node ended the flag, and completes this
    due_at       INTEGER NOT NULL, -- from here on no answer with the flag can be under way
    completed_at INTEGER,          -- when all logs had been read to then; NULL: not yet
    log_from     TEXT    NOT NULL, -- the first entries that were read, node/index, joined by commas
    log_to       TEXT    NOT NULL, -- the last ones
    change       INTEGER NOT NULL  -- number of the change that wrote this
) STRICT, WITHOUT ROWID;

-- For what completes them.
CREATE INDEX correction_due ON correction (due_at) WHERE completed_at IS NULL;

-- The parties that were answered with such a flag.
CREATE TABLE correction_party (
    party       TEXT    NOT NULL, -- who must be told
    flag        BLOB    NOT NULL, -- id of the flag
    checks      INTEGER NOT NULL, -- how many checks were answered with it
    first_at    INTEGER NOT NULL, -- the first of them
    last_at     INTEGER NOT NULL, -- the last of them
    change      INTEGER NOT NULL, -- number of the change that wrote this
    PRIMARY KEY (flag, party)
) STRICT, WITHOUT ROWID;

-- For what one party must be told, in the order of the changes.
CREATE INDEX correction_of_party ON correction_party (party, change);

-- Files of flags that officers handed in.
CREATE TABLE import (
    id          BLOB    NOT NULL PRIMARY KEY, -- UUIDv7
    unit        TEXT    NOT NULL, -- the party whose officer handed it in
    node        TEXT    NOT NULL, -- which node has the file, or carries out the decision
    state       TEXT    NOT NULL, -- received, running, done, failed, approving, approved, rejecting or rejected
    once        TEXT,             -- digest of the file and of how it is read, once for each unit; NULL: it may come again
    step        INTEGER NOT NULL, -- 1 and counting with everything that is written of it
    body        TEXT    NOT NULL  -- JSON of the whole import: counts, samples, who and when
) STRICT;

-- The same file again changes nothing.
CREATE UNIQUE INDEX import_by_file ON import (unit, once);

-- The rows of an import that were dealt with together; they never change.
CREATE TABLE import_part (
    import      BLOB    NOT NULL REFERENCES import (id), -- of which import
    first_row   INTEGER NOT NULL, -- number of the first row
    last_row    INTEGER NOT NULL, -- number of the last row
    flags       BLOB    NOT NULL, -- ids of the flags that the rows became, 16 bytes each
    report      TEXT    NOT NULL, -- the rows' lines of the report: no value of theirs
    PRIMARY KEY (import, first_row)
) STRICT;

-- The first answer to each creating request with an Idempotency-Key, so that its repetition gets the same.
CREATE TABLE kept_answer (
    client      TEXT    NOT NULL, -- who sent the request
    key         TEXT    NOT NULL, -- Idempotency-Key
    request     BLOB    NOT NULL, -- SHA-256 of path and body
    at          INTEGER NOT NULL, -- when it was answered
    node        TEXT    NOT NULL, -- the entry of the act: log ...
    log_index   INTEGER NOT NULL, -- ... and index
    status      INTEGER NOT NULL, -- HTTP status
    location    TEXT    NOT NULL, -- Location header
    etag        TEXT    NOT NULL, -- ETag header
    body        BLOB    NOT NULL, -- exact body
    PRIMARY KEY (client, key)
) STRICT;

-- What became of the transactions of checks, as the banks that asked told it: once for each check.
CREATE TABLE check_outcome (
    check_id    BLOB    NOT NULL PRIMARY KEY, -- UUIDv7
    at          INTEGER NOT NULL, -- when it was told
    node        TEXT    NOT NULL, -- the entry of the act: log ...
    log_index   INTEGER NOT NULL, -- ... and index
    told        TEXT    NOT NULL  -- decision, warned or not_warned, and the amount if there is one: held warned 5000000 VND
) STRICT, WITHOUT ROWID;

-- The logs in this database, one a node.
CREATE TABLE log (
    node        TEXT    NOT NULL PRIMARY KEY, -- name of the node
    number      INTEGER NOT NULL UNIQUE, -- 0, 1 ... stands for the node in log_batch.place
    epoch       INTEGER NOT NULL DEFAULT 0, -- counts the processes that have written this log; only the last one may
    heard_at    INTEGER NOT NULL DEFAULT 0 -- when that one was last heard, by the database's clock; 0: it has ended
) STRICT, WITHOUT ROWID;

-- The access logs: one row for each batch of entries that were committed together.
CREATE TABLE log_batch (
    place       INTEGER NOT NULL PRIMARY KEY, -- log.number * 2^40 + index of the first entry
    size        INTEGER NOT NULL, -- number of entries; the next batch starts at place + size
    at_min      INTEGER NOT NULL, -- earliest time of an entry in this batch
    at_max      INTEGER NOT NULL, -- latest time of an entry in the log up to the end of this batch: never decreases
    entries     BLOB    NOT NULL  -- for each entry a 16-bit big-endian length and its bytes (an entry bundle of tlog-tiles)
) STRICT;

-- The full tiles of the logs' Merkle trees (RFC 6962; C2SP tlog-tiles, height 8). The partial ones at the right edge are
-- made from these and from the last entries.
CREATE TABLE log_tile (
    place       INTEGER NOT NULL PRIMARY KEY, -- log.number * 2^40 + index of the first entry below the tile + its level
    root        BLOB    NOT NULL, -- the hash that stands for the tile one level up: 32 bytes
    hashes      BLOB    NOT NULL  -- its 256 hashes of 32 bytes
) STRICT;

-- The signed roots of the logs; all are kept.
CREATE TABLE log_checkpoint (
    place       INTEGER NOT NULL PRIMARY KEY, -- log.number * 2^40 + size of the tree
    at          INTEGER NOT NULL, -- when it was signed
    note        TEXT    NOT NULL  -- the signed note (C2SP tlog-checkpoint)
) STRICT;

-- What was sealed into files (archives) and is no longer in log_batch. Archives follow on each other without a gap.
CREATE TABLE log_archive (
    place       INTEGER NOT NULL PRIMARY KEY, -- log.number * 2^40 + index of the first entry
    size        INTEGER NOT NULL, -- number of entries; the next archive starts at place + size, where a checkpoint stands
    at_max      INTEGER NOT NULL, -- latest time of an entry in the log up to the end of this archive
    sealed_at   INTEGER NOT NULL, -- when the entries were dropped here
    file_name   TEXT    NOT NULL, -- the name under which the file was made
    digest      BLOB    NOT NULL, -- SHA-256 of the file
    answers     INTEGER           -- how many rows of archived_answer tell of its checks; NULL: none do, only the file tells
) STRICT;

-- What the checks in archives were answered with, so that a correction reaches also who was answered long ago. It names no
-- subject.
CREATE TABLE archived_answer (
    flag        BLOB    NOT NULL, -- id of the flag
    party       TEXT    NOT NULL, -- who was answered with it
    place       INTEGER NOT NULL, -- place of the archive
    checks      INTEGER NOT NULL, -- how many checks in the archive were
    first_at    INTEGER NOT NULL, -- the first of them
    last_at     INTEGER NOT NULL, -- the last of them
    PRIMARY KEY (flag, party, place)
) STRICT, WITHOUT ROWID;

-- Entries go only when they lie wholly in a recorded archive; of the tiles those of level 0 whose tile of level 1 does, but
-- for the last one. What is not sealed is never deleted, and what stands higher in the tree stays for ever.
CREATE TRIGGER log_batch_is_never_updated BEFORE UPDATE ON log_batch
BEGIN SELECT RAISE (ABORT, 'the log is append-only'); END;
CREATE TRIGGER log_batch_is_never_deleted BEFORE DELETE ON log_batch
WHEN NOT EXISTS (SELECT 1 FROM log_archive WHERE place <= OLD.place AND place + size >= OLD.place + OLD.size)
BEGIN SELECT RAISE (ABORT, 'the log is append-only'); END;
CREATE TRIGGER log_tile_is_never_updated BEFORE UPDATE ON log_tile
BEGIN SELECT RAISE (ABORT, 'the log is append-only'); END;
CREATE TRIGGER log_tile_is_never_deleted BEFORE DELETE ON log_tile
WHEN OLD.place % 256 <> 0 OR NOT EXISTS (
    SELECT 1 FROM log_archive
    WHERE place / 1099511627776 = OLD.place / 1099511627776 AND place + size > OLD.place - OLD.place % 65536 + 65536)
BEGIN SELECT RAISE (ABORT, 'the log is append-only'); END;
CREATE TRIGGER log_checkpoint_is_never_updated BEFORE UPDATE ON log_checkpoint
BEGIN SELECT RAISE (ABORT, 'the log is append-only'); END;
CREATE TRIGGER log_checkpoint_is_never_deleted BEFORE DELETE ON log_checkpoint
BEGIN SELECT RAISE (ABORT, 'the log is append-only'); END;
CREATE TRIGGER log_archive_follows_on_another BEFORE INSERT ON log_archive
WHEN NOT EXISTS (SELECT 1 FROM log_checkpoint WHERE place = NEW.place + NEW.size)
    OR (NEW.place % 1099511627776 <> 0 AND NOT EXISTS (SELECT 1 FROM log_archive WHERE place + size = NEW.place))
BEGIN SELECT RAISE (ABORT, 'no archive that follows on another and ends under a checkpoint'); END;
CREATE TRIGGER log_archive_is_never_updated BEFORE UPDATE ON log_archive
BEGIN SELECT RAISE (ABORT, 'the log is append-only'); END;
CREATE TRIGGER log_archive_is_never_deleted BEFORE DELETE ON log_archive
BEGIN SELECT RAISE (ABORT, 'the log is append-only'); END;
CREATE TRIGGER archived_answer_is_never_updated BEFORE UPDATE ON archived_answer
BEGIN SELECT RAISE (ABORT, 'answers are append-only'); END;
CREATE TRIGGER archived_answer_is_never_deleted BEFORE DELETE ON archived_answer
BEGIN SELECT RAISE (ABORT, 'answers are append-only'); END;
CREATE TRIGGER change_is_never_updated BEFORE UPDATE ON change
BEGIN SELECT RAISE (ABORT, 'changes are append-only'); END;
CREATE TRIGGER change_is_never_deleted BEFORE DELETE ON change
BEGIN SELECT RAISE (ABORT, 'changes are append-only'); END;
CREATE TRIGGER flag_version_is_never_updated BEFORE UPDATE ON flag_version
BEGIN SELECT RAISE (ABORT, 'versions are append-only'); END;
CREATE TRIGGER flag_version_is_never_deleted BEFORE DELETE ON flag_version
BEGIN SELECT RAISE (ABORT, 'versions are append-only'); END;
CREATE TRIGGER import_part_is_never_updated BEFORE UPDATE ON import_part
BEGIN SELECT RAISE (ABORT, 'reports are append-only'); END;
CREATE TRIGGER import_part_is_never_deleted BEFORE DELETE ON import_part
BEGIN SELECT RAISE (ABORT, 'reports are append-only'); END;
