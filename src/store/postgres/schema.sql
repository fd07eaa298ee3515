-- The database of a registry whose nodes share PostgreSQL: the tables and rules of schema.sql and src/store/search.sql, in
-- the words of this engine. Text is ordered by its bytes, as there. Times are milliseconds since 1970-01-01T00:00:00Z; ids
-- are the 16 bytes of a UUIDv7; truth values are 0 and 1; enum values are the names of openapi.yaml.

-- Which numbered migrations have run.
CREATE TABLE schema_migration (
    number     BIGINT NOT NULL PRIMARY KEY, -- 1, 2, 3 ... without gaps
    applied_at BIGINT NOT NULL              -- when
);

-- The one row that says which registry this is.
CREATE TABLE registry (
    id         BIGINT           NOT NULL PRIMARY KEY CHECK (id = 1), -- always 1
    name       TEXT COLLATE "C" NOT NULL,                            -- first part of every log's origin, e.g. registry.example.vn
    created_at BIGINT           NOT NULL,                            -- when it was made
    pepper     BYTEA                                                 -- keyed hash of the name: tells whether a node has the registry's pepper; NULL: not yet known
);

-- The one row that numbers changes; a commit that carries a change holds it.
CREATE TABLE change_head (
    id     BIGINT NOT NULL PRIMARY KEY CHECK (id = 1), -- always 1
    number BIGINT NOT NULL                             -- of the last change; the list_version of answers
);

-- One row for each numbered step of the registry.
CREATE TABLE change (
    number    BIGINT           NOT NULL PRIMARY KEY, -- 1, 2, 3 ... without gaps
    at        BIGINT           NOT NULL,             -- when the act was done
    node      TEXT COLLATE "C" NOT NULL,             -- whose log holds the entry of the act
    log_index BIGINT           NOT NULL,             -- the index of that entry
    kind      TEXT COLLATE "C" NOT NULL              -- flag, flags, party, client, objection, correction, or together: several of these
);

-- Institutions with access.
CREATE TABLE party (
    id         TEXT COLLATE "C" NOT NULL PRIMARY KEY, -- BIN or code
    name       TEXT COLLATE "C" NOT NULL,             -- as people write it
    role       TEXT COLLATE "C" NOT NULL,             -- bank, payment_intermediary, police, auditor or operator
    state      TEXT COLLATE "C" NOT NULL,             -- enabled or disabled
    version    BIGINT           NOT NULL,             -- 1 and counting; the ETag
    created_at BIGINT           NOT NULL,             -- when it was made
    change     BIGINT           NOT NULL,             -- number of the change that wrote this version
    parent     TEXT COLLATE "C"                       -- of a police unit, the party above it; NULL: none
);

-- Credentials' owners: a core system, or one officer.
CREATE TABLE client (
    id                TEXT COLLATE "C" NOT NULL PRIMARY KEY,           -- client_id of RFC 6749
    party             TEXT COLLATE "C" NOT NULL REFERENCES party (id), -- whose client it is
    name              TEXT COLLATE "C" NOT NULL,                       -- as people write it
    scopes            TEXT COLLATE "C" NOT NULL,                       -- separated by spaces
    quotas            TEXT COLLATE "C" NOT NULL,                       -- JSON: overrides of the default quotas by policy
    state             TEXT COLLATE "C" NOT NULL,                       -- enabled or disabled
    version           BIGINT           NOT NULL,                       -- 1 and counting; the ETag
    created_at        BIGINT           NOT NULL,                       -- when it was made
    tokens_void_until BIGINT,                                          -- tokens issued up to here are refused; NULL: none
    change            BIGINT           NOT NULL                        -- number of the change that wrote this version
);

-- What a client proves itself with. Never a secret in clear.
CREATE TABLE client_credential (
    client     TEXT COLLATE "C" NOT NULL REFERENCES client (id), -- whose credential it is
    place      BIGINT           NOT NULL,                        -- 0, 1 ... newest first
    kind       TEXT COLLATE "C" NOT NULL,                        -- secret or key
    value      TEXT COLLATE "C" NOT NULL,                        -- argon2id hash in PHC form, or the public key
    created_at BIGINT           NOT NULL,                        -- when it was made
    expires_at BIGINT,                                           -- refused from here on; NULL: no end
    PRIMARY KEY (client, place)
);

-- The list as checks see it: the newest version of each flag, only what an answer needs, so that it loads fast.
CREATE TABLE flag (
    id         BYTEA            NOT NULL PRIMARY KEY, -- UUIDv7
    subject    TEXT COLLATE "C" NOT NULL,             -- canonical text, e.g. account:970436:0011001932418
    verdict    TEXT COLLATE "C" NOT NULL,             -- warn, hold or block
    category   TEXT COLLATE "C" NOT NULL,             -- mule, impersonation ...
    case_ref   TEXT COLLATE "C" NOT NULL,             -- the police's case
    state      TEXT COLLATE "C" NOT NULL,             -- proposed, active, rejected or lifted; expiry is told by expires_at
    version    BIGINT           NOT NULL,             -- 1 and counting; the ETag
    since      BIGINT,                                -- answers from here on; NULL: not yet
    expires_at BIGINT,                                -- answers no more from here on
    document   TEXT COLLATE "C",                      -- number of the legal document, if any
    linked     TEXT COLLATE "C",                      -- canonical texts of linked subjects, one a line; NULL: none
    unit       TEXT COLLATE "C" NOT NULL DEFAULT ''   -- the police unit that owns it
);

-- Every version of every flag, whole; never changed, never deleted.
CREATE TABLE flag_version (
    flag    BYTEA            NOT NULL, -- id of the flag
    version BIGINT           NOT NULL, -- 1 and counting
    change  BIGINT           NOT NULL, -- number of the change that wrote it; who, when and where stand there and in body
    body    TEXT COLLATE "C" NOT NULL, -- JSON of the whole flag
    PRIMARY KEY (flag, version)
);

-- For the other nodes, which follow the changes by number.
CREATE INDEX flag_version_by_change ON flag_version (change);

-- What banks object to on behalf of holders, and what was answered.
CREATE TABLE objection (
    id       BYTEA            NOT NULL PRIMARY KEY, -- UUIDv7
    flag     BYTEA            NOT NULL,             -- id of the flag
    party    TEXT COLLATE "C" NOT NULL,             -- who filed it
    state    TEXT COLLATE "C" NOT NULL,             -- open, upheld or dismissed
    deadline BIGINT           NOT NULL,             -- open after this it is overdue
    version  BIGINT           NOT NULL,             -- 1 and counting; the ETag
    filed    BIGINT           NOT NULL,             -- number of the change that filed it
    change   BIGINT           NOT NULL,             -- number of the change that wrote this version
    body     TEXT COLLATE "C" NOT NULL              -- JSON of the whole objection
);

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
    flag         BYTEA            NOT NULL PRIMARY KEY, -- id of the flag
    node         TEXT COLLATE "C" NOT NULL,             -- which node ended the flag, and completes this
    due_at       BIGINT           NOT NULL,             -- from here on no answer with the flag can be under way
    completed_at BIGINT,                                -- when all logs had been read to then; NULL: not yet
    log_from     TEXT COLLATE "C" NOT NULL,             -- the first entries that were read, node/index, joined by commas
    log_to       TEXT COLLATE "C" NOT NULL,             -- the last ones
    change       BIGINT           NOT NULL              -- number of the change that wrote this
);

-- For what completes them.
CREATE INDEX correction_due ON correction (due_at) WHERE completed_at IS NULL;

-- The parties that were answered with such a flag.
CREATE TABLE correction_party (
    party    TEXT COLLATE "C" NOT NULL, -- who must be told
    flag     BYTEA            NOT NULL, -- id of the flag
    checks   BIGINT           NOT NULL, -- how many checks were answered with it
    first_at BIGINT           NOT NULL, -- the first of them
    last_at  BIGINT           NOT NULL, -- the last of them
    change   BIGINT           NOT NULL, -- number of the change that wrote this
    PRIMARY KEY (flag, party)
);

-- For what one party must be told, in the order of the changes.
CREATE INDEX correction_of_party ON correction_party (party, change);

-- Files of flags that officers handed in.
CREATE TABLE import (
    id    BYTEA            NOT NULL PRIMARY KEY, -- UUIDv7
    unit  TEXT COLLATE "C" NOT NULL,             -- the party whose officer handed it in
    node  TEXT COLLATE "C" NOT NULL,             -- which node has the file, or carries out the decision
    state TEXT COLLATE "C" NOT NULL,             -- received, running, done, failed, approving, approved, rejecting or rejected
    once  TEXT COLLATE "C",                      -- digest of the file and of how it is read, once for each unit; NULL: it may come again
    step  BIGINT           NOT NULL,             -- 1 and counting with everything that is written of it
    body  TEXT COLLATE "C" NOT NULL              -- JSON of the whole import: counts, samples, who and when
);

-- The same file again changes nothing.
CREATE UNIQUE INDEX import_by_file ON import (unit, once);

-- The rows of an import that were dealt with together; they never change.
CREATE TABLE import_part (
    import    BYTEA            NOT NULL REFERENCES import (id), -- of which import
    first_row BIGINT           NOT NULL,                        -- number of the first row
    last_row  BIGINT           NOT NULL,                        -- number of the last row
    flags     BYTEA            NOT NULL,                        -- ids of the flags that the rows became, 16 bytes each
    report    TEXT COLLATE "C" NOT NULL,                        -- the rows' lines of the report: no value of theirs
    PRIMARY KEY (import, first_row)
);

-- The first answer to each creating request with an Idempotency-Key, so that its repetition gets the same.
CREATE TABLE kept_answer (
    client    TEXT COLLATE "C" NOT NULL, -- who sent the request
    key       TEXT COLLATE "C" NOT NULL, -- Idempotency-Key
    request   BYTEA            NOT NULL, -- SHA-256 of path and body
    at        BIGINT           NOT NULL, -- when it was answered
    node      TEXT COLLATE "C" NOT NULL, -- the entry of the act: log ...
    log_index BIGINT           NOT NULL, -- ... and index
    status    BIGINT           NOT NULL, -- HTTP status
    location  TEXT COLLATE "C" NOT NULL, -- Location header
    etag      TEXT COLLATE "C" NOT NULL, -- ETag header
    body      BYTEA            NOT NULL, -- exact body
    PRIMARY KEY (client, key)
);

-- What became of the transactions of checks, as the banks that asked told it: once for each check.
CREATE TABLE check_outcome (
    check_id  BYTEA            NOT NULL PRIMARY KEY, -- UUIDv7
    at        BIGINT           NOT NULL, -- when it was told
    node      TEXT COLLATE "C" NOT NULL, -- the entry of the act: log ...
    log_index BIGINT           NOT NULL, -- ... and index
    told      TEXT COLLATE "C" NOT NULL  -- decision, warned or not_warned, and the amount if there is one: held warned 5000000 VND
);

-- The logs in this database, one a node.
CREATE TABLE log (
    node     TEXT COLLATE "C" NOT NULL PRIMARY KEY, -- name of the node
    number   BIGINT           NOT NULL UNIQUE,      -- 0, 1 ... stands for the node in log_batch.place
    epoch    BIGINT           NOT NULL DEFAULT 0,   -- counts the processes that have written this log; only the last one may
    heard_at BIGINT           NOT NULL DEFAULT 0    -- when that one was last heard, by the database's clock; 0: it has ended
);

-- The access logs: one row for each batch of entries that were committed together. Each month has its own
-- part, which the driver makes in time; what no part takes goes to the last one. at_max never decreases in a log, so that its
-- batches lie in the parts in order. A place is unique in its part; that it is in all of them, the lease on the log sees to.
CREATE TABLE log_batch (
    place   BIGINT NOT NULL, -- log.number * 2^40 + index of the first entry
    size    BIGINT NOT NULL, -- number of entries; the next batch starts at place + size
    at_min  BIGINT NOT NULL, -- earliest time of an entry in this batch
    at_max  BIGINT NOT NULL, -- latest time of an entry in the log up to the end of this batch: never decreases
    entries BYTEA  NOT NULL  -- for each entry a 16-bit big-endian length and its bytes (an entry bundle of tlog-tiles)
) PARTITION BY RANGE (at_max);
-- Entries are mostly hashes: compressing them takes more of the processor than writing them, and saves a quarter.
ALTER TABLE log_batch ALTER COLUMN entries SET STORAGE EXTERNAL;
CREATE TABLE log_batch_other PARTITION OF log_batch DEFAULT;
ALTER TABLE log_batch_other ADD PRIMARY KEY (place);

-- The full tiles of the logs' Merkle trees (RFC 6962; C2SP tlog-tiles, height 8). The partial ones at the right edge are
-- made from these and from the last entries.
CREATE TABLE log_tile (
    place  BIGINT NOT NULL PRIMARY KEY, -- log.number * 2^40 + index of the first entry below the tile + its level
    root   BYTEA  NOT NULL,             -- the hash that stands for the tile one level up: 32 bytes
    hashes BYTEA  NOT NULL              -- its 256 hashes of 32 bytes
);
-- Hashes do not get smaller.
ALTER TABLE log_tile ALTER COLUMN hashes SET STORAGE EXTERNAL;

-- The signed roots of the logs; all are kept.
CREATE TABLE log_checkpoint (
    place BIGINT           NOT NULL PRIMARY KEY, -- log.number * 2^40 + size of the tree
    at    BIGINT           NOT NULL,             -- when it was signed
    note  TEXT COLLATE "C" NOT NULL              -- the signed note (C2SP tlog-checkpoint)
);

-- What was sealed into files (archives). To all who read it is no longer in log_batch; its rows, and the parts of the table that
-- hold no others, are dropped afterwards. Archives follow on each other without a gap.
CREATE TABLE log_archive (
    place     BIGINT           NOT NULL PRIMARY KEY, -- log.number * 2^40 + index of the first entry
    size      BIGINT           NOT NULL,             -- number of entries; the next archive starts at place + size, where a checkpoint stands
    at_max    BIGINT           NOT NULL,             -- latest time of an entry in the log up to the end of this archive
    sealed_at BIGINT           NOT NULL,             -- when that was
    file_name TEXT COLLATE "C" NOT NULL,             -- the name under which the file was made
    digest    BYTEA            NOT NULL,             -- SHA-256 of the file
    answers   BIGINT                                 -- how many rows of archived_answer tell of its checks; NULL: none do, only the file tells
);

-- What the checks in archives were answered with, so that a correction reaches also who was answered long ago. It names no
-- subject.
CREATE TABLE archived_answer (
    flag     BYTEA            NOT NULL, -- id of the flag
    party    TEXT COLLATE "C" NOT NULL, -- who was answered with it
    place    BIGINT           NOT NULL, -- place of the archive
    checks   BIGINT           NOT NULL, -- how many checks in the archive were
    first_at BIGINT           NOT NULL, -- the first of them
    last_at  BIGINT           NOT NULL, -- the last of them
    PRIMARY KEY (flag, party, place)
);

-- Entries go only when they lie wholly in a recorded archive; of the tiles those of level 0 whose tile of level 1 does, but
-- for the last one. What is not sealed is never deleted, and what stands higher in the tree stays for ever.
CREATE FUNCTION refuse_change() RETURNS TRIGGER LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION USING MESSAGE = TG_ARGV[0];
END $$;

CREATE FUNCTION refuse_loss_of_batch() RETURNS TRIGGER LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT 1 FROM log_archive WHERE place <= OLD.place AND place + size >= OLD.place + OLD.size) THEN
        RAISE EXCEPTION 'the log is append-only';
    END IF;
    RETURN OLD;
END $$;

CREATE FUNCTION refuse_loss_of_tile() RETURNS TRIGGER LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.place % 256 <> 0 OR NOT EXISTS (
        SELECT 1 FROM log_archive
        WHERE place / 1099511627776 = OLD.place / 1099511627776
            AND place + size > OLD.place - OLD.place % 65536 + 65536)
    THEN
        RAISE EXCEPTION 'the log is append-only';
    END IF;
    RETURN OLD;
END $$;

CREATE FUNCTION refuse_archive_that_follows_on_none() RETURNS TRIGGER LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT 1 FROM log_checkpoint WHERE place = NEW.place + NEW.size)
        OR (NEW.place % 1099511627776 <> 0 AND NOT EXISTS (SELECT 1 FROM log_archive WHERE place + size = NEW.place))
    THEN
        RAISE EXCEPTION 'no archive that follows on another and ends under a checkpoint';
    END IF;
    RETURN NEW;
END $$;

CREATE TRIGGER log_batch_is_never_updated BEFORE UPDATE ON log_batch
FOR EACH ROW EXECUTE FUNCTION refuse_change('the log is append-only');
CREATE TRIGGER log_batch_is_never_deleted BEFORE DELETE ON log_batch
FOR EACH ROW EXECUTE FUNCTION refuse_loss_of_batch();
CREATE TRIGGER log_tile_is_never_updated BEFORE UPDATE ON log_tile
FOR EACH ROW EXECUTE FUNCTION refuse_change('the log is append-only');
CREATE TRIGGER log_tile_is_never_deleted BEFORE DELETE ON log_tile
FOR EACH ROW EXECUTE FUNCTION refuse_loss_of_tile();
CREATE TRIGGER log_checkpoint_is_never_updated BEFORE UPDATE ON log_checkpoint
FOR EACH ROW EXECUTE FUNCTION refuse_change('the log is append-only');
CREATE TRIGGER log_checkpoint_is_never_deleted BEFORE DELETE ON log_checkpoint
FOR EACH ROW EXECUTE FUNCTION refuse_change('the log is append-only');
CREATE TRIGGER log_archive_follows_on_another BEFORE INSERT ON log_archive
FOR EACH ROW EXECUTE FUNCTION refuse_archive_that_follows_on_none();
CREATE TRIGGER log_archive_is_never_updated BEFORE UPDATE ON log_archive
FOR EACH ROW EXECUTE FUNCTION refuse_change('the log is append-only');
CREATE TRIGGER log_archive_is_never_deleted BEFORE DELETE ON log_archive
FOR EACH ROW EXECUTE FUNCTION refuse_change('the log is append-only');
CREATE TRIGGER archived_answer_is_never_updated BEFORE UPDATE ON archived_answer
FOR EACH ROW EXECUTE FUNCTION refuse_change('answers are append-only');
CREATE TRIGGER archived_answer_is_never_deleted BEFORE DELETE ON archived_answer
FOR EACH ROW EXECUTE FUNCTION refuse_change('answers are append-only');
CREATE TRIGGER change_is_never_updated BEFORE UPDATE ON change
FOR EACH ROW EXECUTE FUNCTION refuse_change('changes are append-only');
CREATE TRIGGER change_is_never_deleted BEFORE DELETE ON change
FOR EACH ROW EXECUTE FUNCTION refuse_change('changes are append-only');
CREATE TRIGGER flag_version_is_never_updated BEFORE UPDATE ON flag_version
FOR EACH ROW EXECUTE FUNCTION refuse_change('versions are append-only');
CREATE TRIGGER flag_version_is_never_deleted BEFORE DELETE ON flag_version
FOR EACH ROW EXECUTE FUNCTION refuse_change('versions are append-only');
CREATE TRIGGER import_part_is_never_updated BEFORE UPDATE ON import_part
FOR EACH ROW EXECUTE FUNCTION refuse_change('reports are append-only');
CREATE TRIGGER import_part_is_never_deleted BEFORE DELETE ON import_part
FOR EACH ROW EXECUTE FUNCTION refuse_change('reports are append-only');

-- This engine can also drop all rows of a table at once, which calls no trigger of a row.
CREATE TRIGGER log_batch_is_never_emptied BEFORE TRUNCATE ON log_batch
FOR EACH STATEMENT EXECUTE FUNCTION refuse_change('the log is append-only');
CREATE TRIGGER log_tile_is_never_emptied BEFORE TRUNCATE ON log_tile
FOR EACH STATEMENT EXECUTE FUNCTION refuse_change('the log is append-only');
CREATE TRIGGER log_checkpoint_is_never_emptied BEFORE TRUNCATE ON log_checkpoint
FOR EACH STATEMENT EXECUTE FUNCTION refuse_change('the log is append-only');
CREATE TRIGGER log_archive_is_never_emptied BEFORE TRUNCATE ON log_archive
FOR EACH STATEMENT EXECUTE FUNCTION refuse_change('the log is append-only');
CREATE TRIGGER archived_answer_is_never_emptied BEFORE TRUNCATE ON archived_answer
FOR EACH STATEMENT EXECUTE FUNCTION refuse_change('answers are append-only');
CREATE TRIGGER change_is_never_emptied BEFORE TRUNCATE ON change
FOR EACH STATEMENT EXECUTE FUNCTION refuse_change('changes are append-only');
CREATE TRIGGER flag_version_is_never_emptied BEFORE TRUNCATE ON flag_version
FOR EACH STATEMENT EXECUTE FUNCTION refuse_change('versions are append-only');
CREATE TRIGGER import_part_is_never_emptied BEFORE TRUNCATE ON import_part
FOR EACH STATEMENT EXECUTE FUNCTION refuse_change('reports are append-only');

-- The search index over the access logs: derived data, which is written without waiting for the disk. Losing it loses
-- nothing, and no answer rests on it alone: what it points to is read from the log and looked at again.

-- One row for each segment (65,536 entries of a log, the first at a multiple of that) that is indexed.
CREATE TABLE search_segment (
    place   BIGINT NOT NULL PRIMARY KEY, -- log.number * 2^40 + index of the segment's first entry
    seal    BYTEA  NOT NULL,             -- hash over the log's last entry in it, the summary and all postings; if it does not fit, all of it is made anew
    summary BYTEA  NOT NULL              -- 32 bytes, a bit for each act that occurs; 1 byte, a bit for each verdict; then each party: length and text
);

-- Where in a segment the terms stand (a subject, a flag, an operator, a client); 256 rows a segment.
CREATE TABLE search_posting (
    place    BIGINT NOT NULL PRIMARY KEY, -- place of the segment + first byte of the terms
    postings BYTEA  NOT NULL              -- in order, each the term's 8 bytes and the entry's offset in the segment in 2, big-endian
);

-- What statistics count in the access logs: derived data too, but of what is archived it cannot be made again.

-- One row for each segment (65,536 entries of a log, the first at a multiple of that) that is counted.
CREATE TABLE tally (
    place     BIGINT NOT NULL PRIMARY KEY, -- log.number * 2^40 + index of the segment's first entry
    seal      BYTEA  NOT NULL,             -- hash over the root of the tree over the segment and the body; if it does not fit, the log is read
    first_day BIGINT NOT NULL,             -- days since 1970-01-01 in UTC+7: the first on which something was counted ...
    last_day  BIGINT NOT NULL,             -- ... and the last
    body      BYTEA  NOT NULL              -- JSON: the figures, by day, party, unit, category and verdict
);
