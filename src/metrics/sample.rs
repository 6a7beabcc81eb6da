//! One value on the page that is read when the page is made.

use std::fmt;

use prometheus_client::encoding::{DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

/// The labels of a metric that has none.
pub(super) type NoLabels = [(&'static str, &'static str); 0];

/// Writes a value that goes up and down. Its name, unit and help stand before it.
pub(super) fn gauge(
    encoder: &mut DescriptorEncoder,
    (name, unit, help): (&str, Option<Unit>, &str),
    value: impl EncodeGaugeValue,
) -> fmt::Result {
    encoder
        .encode_descriptor(name, help, unit.as_ref(), MetricType::Gauge)?
        .encode_gauge(&value)
}

/// Writes a value that only goes up. Its name, unit and help stand before it.
pub(super) fn counter<V: EncodeCounterValue>(
    encoder: &mut DescriptorEncoder,
    (name, unit, help): (&str, Option<Unit>, &str),
    value: V,
) -> fmt::Result {
    encoder
        .encode_descriptor(name, help, unit.as_ref(), MetricType::Counter)?
        .encode_counter::<NoLabels, V, f64>(&value, None)
}
