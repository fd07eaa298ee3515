//! Tamperings with the database's file, without regard to what is in it.

use crate::Tampering;
use crate::specimen::Victim;
use crate::support::chance::Random;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;

const PAGE: u64 = 8_192;

pub const ALL: &[Tampering] = &[
    Tampering { name: "a bit of the file flipped", keeps_the_form: false, apply: flip_bit },
    Tampering { name: "some bytes of the file overwritten", keeps_the_form: false, apply: overwrite },
    Tampering { name: "a page zeroed", keeps_the_form: false, apply: zero_page },
    Tampering { name: "two pages swapped", keeps_the_form: false, apply: swap_pages },
    Tampering { name: "a page of the older file put back", keeps_the_form: false, apply: older_page },
    Tampering { name: "a page of another registry's file", keeps_the_form: false, apply: foreign_page },
    Tampering { name: "the file cut off", keeps_the_form: false, apply: cut_off },
    Tampering { name: "the older file put back", keeps_the_form: true, apply: older_file },
    Tampering { name: "another registry's file put there", keeps_the_form: true, apply: foreign_file },
];

fn length(file: &Path) -> u64 {
    fs::metadata(file).unwrap().len()
}

fn read_page(file: &Path, page: u64) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(PAGE).unwrap()];
    fs::File::open(file).unwrap().read_exact_at(&mut bytes, page * PAGE).unwrap();
    bytes
}

fn write(file: &Path, at: u64, bytes: &[u8]) {
    OpenOptions::new().write(true).open(file).unwrap().write_all_at(bytes, at).unwrap();
}

fn flip_bit(victim: &Victim<'_>, random: &mut Random) {
    let file = victim.database();
    let at = random.below(length(&file));
    let byte = fs::read(&file).unwrap()[usize::try_from(at).unwrap()];
    write(&file, at, &[byte ^ (1 << random.below(8))]);
}

fn overwrite(victim: &Victim<'_>, random: &mut Random) {
    let file = victim.database();
    let bytes: Vec<u8> = (0..=random.below(64)).map(|_| u8::try_from(random.below(256)).unwrap()).collect();
    write(&file, random.below(length(&file) - 64), &bytes);
}

fn zero_page(victim: &Victim<'_>, random: &mut Random) {
    let file = victim.database();
    let page = random.below(length(&file) / PAGE);
    write(&file, page * PAGE, &vec![0; usize::try_from(PAGE).unwrap()]);
}

fn swap_pages(victim: &Victim<'_>, random: &mut Random) {
    let file = victim.database();
    let pages = length(&file) / PAGE;
    let (one, other) = (random.below(pages), random.below(pages));
    let (of_one, of_other) = (read_page(&file, one), read_page(&file, other));
    write(&file, one * PAGE, &of_other);
    write(&file, other * PAGE, &of_one);
}

fn page_of(victim: &Victim<'_>, random: &mut Random, from: &Path) {
    let file = victim.database();
    let page = random.below(length(&file).min(length(from)) / PAGE);
    write(&file, page * PAGE, &read_page(from, page));
}

fn older_page(victim: &Victim<'_>, random: &mut Random) {
    page_of(victim, random, &victim.specimen.older());
}

fn foreign_page(victim: &Victim<'_>, random: &mut Random) {
    page_of(victim, random, &victim.specimen.foreign());
}

fn cut_off(victim: &Victim<'_>, random: &mut Random) {
    let file = victim.database();
    let at = random.below(length(&file));
    OpenOptions::new().write(true).open(&file).unwrap().set_len(at).unwrap();
}

fn older_file(victim: &Victim<'_>, _: &mut Random) {
    fs::copy(victim.specimen.older(), victim.database()).unwrap();
}

fn foreign_file(victim: &Victim<'_>, _: &mut Random) {
    fs::copy(victim.specimen.foreign(), victim.database()).unwrap();
}
