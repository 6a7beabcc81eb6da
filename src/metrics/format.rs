//! The two forms of the page, and which of them a reader wants.

/// A form in which the page is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageFormat {
    /// OpenMetrics text 1.0.0.
    OpenMetrics,
    /// The older text format 0.0.4 of Prometheus. It has neither units nor the type `info`.
    Text,
}

/// How much a reader likes what a range of its header names, in thousandths.
type Quality = u16;

/// The quality of a range that says none.
const WHOLE: Quality = 1000;

impl PageFormat {
    /// Returns the format that a reader with these `Accept` headers likes better. A reader that likes both alike, says
    /// nothing, or takes neither gets OpenMetrics.
    ///
    /// The rules are those of RFC 9110, section 12.5.1: the most specific range that fits a type decides its quality,
    /// and a type that no range fits has none. Parameters other than `q`, such as `version`, are not compared: there is
    /// one version of each format.
    #[must_use]
    pub fn wanted<'a>(accept: impl IntoIterator<Item = &'a str>) -> Self {
        let ranges: Vec<_> = accept
            .into_iter()
            .flat_map(|header| header.split(','))
            .filter_map(range)
            .collect();
        let liked = |format: Self| {
            let (kind, subtype) = format.media_type();
            let fits = ranges.iter().filter_map(|(of_kind, of_subtype, quality)| {
                let specific = match (of_kind.as_str(), of_subtype.as_str()) {
                    ("*", "*") => 0,
                    (of_kind, "*") if of_kind == kind => 1,
                    (of_kind, of_subtype) if of_kind == kind && of_subtype == subtype => 2,
                    _ => return None,
                };
                Some((specific, *quality))
            });
            // Of several ranges of one type, such as one for each version, the best counts.
            fits.max().map_or(0, |(_, quality)| quality)
        };
        if liked(Self::Text) > liked(Self::OpenMetrics) {
            Self::Text
        } else {
            Self::OpenMetrics
        }
    }

    /// Returns what the header `Content-Type` says of it.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }

    fn media_type(self) -> (&'static str, &'static str) {
        match self {
            Self::OpenMetrics => ("application", "openmetrics-text"),
            Self::Text => ("text", "plain"),
        }
    }
}

/// Returns a range of the header: kind, subtype, quality; `None` for one that cannot be read.
fn range(text: &str) -> Option<(String, String, Quality)> {
    let mut parts = text.split(';').map(str::trim);
    let (kind, subtype) = parts.next()?.split_once('/')?;
    let mut quality = WHOLE;
    for parameter in parts {
        let Some((name, value)) = parameter.split_once('=') else {
            continue;
        };
        if name.trim_end().eq_ignore_ascii_case("q") {
            quality = thousandths(value.trim_start())?;
        }
    }
    let (kind, subtype) = (kind.to_ascii_lowercase(), subtype.to_ascii_lowercase());
    Some((kind, subtype, quality))
}

/// Reads a quality: `0` to `1` with up to three digits after the point.
fn thousandths(text: &str) -> Option<Quality> {
    let (whole, digits) = text.split_once('.').unwrap_or((text, ""));
    if !matches!(whole, "0" | "1")
        || digits.len() > 3
        || !digits.bytes().all(|b| b.is_ascii_digit())
    {
        return None;
    }
    let quality = format!("{whole}{digits:0<3}").parse().ok()?;
    (quality <= WHOLE).then_some(quality)
}

#[cfg(test)]
mod tests {
    use super::PageFormat::{self, OpenMetrics, Text};

    /// What Prometheus 2.42 and 3 send, and Telegraf.
    const PROMETHEUS_2: &str = "application/openmetrics-text;version=1.0.0,\
        application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
    const PROMETHEUS_3: &str = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
        application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,\
        text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
    const PROMETHEUS_3_TEXT: &str = "text/plain;version=0.0.4;q=0.6,*/*;q=0.2";
    const TELEGRAF: &str = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;\
        encoding=delimited;q=0.7,text/plain;version=0.0.4;q=0.3";

    #[test]
    fn a_reader_gets_the_format_it_likes_best() {
        for (accept, wanted) in [
            ("", OpenMetrics),
            ("*/*", OpenMetrics),
            ("text/html", OpenMetrics),
            ("application/json", OpenMetrics),
            (PROMETHEUS_2, OpenMetrics),
            (PROMETHEUS_3, OpenMetrics),
            ("application/openmetrics-text, text/plain", OpenMetrics),
            (
                "application/openmetrics-text;q=0.5, text/plain;q=0.5",
                OpenMetrics,
            ),
            ("text/plain;q=0.1, application/*;q=0.2", OpenMetrics),
            (PROMETHEUS_3_TEXT, Text),
            (TELEGRAF, Text),
            ("text/plain", Text),
            ("Text/Plain; version=0.0.4", Text),
            ("text/plain;version=0.0.4,*/*;q=0.1", Text),
            ("text/*", Text),
            ("text/plain;q=0.7,application/openmetrics-text;q=0.1", Text),
            (
                "text/plain;Q=0.7, application/openmetrics-text; q=0.699",
                Text,
            ),
            ("application/openmetrics-text;q=0, */*;q=0.1", Text),
            // The most specific range decides, wherever it stands and whatever the others say.
            ("*/*, text/plain;q=0.1", OpenMetrics),
            ("*/*;q=0.9, application/openmetrics-text;q=0.2", Text),
            ("text/*;q=0.1, text/plain;q=0.9, */*;q=0.5", Text),
            // Ranges that cannot be read say nothing.
            ("text/plain;q=2", OpenMetrics),
            ("text/plain;q=0.1234", OpenMetrics),
            ("text/plain;q=-1, ;;;, /, text", OpenMetrics),
            ("application/openmetrics-text;q=x, text/plain;q=0.001", Text),
        ] {
            assert_eq!(PageFormat::wanted([accept]), wanted, "{accept}");
        }
        // Several headers are one list.
        assert_eq!(PageFormat::wanted(["text/html", "text/plain"]), Text);
        assert_eq!(PageFormat::wanted([]), OpenMetrics);
    }
}
