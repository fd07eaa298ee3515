-- The search index over the access logs: derived data in a file of its own, beside the database. Losing it loses nothing,
-- and no answer rests on it alone: what it points to is read from the log and looked at again. The thread that builds it
-- is its only writer; the log's writer never waits for it.

-- One row for each segment (65,536 entries of a log, the first at a multiple of that) that is indexed.
CREATE TABLE search_segment (
    place       INTEGER NOT NULL PRIMARY KEY, -- log.number * 2^40 + index of the segment's first entry
    seal        BLOB    NOT NULL, -- hash over the log's last entry in it, the summary and all postings; if it does not fit, all of it is made anew
    summary     BLOB    NOT NULL  -- 32 bytes, a bit for each act that occurs; 1 byte, a bit for each verdict; then each party: length and text
) STRICT;

-- Where in a segment the terms stand (a subject, a flag, an operator, a client); 256 rows a segment.
CREATE TABLE search_posting (
    place       INTEGER NOT NULL PRIMARY KEY, -- place of the segment + first byte of the terms
    postings    BLOB    NOT NULL  -- in order, each the term's 8 bytes and the entry's offset in the segment in 2, big-endian
) STRICT;

-- What statistics count: one row for each segment that is counted. Of what is archived it cannot be made again.
CREATE TABLE tally (
    place       INTEGER NOT NULL PRIMARY KEY, -- log.number * 2^40 + index of the segment's first entry
    seal        BLOB    NOT NULL, -- hash over the root of the tree over the segment and the body; if it does not fit, the log is read
    first_day   INTEGER NOT NULL, -- days since 1970-01-01 in UTC+7: the first on which something was counted ...
    last_day    INTEGER NOT NULL, -- ... and the last
    body        BLOB    NOT NULL  -- JSON: the figures, by day, party, unit, category and verdict
) STRICT;
