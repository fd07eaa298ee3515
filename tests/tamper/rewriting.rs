//! Tamperings by somebody who knows the forms: the entries are written anew, and with them batches, tiles and checkpoints, so
//! that everything fits. What remains is the key, and what was kept elsewhere.

use crate::Tampering;
use crate::specimen::Victim;
use crate::support::chance::Random;
use crate::tree::{self, Key};
use canhbao::domain::{FlagId, Timestamp, Verdict};
use canhbao::log::{Act, Entry, FlagVersion, entries_of};
use rusqlite::Connection;

pub const ALL: &[Tampering] = &[
    Tampering { name: "rewritten, nothing signed anew", keeps_the_form: true, apply: rewrite_without_key },
    Tampering { name: "rewritten, signed by another key", keeps_the_form: true, apply: rewrite_by_another_key },
    Tampering {
        name: "rewritten, signed by a key that it announces",
        keeps_the_form: true,
        apply: announce_another_key,
    },
    Tampering { name: "rewritten, signed by the log's own key", keeps_the_form: true, apply: rewrite_by_the_true_key },
    Tampering { name: "rewritten before its end, signed by the own key", keeps_the_form: true, apply: shorten },
];

/// A log with its entries apart.
struct Rewriting {
    database: Connection,
    /// Place and number of entries of each batch.
    batches: Vec<(i64, usize)>,
    entries: Vec<Vec<u8>>,
}

impl Rewriting {
    fn of(victim: &Victim<'_>) -> Self {
        let database = victim.open();
        let (mut batches, mut entries) = (Vec::new(), Vec::new());
        let mut statement = database.prepare("SELECT place, entries FROM log_batch ORDER BY place").unwrap();
        let mut rows = statement.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            let bundle: Vec<u8> = row.get(1).unwrap();
            let of_batch: Vec<Vec<u8>> = entries_of(&bundle).map(|entry| entry.unwrap().to_vec()).collect();
            batches.push((row.get(0).unwrap(), of_batch.len()));
            entries.extend(of_batch);
        }
        drop(rows);
        drop(statement);
        Self { database, batches, entries }
    }

    fn pick(&self, random: &mut Random) -> usize {
        // The first entry tells the log's key.
        1 + usize::try_from(random.below(u64::try_from(self.entries.len() - 1).unwrap())).unwrap()
    }

    /// One lie: another answer, another bank, an entry gone, one too many, two in another order.
    fn lie(&mut self, random: &mut Random) {
        let index = self.pick(random);
        match random.below(6) {
            0 => drop(self.entries.remove(index)),
            1 => self.entries.insert(index, self.entries[index].clone()),
            2 => {
                let other = (index..self.entries.len()).chain(1..index);
                let other = other.into_iter().find(|other| self.entries[*other] != self.entries[index]).unwrap();
                self.entries.swap(index, other);
            }
            _ => self.entries[index] = changed(&self.entries[index], random),
        }
    }

    /// Writes everything anew. Each checkpoint for which there is a key gets a note on the tree as it is now.
    fn write(self, key: Option<&Key>) {
        let Self { database, batches, entries } = self;
        let transaction = database.unchecked_transaction().unwrap();
        let (mut rest, mut latest, mut first) = (&entries[..], 0, 0_i64);
        transaction.execute("DELETE FROM log_batch", []).unwrap();
        for (number, (_, size)) in batches.iter().enumerate() {
            let is_last = number + 1 == batches.len();
            let (batch, after) = rest.split_at(if is_last { rest.len() } else { (*size).min(rest.len()) });
            rest = after;
            if batch.is_empty() {
                continue;
            }
            let at_min = batch.iter().map(|entry| at(entry)).min().unwrap();
            latest = batch.iter().map(|entry| at(entry)).max().unwrap().max(latest);
            let length = |entry: &[u8]| u16::try_from(entry.len()).unwrap().to_be_bytes();
            let bundle: Vec<u8> = batch.iter().flat_map(|entry| [&length(entry)[..], entry].concat()).collect();
            let sql = "INSERT INTO log_batch (place, size, at_min, at_max, entries) VALUES (?1, ?2, ?3, ?4, ?5)";
            let size = i64::try_from(batch.len()).unwrap();
            transaction.execute(sql, (first, size, at_min, latest, bundle)).unwrap();
            first += size;
        }
        let leaves: Vec<tree::Hash> = entries.iter().map(|entry| tree::leaf(entry)).collect();
        transaction.execute("DELETE FROM log_tile", []).unwrap();
        for row in tree::tiles(&leaves) {
            transaction.execute("INSERT INTO log_tile (place, root, hashes) VALUES (?1, ?2, ?3)", row).unwrap();
        }
        if let Some(key) = key {
            sign_all(&transaction, &leaves, key);
        }
        transaction.commit().unwrap();
    }
}

/// A note on each size at which there was one, and on the end.
fn sign_all(database: &Connection, leaves: &[tree::Hash], key: &Key) {
    let mut statement = database.prepare("SELECT place FROM log_checkpoint ORDER BY place").unwrap();
    let places = statement.query_map([], |row| row.get::<_, i64>(0)).unwrap();
    let mut sizes: Vec<usize> = places.map(|place| usize::try_from(place.unwrap()).unwrap()).collect();
    sizes.retain(|size| *size < leaves.len());
    sizes.push(leaves.len());
    database.execute("DELETE FROM log_checkpoint", []).unwrap();
    for size in sizes {
        let note = key.checkpoint(size, &tree::root(&leaves[..size]));
        let size = i64::try_from(size).unwrap();
        database.execute("INSERT INTO log_checkpoint (place, at, note) VALUES (?1, 1, ?2)", (size, note)).unwrap();
    }
}

fn at(entry: &[u8]) -> i64 {
    i64::from_be_bytes(entry[2..10].try_into().unwrap())
}

/// The entry with another verdict, digest, time, bank or flag, in its right form.
fn changed(bytes: &[u8], random: &mut Random) -> Vec<u8> {
    let mut entry = Entry::decode(bytes).unwrap();
    match random.below(4) {
        0 => {
            let other = if entry.verdict == Some(Verdict::Clear) { Verdict::Block } else { Verdict::Clear };
            entry.verdict = Some(other);
            entry.answer_digest = Some(tree::leaf(&random.next().to_be_bytes()));
            for subject in &mut entry.subjects {
                subject.verdict = Some(other);
                subject.flags.clear();
            }
        }
        1 => entry.at = Timestamp::from_ms(entry.at.as_ms() - 1),
        2 => entry.operator = Some("nobody".to_owned()),
        _ => match entry.subjects.first_mut() {
            Some(subject) => subject.flags.push(FlagVersion { id: FlagId::from_bytes([7; 16]), version: 1 }),
            None => entry.count += 1,
        },
    }
    encoded(&entry)
}

fn encoded(entry: &Entry) -> Vec<u8> {
    let mut bundle = Vec::new();
    entry.encode(&mut bundle).unwrap();
    bundle[2..].to_vec()
}

fn rewrite_without_key(victim: &Victim<'_>, random: &mut Random) {
    let mut rewriting = Rewriting::of(victim);
    rewriting.lie(random);
    rewriting.write(None);
}

/// The key entries stay as they were, so that they tell the true keys.
fn rewrite_by_another_key(victim: &Victim<'_>, random: &mut Random) {
    let mut rewriting = Rewriting::of(victim);
    rewriting.lie(random);
    rewriting.write(Some(&Key::from_seed(&victim.specimen.origin, 7)));
}

/// Every key entry tells the attacker's key, or one more is put in.
fn announce_another_key(victim: &Victim<'_>, random: &mut Random) {
    let key = Key::from_seed(&victim.specimen.origin, 7);
    let mut rewriting = Rewriting::of(victim);
    rewriting.lie(random);
    let announced = |bytes: &[u8]| {
        let mut entry = Entry::decode(bytes).unwrap();
        let is_key = entry.act == Act::LogKey;
        entry.reference = Some(key.text());
        is_key.then(|| encoded(&entry))
    };
    if random.below(2) == 0 {
        for entry in &mut rewriting.entries {
            *entry = announced(entry).unwrap_or_else(|| entry.clone());
        }
    } else {
        let place = rewriting.pick(random);
        let mut forged = Entry::decode(&rewriting.entries[0]).unwrap();
        forged.at = Timestamp::from_ms(u64::try_from(at(&rewriting.entries[place])).unwrap());
        forged.reference = Some(key.text());
        rewriting.entries.insert(place, encoded(&forged));
    }
    rewriting.write(Some(&key));
}

fn rewrite_by_the_true_key(victim: &Victim<'_>, random: &mut Random) {
    let mut rewriting = Rewriting::of(victim);
    rewriting.lie(random);
    rewriting.write(Some(&victim.specimen.true_key()));
}

/// The log ends earlier, and says so in good order.
fn shorten(victim: &Victim<'_>, random: &mut Random) {
    let mut rewriting = Rewriting::of(victim);
    let size = rewriting.pick(random);
    rewriting.entries.truncate(size);
    rewriting.write(Some(&victim.specimen.true_key()));
}
