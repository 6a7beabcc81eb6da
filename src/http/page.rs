//! The page for people: its files, which are in the binary, and the head with which browsers hold it to what it
//! needs.
//!
//! Kept out: what the page shows. It asks the API for that, like every other client.

use std::io::Write as _;
use std::sync::OnceLock;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE,
    REFERRER_POLICY, VARY, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::call::{Answered, Asked, Call};
use super::error::{Code, Problem};
use super::mark::mark;
use super::reply::ReplyBody;
use super::wire::Reply;

/// What the page may do in a browser: load its own files and call its own server. No script or style within HTML, no
/// frame, no form that is sent by the browser, and no text of a counter that becomes HTML.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
    manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
    require-trusted-types-for 'script'; trusted-types 'none'";

/// What the page does not use of a browser.
const UNUSED: &str = "camera=(), geolocation=(), microphone=(), payment=(), usb=()";

const PERMISSIONS_POLICY: HeaderName = HeaderName::from_static("permissions-policy");

/// A file of the page.
struct File {
    name: &'static str,
    content_type: &'static str,
    bytes: &'static [u8],
}

/// Makes the table of files: each with its type, in the folder `page/`.
macro_rules! files {
    ($($name:literal $content_type:ident,)+) => {
        const FILES: &[File] = &[$(File {
            name: $name,
            content_type: $content_type,
            bytes: include_bytes!(concat!("../../page/", $name)),
        }),+];
    };
}

const HTML: &str = "text/html; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const IMAGE: &str = "image/svg+xml";
const TEXT: &str = "text/plain; charset=utf-8";

files! {
    "index.html" HTML,
    "style.css" STYLE,
    "icon.svg" IMAGE,
    "api.js" SCRIPT,
    "app.js" SCRIPT,
    "banner.js" SCRIPT,
    "card.js" SCRIPT,
    "chart.js" SCRIPT,
    "counters.js" SCRIPT,
    "days.js" SCRIPT,
    "deeds.js" SCRIPT,
    "dom.js" SCRIPT,
    "find.js" SCRIPT,
    "live.js" SCRIPT,
    "now.js" SCRIPT,
    "past.js" SCRIPT,
    "state.js" SCRIPT,
    "time.js" SCRIPT,
    "words.js" SCRIPT,
    "uPlot.iife.min.js" SCRIPT,
    "uPlot.min.css" STYLE,
    "uPlot.LICENSE.txt" TEXT,
}

/// The page, with its files compressed: each once, when it is first asked for.
#[derive(Debug, Default)]
pub struct PageFiles {
    /// In the order of [`FILES`]; empty where compressing failed, which writing to memory does not.
    compressed: [OnceLock<Bytes>; FILES.len()],
}

impl PageFiles {
    fn compressed(&self, place: usize, file: &File) -> Option<Bytes> {
        let made = self.compressed.get(place)?.get_or_init(|| {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
            let written = encoder.write_all(file.bytes);
            let made = written.and_then(|()| encoder.finish());
            made.map_or_else(|_| Bytes::new(), Bytes::from)
        });
        (!made.is_empty()).then(|| made.clone())
    }
}

/// `GET /`
pub(super) async fn page(call: &Call, asked: &Asked<'_>) -> Answered {
    send(call, asked, "index.html")
}

/// `GET /page/{name}`
pub(super) async fn file(call: &Call, asked: &Asked<'_>) -> Answered {
    send(call, asked, asked.name)
}

fn send(call: &Call, asked: &Asked<'_>, name: &str) -> Answered {
    let page = call.worker.options.page.as_deref();
    let place = FILES.iter().position(|file| file.name == name);
    let found = page.and_then(|page| place.and_then(|at| Some((page, at, FILES.get(at)?))));
    let (page, place, file) = found.ok_or_else(|| {
        let detail = "there is no such file of the page, or `server.page` is off";
        Problem::new(Code::NotFound, detail)
    })?;
    let mut response = Reply::new(&call.request_id, 64).finish(HeaderMap::new());
    let compressed = takes_gzip(asked.headers)
        .then(|| page.compressed(place, file))
        .flatten();
    if compressed.is_some() {
        let gzip = HeaderValue::from_static("gzip");
        response.headers_mut().insert(CONTENT_ENCODING, gzip);
    }
    let bytes = compressed.unwrap_or(Bytes::from_static(file.bytes));
    *response.body_mut() = ReplyBody::Whole(bytes);
    let headers = response.headers_mut();
    for (name, text) in [
        (CONTENT_TYPE, file.content_type),
        (CACHE_CONTROL, "no-cache"),
        (CONTENT_SECURITY_POLICY, POLICY),
        (REFERRER_POLICY, "no-referrer"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (PERMISSIONS_POLICY, UNUSED),
        (VARY, "Accept-Encoding"),
    ] {
        headers.insert(name, HeaderValue::from_static(text));
    }
    mark(&mut response, file.bytes, asked.headers);
    Ok(response)
}

/// Whether the client takes `gzip`, as all browsers do.
fn takes_gzip(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(ACCEPT_ENCODING).iter();
    let mut codings = lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','));
    codings.any(|coding| {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, "q=1"));
        let weight = weight.trim().trim_start_matches("q=");
        name.trim().eq_ignore_ascii_case("gzip")
            && weight.parse().is_ok_and(|weight: f32| weight > 0.0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a browser loads at most, in bytes.
    const MOST: usize = 150_000;

    #[test]
    fn the_page_is_small() {
        let page = PageFiles::default();
        let sizes = FILES.iter().enumerate();
        let sizes = sizes.map(|(place, file)| page.compressed(place, file).unwrap().len());
        let bytes: usize = sizes.sum();
        println!("{bytes} bytes in {} files", FILES.len());
        assert!(bytes < MOST, "{bytes}");
    }

    #[test]
    fn gzip_is_for_those_who_take_it() {
        for (line, takes) in [
            ("gzip, deflate, br", true),
            ("br;q=1.0, GZIP;q=0.5", true),
            ("gzip;q=0", false),
            ("identity", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(line));
            assert_eq!(takes_gzip(&headers), takes, "{line}");
        }
    }

    #[test]
    fn the_policy_has_nothing_unsafe_and_nobody_else_in_it() {
        for word in ["unsafe", "http:", "https:", "data:", "blob:", "*"] {
            assert!(!POLICY.contains(word), "{word}");
        }
    }

    #[test]
    fn the_page_names_no_other_server() {
        // Except in text that nobody loads: a licence, a name space, a comment of the library.
        for file in FILES.iter().filter(|file| !file.name.starts_with("uPlot")) {
            let text = std::str::from_utf8(file.bytes).unwrap();
            let text = text.replace("http://www.w3.org/2000/svg", "");
            let text = text.replace("://${location.host}", "");
            assert!(!text.contains("://"), "{}", file.name);
        }
    }

    #[test]
    fn each_file_of_the_folder_is_served() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("page");
        let mut there: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        let mut served: Vec<String> = FILES.iter().map(|file| file.name.to_owned()).collect();
        there.sort();
        served.sort();
        assert_eq!(there, served);
    }
}
