//! What counters say, one series for each that is shown. Whoever makes the page says which those are.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use super::table::{alone, put};

/// The values of counters on one page.
#[derive(Clone, Debug, Default)]
pub struct CounterValues {
    /// Name and value of each counter that is shown. Names that strangers may have chosen are as many as a limit allows:
    /// each is a series.
    pub shown: Vec<(String, i64)>,
    /// Live counters that are not shown.
    pub left_out: u64,
}

impl CounterValues {
    /// Makes the registry that writes them.
    pub(super) fn registry(self) -> Registry {
        let mut registry = Registry::with_prefix("counterd");
        registry.register_collector(Box::new(self));
        registry
    }
}

impl Collector for CounterValues {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let encoder = &mut encoder;
        let help = "Values of the counters of the configuration, and of up to metrics.max_counters others.";
        let series = self.shown.iter();
        let series =
            series.map(|(name, value)| ([("counter", name.as_str())], ConstGauge::new(*value)));
        put(encoder, ("counter_value", None, help), series)?;
        let help = "Live counters whose values are not on this page.";
        let left_out = alone(Some(ConstGauge::new(self.left_out)));
        put(encoder, ("values_left_out", None, help), left_out)
    }
}
