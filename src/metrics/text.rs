//! The page in the older text format 0.0.4, for readers that do not know OpenMetrics.

/// The content type of [`to_text`]'s page.
pub const TEXT_CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Rewrites a page of OpenMetrics: in the older format a counter's family has the name of its series,
/// and there are no units, no `info`, no end mark and no exemplars.
#[must_use]
pub fn to_text(open_metrics: &str) -> String {
    let mut out = String::with_capacity(open_metrics.len());
    // The help comes before the type, which decides the family's name.
    let mut help = "";
    for line in open_metrics.lines() {
        if let Some(text) = line.strip_prefix("# HELP ") {
            help = text.split_once(' ').map_or("", |(_, help)| help);
        } else if let Some(family) = line.strip_prefix("# TYPE ") {
            let (name, kind) = family.split_once(' ').unwrap_or((family, "unknown"));
            let (suffix, kind) = match kind {
                "counter" => ("_total", "counter"),
                "info" => ("_info", "gauge"),
                "unknown" => ("", "untyped"),
                other => ("", other),
            };
            out.push_str(&format!(
                "# HELP {name}{suffix} {help}\n# TYPE {name}{suffix} {kind}\n"
            ));
        } else if !line.starts_with('#') {
            let sample = line.split_once(" # ").map_or(line, |(sample, _)| sample);
            out.push_str(sample);
            out.push('\n');
        }
    }
    out
}

/// Returns whether a reader with this `Accept` header wants the older format: it names it, and does not like
/// OpenMetrics as much.
#[must_use]
pub fn wants_text(accept: &str) -> bool {
    let (mut text, mut open) = (0.0, 0.0);
    for range in accept.split(',') {
        let mut parts = range.split(';').map(str::trim);
        let kind = parts.next().unwrap_or("").to_ascii_lowercase();
        let quality = parts.find_map(|part| part.strip_prefix("q=")?.parse().ok());
        let quality: f64 = quality.unwrap_or(1.0);
        match kind.as_str() {
            "text/plain" => text = f64::max(text, quality),
            "application/openmetrics-text" => open = f64::max(open, quality),
            _ => {}
        }
    }
    text > open
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_take_their_names_and_types_of_the_older_format() {
        let open = "# HELP c_ups Ups and downs.\n# TYPE c_ups counter\nc_ups_total{a=\"b\"} 3\n\
                    # HELP c_build The program.\n# TYPE c_build info\nc_build_info{v=\"1\"} 1\n\
                    # HELP c_s How long.\n# TYPE c_s histogram\n# UNIT c_s seconds\n\
                    c_s_bucket{le=\"+Inf\"} 2 # {id=\"x\"} 0.5\nc_s_sum 0.5\n# EOF\n";
        let text = to_text(open);
        let want = "# HELP c_ups_total Ups and downs.\n# TYPE c_ups_total counter\nc_ups_total{a=\"b\"} 3\n\
                    # HELP c_build_info The program.\n# TYPE c_build_info gauge\nc_build_info{v=\"1\"} 1\n\
                    # HELP c_s How long.\n# TYPE c_s histogram\n\
                    c_s_bucket{le=\"+Inf\"} 2\nc_s_sum 0.5\n";
        assert_eq!(text, want);
    }

    #[test]
    fn a_reader_gets_the_format_it_likes_best() {
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.6,\
                          application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=0.0.4;q=0.4,*/*;q=0.3";
        for open in [
            "",
            "*/*",
            "text/html",
            prometheus,
            "application/openmetrics-text, text/plain",
        ] {
            assert!(!wants_text(open), "{open}");
        }
        let telegraf = "text/plain;version=0.0.4;q=0.7,application/openmetrics-text;q=0.1";
        for text in [
            "text/plain",
            "Text/Plain; version=0.0.4",
            "text/plain;version=0.0.4,*/*;q=0.1",
            telegraf,
        ] {
            assert!(wants_text(text), "{text}");
        }
    }
}
