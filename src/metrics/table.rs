//! Structs of metrics as tables: each metric is a row with its type, name, unit and help. A handle of it is
//! kept in the field and another in the registry, so that nobody looks a metric up to tell something.

use std::fmt;

use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::TypedMetric;
use prometheus_client::registry::{Metric, Registry, Unit};

/// The name, unit and help of a metric.
type Described<'a> = (&'a str, Option<Unit>, &'a str);

/// Registers a metric and returns a handle of it.
pub(super) fn registered<M: Metric + Clone>(
    registry: &mut Registry,
    (name, unit, help): Described<'_>,
    metric: M,
) -> M {
    match unit {
        Some(unit) => registry.register_with_unit(name, help, unit, metric.clone()),
        None => registry.register(name, help, metric.clone()),
    }
    metric
}

/// Writes values that are read when the page is made, each with its labels; without any, the metric is left out.
pub(super) fn put<L: EncodeLabelSet, M: EncodeMetric + TypedMetric>(
    encoder: &mut DescriptorEncoder,
    (name, unit, help): Described<'_>,
    series: impl IntoIterator<Item = (L, M)>,
) -> fmt::Result {
    let mut series = series.into_iter().peekable();
    if series.peek().is_none() {
        return Ok(());
    }
    let mut family = encoder.encode_descriptor(name, help, unit.as_ref(), M::TYPE)?;
    series.try_for_each(|(labels, metric)| metric.encode(family.encode_family(&labels)?))
}

/// Returns the series of a metric without labels; none without a value.
pub(super) fn alone<M>(metric: Option<M>) -> Option<([(&'static str, &'static str); 0], M)> {
    metric.map(|metric| ([], metric))
}

/// Makes a struct of metrics. A row is `field: Type = "name" in Unit, "help";`. What is made otherwise
/// than by default follows `from`; what registers itself stands in `beside`, with the function that does.
macro_rules! metrics {
    (
        $(#[$doc:meta])*
        $table:ident {
            $(
                $vis:vis $field:ident: $type:ty =
                    $name:literal $(in $unit:ident)? $(from $start:expr)?, $help:literal;
            )+
        }
        $( beside {
            $( $(#[$other_doc:meta])* $other_vis:vis $other:ident: $other_type:ty = $make:path; )+
        } )?
    ) => {
        $(#[$doc])*
        #[derive(Clone, Debug)]
        pub struct $table {
            $( #[doc = $help] $vis $field: $type, )+
            $( $( $(#[$other_doc])* $other_vis $other: $other_type, )+ )?
        }

        impl $table {
            pub(super) fn register(registry: &mut Registry) -> Self {
                Self {
                    $( $field: registered(
                        registry,
                        ($name, metrics!(@unit $($unit)?), $help),
                        metrics!(@start $type $(, $start)?),
                    ), )+
                    $( $( $other: $make(registry), )+ )?
                }
            }
        }
    };
    (@unit) => { None };
    (@unit $unit:ident) => { Some(prometheus_client::registry::Unit::$unit) };
    (@start $type:ty) => { <$type>::default() };
    (@start $type:ty, $start:expr) => { $start };
}

pub(super) use metrics;
