-- The officers' view of the flags (register.sqlite3): derived from flag_version, each node its own, made anew when it is lost.
-- It finds flags; what is shown of them is read from flag_version. Times and ids as in schema.sql. Places count the flags in the
-- order in which they were raised (by change, then by id), so that they are the same at every node and after every making.

-- The one row that says of which registry this is, and how far it has come.
CREATE TABLE covered (
    id          INTEGER NOT NULL PRIMARY KEY CHECK (id = 1), -- always 1
    registry    TEXT    NOT NULL, -- name of the registry
    created_at  INTEGER NOT NULL, -- when the registry was made
    change      INTEGER NOT NULL, -- all changes up to this number are in
    change_node TEXT    NOT NULL, -- the entry of that change, which tells whether the registry still has it: log ...
    change_index INTEGER NOT NULL, -- ... and index
    part_change INTEGER NOT NULL, -- of the next change that is partly in the number; 0: of none
    part_flag   BLOB    NOT NULL  -- and its last flag that is in; empty: none
) STRICT;

-- Each flag in its newest version. What most searches compare comes first, so that it is read fast.
CREATE TABLE flag (
    place       INTEGER NOT NULL PRIMARY KEY, -- 1, 2, 3 ... in the order of raising
    state       TEXT    NOT NULL, -- proposed, active, rejected or lifted
    verdict     TEXT    NOT NULL, -- warn, hold or block
    category    TEXT    NOT NULL, -- of the scheme
    unit        TEXT    NOT NULL, -- the police unit that answers for it
    coordinated INTEGER NOT NULL, -- 1: flag_coordinating has rows of it
    kind        TEXT    NOT NULL, -- of its own subject
    institution TEXT    NOT NULL, -- its own subject's BIN or provider; empty: of no institution
    source      TEXT    NOT NULL, -- where it comes from: police, bank_report, ministry or citizen
    expires_at  INTEGER,          -- an active flag answers nothing from here on; NULL: not yet known
    raised_at   INTEGER NOT NULL, -- when it was raised
    changed_at  INTEGER NOT NULL, -- when its newest version was made
    reviewed_at INTEGER NOT NULL, -- when somebody last raised, approved, renewed, amended or merged it
    first_at    INTEGER NOT NULL, -- when the earliest change was made that wrote a version of it
    version_at  INTEGER NOT NULL, -- when the change was made that wrote its newest version
    alone       INTEGER NOT NULL, -- 1: it answers, or has answered, and nobody has approved it
    officer     TEXT    NOT NULL, -- who answers for it
    case_key    TEXT    NOT NULL, -- its case, folded: without diacritics, lower case, words only
    lacks       INTEGER NOT NULL, -- 0: nothing, 1: a legal basis, 2: a case that has a word, 3: both
    id          BLOB    NOT NULL, -- id of the flag
    version     INTEGER NOT NULL, -- the newest
    change      INTEGER NOT NULL, -- number of the change that wrote it
    content     INTEGER NOT NULL  -- hash of what flag_text and flag_number hold of it
) STRICT;

-- From an id to a place.
CREATE UNIQUE INDEX flag_by_id ON flag (id);

-- For conditions that few flags meet.
CREATE INDEX flag_by_state ON flag (state, place, reviewed_at, expires_at);
CREATE INDEX flag_by_unit ON flag (unit, state, expires_at, reviewed_at, raised_at, lacks, category);
CREATE INDEX flag_by_officer ON flag (officer);
CREATE INDEX flag_by_case ON flag (case_key);
CREATE INDEX flag_by_raising ON flag (raised_at);
CREATE INDEX flag_by_changing ON flag (changed_at);
CREATE INDEX flag_by_end ON flag (expires_at) WHERE expires_at IS NOT NULL;

-- The subjects that a flag names or ever named.
CREATE TABLE flag_subject (
    subject     TEXT    NOT NULL, -- canonical text
    place       INTEGER NOT NULL, -- of the flag
    role        TEXT    NOT NULL, -- own, linked, or unlinked: no more
    PRIMARY KEY (subject, place)
) STRICT, WITHOUT ROWID;

-- Subjects that are the own ones of several flags, whatever has become of these.
CREATE TABLE crowd (
    subject     TEXT    NOT NULL PRIMARY KEY, -- canonical text
    place       INTEGER NOT NULL  -- of the first of them
) STRICT, WITHOUT ROWID;

-- The units that see a flag beside its owner.
CREATE TABLE flag_coordinating (
    unit        TEXT    NOT NULL, -- the police unit
    place       INTEGER NOT NULL, -- of the flag
    PRIMARY KEY (unit, place)
) STRICT, WITHOUT ROWID;

-- From a flag to the units and to the linked subjects.
CREATE INDEX flag_coordinating_by_flag ON flag_coordinating (place);
CREATE INDEX flag_subject_linked ON flag_subject (place) WHERE role <> 'own';

-- The words that occur in flag_text, for beginnings of words.
CREATE TABLE word (
    text        TEXT    NOT NULL PRIMARY KEY -- folded
) STRICT, WITHOUT ROWID;

-- Words of reasons and cases, folded; rowid is place * 2^20 + version. Older versions stay, so that a hit is a candidate only.
CREATE VIRTUAL TABLE flag_text USING fts5 (words, content = '', detail = none, columnsize = 0, tokenize = 'ascii');

-- All parts of four characters of the numbers of a flag's subjects; rowid as in flag_text.
CREATE VIRTUAL TABLE flag_number USING fts5 (grams, content = '', detail = none, columnsize = 0, tokenize = 'ascii');

-- Many small parts of an index are put together later, and not each time a few are there.
INSERT INTO flag_text (flag_text, rank) VALUES ('automerge', 8);
INSERT INTO flag_number (flag_number, rank) VALUES ('automerge', 8);
INSERT INTO flag_text (flag_text, rank) VALUES ('hashsize', 8388608);
INSERT INTO flag_number (flag_number, rank) VALUES ('hashsize', 8388608);
