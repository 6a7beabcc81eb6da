//! What tests with random data have in common.

/// A generator of test data (splitmix64).
pub(in crate::http) struct Dice(pub(in crate::http) u64);

impl Dice {
    pub(in crate::http) fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % end
    }
}

fn from_environment(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap())
}

/// The seed of a test: printed first, replayed with COUNTERD_SEED.
pub(in crate::http) fn seed(test: &str) -> u64 {
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_micros() as u64;
    let seed = from_environment("COUNTERD_SEED", now);
    println!("{test}: COUNTERD_SEED={seed}");
    seed
}

/// Rounds asked for by script/soak, else those of an ordinary run.
pub(in crate::http) fn rounds(ordinary: u64) -> u64 {
    from_environment("COUNTERD_SOAK_ROUNDS", ordinary)
}
