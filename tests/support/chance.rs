//! Seeded chance, and how much of a long test runs. What failed by chance must be possible to run again.

use super::now;
use std::time::Duration;

/// `few`, or `whole` where `CANHBAO_TESTS=whole` asks for all of a test that takes long.
pub fn amount(few: u64, whole: u64) -> u64 {
    match std::env::var("CANHBAO_TESTS").as_deref() {
        Ok("whole") => whole,
        Ok(other) => panic!("CANHBAO_TESTS={other} is not known"),
        Err(_) => few,
    }
}

/// SplitMix64. The seed is printed, and `CANHBAO_SEED` sets it, so that what failed can be run again.
pub struct Random(u64);

impl Random {
    pub fn seeded() -> Self {
        let given = std::env::var("CANHBAO_SEED").ok().map(|seed| seed.parse().expect("CANHBAO_SEED is a number"));
        let seed = given.unwrap_or_else(|| now().as_ms());
        println!("CANHBAO_SEED={seed}");
        Self(seed)
    }

    /// Another sequence that follows from this one.
    pub fn fork(&mut self) -> Self {
        Self(self.next())
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    pub async fn pause_ms(&mut self, min: u64, max: u64) {
        tokio::time::sleep(Duration::from_millis(min + self.below(max - min))).await;
    }
}
