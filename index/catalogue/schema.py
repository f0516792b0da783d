"""The tables of a catalogue."""

__all__ = ["SCHEMA", "TOKENIZER"]

TOKENIZER = "porter unicode61 remove_diacritics 2"
"""How FTS5 tells words apart: accents do not count, and what a word ends with does not, in English."""

SCHEMA = f"""
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE patients (n INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE cases (
    n       INTEGER PRIMARY KEY AUTOINCREMENT, -- never used again, so that nothing old can be taken for something new
    id      TEXT NOT NULL UNIQUE,
    patient INTEGER NOT NULL REFERENCES patients (n),
    labels  TEXT NOT NULL,    -- JSON object: label set -> class
    facts   TEXT NOT NULL,    -- JSON object: field -> values, for filters
    content TEXT NOT NULL,    -- hash of what the case was made from
    digest  BLOB NOT NULL     -- of everything that is stored of the case
) STRICT;
CREATE INDEX cases_by_patient ON cases (patient);
CREATE TABLE documents (n INTEGER PRIMARY KEY REFERENCES cases (n), document TEXT NOT NULL) STRICT;
CREATE TABLE views (
    row    INTEGER PRIMARY KEY AUTOINCREMENT,
    n      INTEGER NOT NULL REFERENCES cases (n),
    kind   TEXT NOT NULL,
    number INTEGER NOT NULL,
    labels TEXT,              -- JSON object: the labels that hold for this view; NULL where they are the case's
    vector BLOB NOT NULL      -- d little-endian float32
) STRICT;
CREATE INDEX views_by_case ON views (n);
CREATE TABLE thumbnails (
    n      INTEGER NOT NULL REFERENCES cases (n),
    number INTEGER NOT NULL,
    jpeg   BLOB NOT NULL,
    PRIMARY KEY (n, number)
) STRICT;
CREATE TABLE dead (seq INTEGER PRIMARY KEY AUTOINCREMENT, row INTEGER NOT NULL) STRICT; -- rows that segments still hold
CREATE TABLE segments (name TEXT PRIMARY KEY, manifest TEXT NOT NULL) STRICT;
CREATE VIRTUAL TABLE words USING fts5 (text, tokenize = '{TOKENIZER}');
INSERT INTO meta VALUES
    ('generation', '0'), ('cases', '0'), ('base', '0'), ('digest', '0'), ('stale_words', '0'), ('fields', '{{}}');
"""
