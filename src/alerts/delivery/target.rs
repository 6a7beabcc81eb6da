//! The URL of a receiver, parsed once.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use percent_encoding::percent_decode_str;
use secrecy::{ExposeSecret as _, SecretString};
use url::{Host, Url};

use crate::masking::{SecretUrl, Secrets};

/// A shorter part of a path is no secret, and may be a part of ordinary words.
const SHORTEST_SEGMENT: usize = 6;

fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// Where a receiver is, with what its URL gives away.
pub type AlertUrl = SecretUrl<Target>;

/// Where a request goes.
#[derive(Clone, PartialEq, Eq)]
pub struct Target {
    /// Whether the connection is by TLS.
    pub tls: bool,
    /// The host: a name or an address without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The host as the header of that name has it.
    pub authority: HeaderValue,
    /// The path, with the query.
    pub path: String,
    /// User and password, as the header `Authorization` has them.
    pub authorization: Option<HeaderValue>,
}

impl AlertUrl {
    /// Parses a URL. `path` is added to it, where it is not there already.
    ///
    /// # Errors
    /// Why it cannot be used, without anything of it.
    pub fn parse(text: &str, path: &str) -> Result<Self, String> {
        let wanted = "want http://HOST:PORT/PATH or https://HOST:PORT/PATH";
        let mut url = Url::parse(text).map_err(|error| format!("{error}; {wanted}"))?;
        let tls = match url.scheme() {
            "http" => false,
            "https" => true,
            _ => return Err(wanted.to_owned()),
        };
        if url.fragment().is_some() {
            return Err("it has a part after a `#`, which is not sent".to_owned());
        }
        let mut secrets = Secrets::default();
        secrets.add(text);
        let own_path = url.path().strip_suffix(path).unwrap_or_else(|| url.path());
        // Receivers such as chat rooms have their secret in the path or the query.
        for segment in own_path.split('/') {
            if segment.len() >= SHORTEST_SEGMENT {
                secrets.add(segment);
                secrets.add(decoded(segment));
            }
        }
        for (_, value) in url.query_pairs() {
            secrets.add(value);
        }
        for pair in url.query().into_iter().flat_map(|query| query.split('&')) {
            secrets.add(pair.split_once('=').map_or(pair, |(_, value)| value));
        }
        for part in [url.username(), url.password().unwrap_or_default()] {
            secrets.add(part);
            secrets.add(decoded(part));
        }
        if !path.is_empty() && !url.path().ends_with(path) {
            let whole = format!("{}{path}", url.path().trim_end_matches('/'));
            url.set_path(&whole);
        }
        let host = match url.host() {
            Some(Host::Domain(name)) => name.to_owned(),
            Some(Host::Ipv4(address)) => address.to_string(),
            Some(Host::Ipv6(address)) => address.to_string(),
            None => return Err(wanted.to_owned()),
        };
        let port = url.port_or_known_default().unwrap_or(80);
        let shown_host = url.host_str().unwrap_or_default();
        let authority = match url.port() {
            Some(port) => format!("{shown_host}:{port}"),
            None => shown_host.to_owned(),
        };
        secrets.add(url.as_str());
        let whole_path = match url.query() {
            Some(query) => format!("{}?{query}", url.path()),
            None => url.path().to_owned(),
        };
        if whole_path.len() > 1 {
            secrets.add(whole_path.as_str());
        }
        let header = |text: String| HeaderValue::try_from(text).map_err(|_| wanted.to_owned());
        let authorization = match (url.username(), url.password()) {
            ("", None) => None,
            (user, password) => {
                let bytes = |text: &str| percent_decode_str(text).collect::<Vec<u8>>();
                let pair = [
                    bytes(user),
                    b":".to_vec(),
                    bytes(password.unwrap_or_default()),
                ];
                let pair = STANDARD.encode(pair.concat());
                secrets.add(pair.as_str());
                let mut value = header(format!("Basic {pair}"))?;
                value.set_sensitive(true);
                Some(value)
            }
        };
        let target = Target {
            tls,
            host,
            port,
            authority: header(authority)?,
            path: whole_path,
            authorization,
        };
        Ok(Self { target, secrets })
    }

    /// Hides a secret that what is sent there is signed with, too.
    pub fn hiding(mut self, secret: Option<&SecretString>) -> Self {
        self.secrets
            .add(secret.map_or("", |secret| secret.expose_secret()));
        self
    }

    /// Returns where it is, for people: nothing of its path or its user.
    pub fn place(&self) -> String {
        let Target { host, port, .. } = &self.target;
        format!("{host}:{port}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str, path: &str) -> Target {
        AlertUrl::parse(text, path).unwrap().target
    }

    #[test]
    fn a_url_is_taken_apart() {
        let plain = parsed("http://[::1]:9093/x?y=1", "");
        assert_eq!(
            (
                plain.tls,
                plain.host.as_str(),
                plain.port,
                plain.path.as_str()
            ),
            (false, "::1", 9093, "/x?y=1")
        );
        assert_eq!(plain.authority, "[::1]:9093");
        let tls = parsed("https://ann:a%20b@alerts.example", "");
        assert_eq!((tls.tls, tls.port, tls.path.as_str()), (true, 443, "/"));
        assert_eq!(tls.authorization.unwrap(), "Basic YW5uOmEgYg==");
        for text in [
            "http://h:9093",
            "http://h:9093/",
            "http://h:9093/api/v2/alerts",
        ] {
            assert_eq!(parsed(text, "/api/v2/alerts").path, "/api/v2/alerts");
        }
        let below = parsed("http://h/am/", "/api/v2/alerts");
        assert_eq!(below.path, "/am/api/v2/alerts");
    }

    #[test]
    fn what_is_no_receiver_is_refused_without_showing_it() {
        for bad in [
            "",
            "hooks.example",
            "ftp://h/geheim",
            "http://h/geheim#x",
            "http://:80/geheim",
        ] {
            let error = AlertUrl::parse(bad, "").err().unwrap();
            assert!(!error.contains("geheim"), "{error}");
        }
        let url = AlertUrl::parse("https://h/services/geheim", "").unwrap();
        assert_eq!(
            url.told("no answer of /services/geheim"),
            "no answer of (secret)"
        );
        let url = AlertUrl::parse("https://ann:a%20word@h/T0/geheim%21?k=v%31&abc", "").unwrap();
        let url = url.hiding(Some(&SecretString::from("the-key")));
        for part in [
            "geheim%21",
            "geheim!",
            "v%31",
            "v1",
            "abc",
            "ann",
            "a%20word",
            "a word",
            "YW5uOmEgd29yZA==",
            "the-key",
        ] {
            let said = format!("no \"{part}\" here");
            assert_eq!(url.told(said), "no \"(secret)\" here", "{part}");
        }
        let url = AlertUrl::parse("https://h/services/geheim", "").unwrap();
        assert_eq!(url.place(), "h:443");
        assert!(!format!("{url:?}").contains("geheim"));
    }
}
