//! What flags are found by beside their columns: the words of their texts, and the parts of their numbers.

use crate::domain::Flag;
use crate::domain::folding::{grams, numbers};
use crate::store::sqlite::SqliteConnection;
use crate::store::{Connection, StoreError, Value};
use sha2::{Digest, Sha256};
use std::collections::HashSet;

/// Words that are known to be in the table; a longer list starts anew.
const WORDS_KNOWN_MAX: usize = 65_536;

/// What a version can be found by.
pub(super) struct Text {
    words: String,
    grams: String,
}

impl Text {
    pub(super) fn of(flag: &Flag) -> Self {
        let mut all = String::new();
        for number in [&flag.subject].into_iter().chain(&flag.linked).flat_map(numbers) {
            for gram in grams(&number) {
                all.push_str(gram);
                all.push(' ');
            }
        }
        Self { words: flag.searched_text(), grams: all }
    }

    pub(super) fn hash(&self) -> i64 {
        let digest: [u8; 32] =
            Sha256::new().chain_update(&self.words).chain_update("\n").chain_update(&self.grams).finalize().into();
        let [a, b, c, d, e, f, g, h, ..] = digest;
        i64::from_be_bytes([a, b, c, d, e, f, g, h])
    }
}

/// Puts texts into their indexes.
#[derive(Default)]
pub(super) struct Texts {
    /// Words that need not be stored again.
    known: HashSet<String>,
}

impl Texts {
    /// Texts with their rows in `flag_text` and `flag_number`, after all else of a page: these two gather in memory what they are
    /// given, and write it out when a row comes that precedes the last, or a statement of several writes.
    pub(super) fn put(
        &mut self,
        connection: &mut SqliteConnection,
        mut texts: Vec<(i64, Text)>,
    ) -> Result<(), StoreError> {
        texts.sort_unstable_by_key(|(row, _)| *row);
        for (_, text) in &texts {
            self.put_words(connection, &text.words)?;
        }
        for (row, Text { words, grams }) in &texts {
            let row = Value::Int(*row);
            connection.execute("INSERT INTO flag_text (rowid, words) VALUES ($1, $2)", &[row, Value::Text(words)])?;
            connection.execute("INSERT INTO flag_number (rowid, grams) VALUES ($1, $2)", &[row, Value::Text(grams)])?;
        }
        Ok(())
    }

    fn put_words(&mut self, connection: &mut SqliteConnection, text: &str) -> Result<(), StoreError> {
        for word in text.split(' ').filter(|word| !word.is_empty()) {
            if self.known.contains(word) {
                continue;
            }
            connection
                .execute("INSERT INTO word (text) VALUES ($1) ON CONFLICT (text) DO NOTHING", &[Value::Text(word)])?;
            if self.known.len() >= WORDS_KNOWN_MAX {
                self.known.clear();
            }
            self.known.insert(word.to_owned());
        }
        Ok(())
    }
}
