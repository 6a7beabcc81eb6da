//! Alerts, as they are shown, and silences of them.

use super::{AlertsShown, Engine, Failure, Silence, SilenceFault, SilenceWanted};

impl Engine {
    /// Returns how the alerts stand.
    pub fn alerts(&self) -> AlertsShown {
        self.alerts.shown(self.now())
    }

    /// Returns a number that changes whenever an alert turns.
    pub fn alerts_version(&self) -> u64 {
        self.alerts.version()
    }

    /// Silences counters until an instant, and blocks until that is stored: for threads without a runtime.
    ///
    /// # Errors
    /// `Ok(Err)` when it is no silence, `Err` when it could not be stored.
    pub fn silence(&self, wanted: SilenceWanted) -> Result<Result<Silence, SilenceFault>, Failure> {
        self.alerts.silence(&self.running, wanted, self.now())
    }
}
