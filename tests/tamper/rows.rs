//! Tamperings with the rows of the log's tables, one here and one there.

use crate::Tampering;
use crate::specimen::Victim;
use crate::support::chance::Random;
use crate::tree::Key;
use rusqlite::Connection;

pub const ALL: &[Tampering] = &[
    Tampering { name: "a bit of an entry flipped", keeps_the_form: true, apply: flip_bit_of_entries },
    Tampering { name: "a number of a batch changed", keeps_the_form: true, apply: change_number_of_batch },
    Tampering { name: "a batch deleted", keeps_the_form: true, apply: delete_batch },
    Tampering { name: "the last batches deleted", keeps_the_form: true, apply: delete_last_batches },
    Tampering { name: "two batches swapped", keeps_the_form: true, apply: swap_batches },
    Tampering { name: "a batch replaced by another one", keeps_the_form: true, apply: repeat_batch },
    Tampering { name: "a batch replaced by one of another log", keeps_the_form: true, apply: foreign_batch },
    Tampering { name: "the entries of a batch cut off", keeps_the_form: true, apply: cut_off_entries },
    Tampering { name: "a bit of a checkpoint flipped", keeps_the_form: true, apply: flip_bit_of_checkpoint },
    Tampering { name: "a checkpoint deleted", keeps_the_form: true, apply: delete_checkpoint },
    Tampering { name: "all checkpoints deleted", keeps_the_form: true, apply: delete_all_checkpoints },
    Tampering { name: "two checkpoints swapped", keeps_the_form: true, apply: swap_checkpoints },
    Tampering { name: "a checkpoint moved", keeps_the_form: true, apply: move_checkpoint },
    Tampering { name: "a checkpoint of another log", keeps_the_form: true, apply: foreign_checkpoint },
    Tampering { name: "a checkpoint signed by another key", keeps_the_form: true, apply: sign_by_another_key },
    Tampering { name: "another root signed by the log's key", keeps_the_form: true, apply: sign_another_root },
    Tampering { name: "a checkpoint of a size never reached", keeps_the_form: true, apply: sign_another_size },
    Tampering { name: "a bit of a tile flipped", keeps_the_form: true, apply: flip_bit_of_tile },
    Tampering { name: "a tile deleted", keeps_the_form: true, apply: delete_tile },
    Tampering { name: "two tiles swapped", keeps_the_form: true, apply: swap_tiles },
    Tampering { name: "a tile moved", keeps_the_form: true, apply: move_tile },
    Tampering { name: "a tile too many", keeps_the_form: true, apply: repeat_tile },
    Tampering { name: "the log renamed", keeps_the_form: true, apply: rename_log },
    Tampering { name: "the log renumbered", keeps_the_form: true, apply: renumber_log },
    Tampering { name: "all put back as it was once", keeps_the_form: true, apply: roll_back },
];

fn places(database: &Connection, table: &str) -> Vec<i64> {
    let mut statement = database.prepare(&format!("SELECT place FROM {table} ORDER BY place")).unwrap();
    let places = statement.query_map([], |row| row.get(0)).unwrap();
    places.map(Result::unwrap).collect()
}

fn pick<T: Copy>(all: &[T], random: &mut Random) -> T {
    all[usize::try_from(random.below(u64::try_from(all.len()).unwrap())).unwrap()]
}

/// Two of them, which differ.
fn pick_two(all: &[i64], random: &mut Random) -> (i64, i64) {
    let one = pick(all, random);
    let others: Vec<i64> = all.iter().copied().filter(|other| *other != one).collect();
    (one, pick(&others, random))
}

fn flip(bytes: &mut [u8], random: &mut Random) {
    let at = random.below(u64::try_from(bytes.len()).unwrap());
    bytes[usize::try_from(at).unwrap()] ^= 1 << random.below(8);
}

fn entries_at(database: &Connection, place: i64) -> Vec<u8> {
    database.query_row("SELECT entries FROM log_batch WHERE place = ?1", [place], |row| row.get(0)).unwrap()
}

fn put_entries(database: &Connection, place: i64, entries: &[u8]) {
    database.execute("UPDATE log_batch SET entries = ?2 WHERE place = ?1", (place, entries)).unwrap();
}

fn flip_bit_of_entries(victim: &Victim<'_>, random: &mut Random) {
    let database = victim.open();
    let place = pick(&places(&database, "log_batch"), random);
    let mut entries = entries_at(&database, place);
    flip(&mut entries, random);
    put_entries(&database, place, &entries);
}

fn change_number_of_batch(victim: &Victim<'_>, random: &mut Random) {
    let database = victim.open();
    let column = pick(&["place", "size", "at_min", "at_max"], random);
    // From the last on, where a smaller or larger place is free.
    let place = *places(&database, "log_batch").last().unwrap();
    let by = pick(&[-1_i64, 1, 1 << 39], random);
    database
        .execute(&format!("UPDATE OR REPLACE log_batch SET {column} = {column} + ?2 WHERE place = ?1"), (place, by))
        .unwrap();
}

fn delete_batch(victim: &Victim<'_>, random: &mut Random) {
    let database = victim.open();
    let place = pick(&places(&database, "log_batch"), random);
    database.execute("DELETE FROM log_batch WHERE place = ?1", [place]).unwrap();
}

fn delete_last_batches(victim: &Victim<'_>, random: &mut Random) {
    let database = victim.open();
    let place = pick(&places(&database, "log_batch"), random);
    database.execute("DELETE FROM log_batch WHERE place >= ?1", [place]).unwrap();
}

/// Puts what two rows hold in each other's place.
fn swap(database: &Connection, table: &str, one: i64, other: i64) {
    for (from, to) in [(one, -1), (other, one), (-1, other)] {
        database.execute(&format!("UPDATE {table} SET place = ?2 WHERE place = ?1"), (from, to)).unwrap();
    }
}

fn swap_batches(victim: &Victim<'_>, random: &mut Random) {
    let database = victim.open();
    let (one, other) = pick_two(&places(&database, "log_batch"), random);
    swap(&database, "log_batch", one, other);
}

fn repeat_batch(victim: &Victim<'_>, random: &mut Random) {
    let database = victim.open();
    let (one, other) = pick_two(&places(&database, "log_batch"), random);
    let sql = "UPDATE log_batch SET (size, at_min, at_max, entries) = \
               (SELECT size, at_min, at_max, entries FROM log_batch WHERE place = ?2) WHERE place = ?1";
    database.execute(sql, (one, other)).unwrap();
}

/// The other registry's database beside this one.
fn attach_foreign(database: &Connection, victim: &Victim<'_>) {
    let foreign = victim.specimen.foreign();
    database.execute("ATTACH ?1 AS other", [foreign.to_str().unwrap()]).unwrap();
}

fn foreign_batch(victim: &Victim<'_>, random: &mut Random) {
    let database = victim.open();
    attach_foreign(&database, victim);
    let (place, other) =
        (pick(&places(&database, "log_batch"), random), pick(&places(&database, "other.log_batch"), random));
    let sql = "UPDATE main.log_batch SET (size, at_min, at_max, entries) = \
               (SELECT size, at_min, at_max, entries FROM other.log_batch WHERE place = ?2) WHERE place = ?1";
    database.execute(sql, (place, other)).unwrap();
}

fn cut_off_entries(victim: &Victim<'_>, random: &mut Random) {
    let database = victim.open();
    let place = pick(&places(&database, "log_batch"), random);
    let mut entries = entries_at(&database, place);
    let length = random.below(u64::try_from(entries.len()).unwrap());
    entries.truncate(usize::try_from(length).unwrap());
    put_entries(&database, place, &entries);
}

fn note_at(database: &Connection, place: i64) -> String {
    database.query_row("SELECT note FROM log_checkpoint WHERE place = ?1", [place], |row| row.get(0)).unwrap()
}

fn put_note(database: &Connection, place: i64, note: &str) {
    database.execute("UPDATE log_checkpoint SET note = ?2 WHERE place = ?1", (place, note)).unwrap();
}

/// One that is text again, as the column wants it.
fn flip_bit_of_checkpoint(victim: &Victim<'_>, random: &mut Random) {
    let database = victim.open();
    let place = pick(&places(&database, "log_checkpoint"), random);
    let note = note_at(&database, place);
    let flipped = loop {
        let mut bytes = note.clone().into_bytes();
        flip(&mut bytes, random);
        if let Ok(text) = String::from_utf8(bytes) {
            break text;
        }
    };
    put_note(&database, place, &flipped);
}

fn delete_checkpoint(victim: &Victim<'_>, random: &mut Random) {
    let database = victim.open();
    let place = pick(&places(&database, "log_checkpoint"), random);
    database.execute("DELETE FROM log_checkpoint WHERE place = ?1", [place]).unwrap();
}

fn delete_all_checkpoints(victim: &Victim<'_>, _: &mut Random) {
    victim.open().execute("DELETE FROM log_checkpoint", []).unwrap();
}

fn swap_checkpoints(victim: &Victim<'_>, random: &mut Random) {
    let database = victim.open();
    let (one, other) = pick_two(&places(&database, "log_checkpoint"), random);
    swap(&database, "log_checkpoint", one, other);
}

fn move_checkpoint(victim: &Victim<'_>, random: &mut Random) {
    let database = victim.open();
    let all = places(&database, "log_checkpoint");
    let place = pick(&all, random);
    let free = (1..).map(|by| place - by).find(|to| !all.contains(to)).unwrap();
    database.execute("UPDATE log_checkpoint SET place = ?2 WHERE place = ?1", (place, free)).unwrap();
}

fn foreign_checkpoint(victim: &Victim<'_>, random: &mut Random) {
    let database = victim.open();
    attach_foreign(&database, victim);
    let place = pick(&places(&database, "other.log_checkpoint"), random);
    let sql = "INSERT OR REPLACE INTO main.log_checkpoint SELECT * FROM other.log_checkpoint WHERE place = ?1";
    database.execute(sql, [place]).unwrap();
}

/// The root that a note tells.
fn root_in(note: &str) -> [u8; 32] {
    let root = note.lines().nth(2).unwrap();
    base64::Engine::decode(&base64::engine::general_purpose::STANDARD, root).unwrap().try_into().unwrap()
}

fn sign_by_another_key(victim: &Victim<'_>, random: &mut Random) {
    let database = victim.open();
    let place = pick(&places(&database, "log_checkpoint"), random);
    let key = Key::from_seed(&victim.specimen.origin, 7);
    put_note(&database, place, &key.checkpoint(usize::try_from(place).unwrap(), &root_in(&note_at(&database, place))));
}

fn sign_another_root(victim: &Victim<'_>, random: &mut Random) {
    let database = victim.open();
    let place = pick(&places(&database, "log_checkpoint"), random);
    let mut root = root_in(&note_at(&database, place));
    flip(&mut root, random);
    put_note(&database, place, &victim.specimen.true_key().checkpoint(usize::try_from(place).unwrap(), &root));
}

fn sign_another_size(victim: &Victim<'_>, random: &mut Random) {
    let database = victim.open();
    let place = *places(&database, "log_checkpoint").last().unwrap();
    let beyond = place + 1 + i64::try_from(random.below(1_000)).unwrap();
    let note = victim.specimen.true_key().checkpoint(usize::try_from(beyond).unwrap(), &[7; 32]);
    database.execute("INSERT INTO log_checkpoint (place, at, note) VALUES (?1, 1, ?2)", (beyond, note)).unwrap();
}

fn flip_bit_of_tile(victim: &Victim<'_>, random: &mut Random) {
    let database = victim.open();
    let place = pick(&places(&database, "log_tile"), random);
    let column = pick(&["root", "hashes"], random);
    let sql = format!("SELECT {column} FROM log_tile WHERE place = ?1");
    let mut bytes: Vec<u8> = database.query_row(&sql, [place], |row| row.get(0)).unwrap();
    flip(&mut bytes, random);
    database.execute(&format!("UPDATE log_tile SET {column} = ?2 WHERE place = ?1"), (place, bytes)).unwrap();
}

fn delete_tile(victim: &Victim<'_>, random: &mut Random) {
    let database = victim.open();
    let place = pick(&places(&database, "log_tile"), random);
    database.execute("DELETE FROM log_tile WHERE place = ?1", [place]).unwrap();
}

fn swap_tiles(victim: &Victim<'_>, random: &mut Random) {
    let database = victim.open();
    let (one, other) = pick_two(&places(&database, "log_tile"), random);
    swap(&database, "log_tile", one, other);
}

fn move_tile(victim: &Victim<'_>, random: &mut Random) {
    let database = victim.open();
    let place = pick(&places(&database, "log_tile"), random);
    let by = 1 + i64::try_from(random.below(255)).unwrap();
    database.execute("UPDATE OR REPLACE log_tile SET place = place + ?2 WHERE place = ?1", (place, by)).unwrap();
}

fn repeat_tile(victim: &Victim<'_>, random: &mut Random) {
    let database = victim.open();
    let place = pick(&places(&database, "log_tile"), random);
    let to = place + pick(&[1_i64, 2, 100, 1 << 20], random);
    let sql =
        "INSERT OR REPLACE INTO log_tile (place, root, hashes) SELECT ?2, root, hashes FROM log_tile WHERE place = ?1";
    database.execute(sql, (place, to)).unwrap();
}

fn rename_log(victim: &Victim<'_>, _: &mut Random) {
    victim.open().execute("UPDATE log SET node = 'other'", []).unwrap();
}

fn renumber_log(victim: &Victim<'_>, _: &mut Random) {
    victim.open().execute("UPDATE log SET number = number + 1", []).unwrap();
}

/// A state that the log was in, with all that belonged to it.
fn roll_back(victim: &Victim<'_>, random: &mut Random) {
    let database = victim.open();
    let sizes = places(&database, "log_checkpoint");
    let size = pick(&sizes[..sizes.len() - 1], random);
    database.execute("DELETE FROM log_batch WHERE place >= ?1", [size]).unwrap();
    database.execute("DELETE FROM log_checkpoint WHERE place > ?1", [size]).unwrap();
    database.execute("DELETE FROM log_tile WHERE place - place % 256 + 256 > ?1", [size]).unwrap();
}
