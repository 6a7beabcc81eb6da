//! Known bugs, planted to show that the tests catch them: `script/mutants` builds with the feature
//! `mutants` and chooses one by `COUNTERD_MUTANT`. Without the feature nothing of it is left.

/// Returns whether this bug is planted.
#[inline(always)]
pub(crate) fn bug(name: &str) -> bool {
    cfg!(feature = "mutants") && chosen() == Some(name)
}

/// Ends the process at once, as a kill would, if this end is chosen.
#[inline(always)]
pub(crate) fn ends_here(name: &str) {
    if bug(name) {
        std::process::abort();
    }
}

fn chosen() -> Option<&'static str> {
    static CHOSEN: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    CHOSEN
        .get_or_init(|| std::env::var("COUNTERD_MUTANT").ok())
        .as_deref()
}
