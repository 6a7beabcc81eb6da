//! Hides secrets in the texts of drivers and servers.

use std::cmp::Reverse;
use std::fmt::{self, Display};

use secrecy::{ExposeSecret, SecretString};

/// What stands in the place of a secret.
const MARK: &str = "(secret)";

/// A shorter secret may be a part of ordinary words: it is hidden only where it stands alone.
const SHORT: usize = 6;

/// Secrets that no text may show.
#[derive(Clone, Default)]
pub(crate) struct Secrets(Vec<SecretString>);

impl Secrets {
    /// Adds a secret; an empty one is none.
    pub(crate) fn add(&mut self, secret: impl Into<String>) {
        let secret = secret.into();
        if !secret.is_empty() {
            self.0.push(SecretString::from(secret));
            // The longest first: a shorter one may be a part of it.
            self.0
                .sort_by_key(|secret| Reverse(secret.expose_secret().len()));
        }
    }

    /// Returns the text without any of the secrets.
    pub(crate) fn hide(&self, text: &str) -> String {
        let hide = |text: String, secret: &SecretString| masked(&text, secret.expose_secret());
        self.0.iter().fold(text.to_owned(), hide)
    }
}

/// What a driver connects to, and the secrets of its URL. `Debug` shows nothing of it.
#[derive(Clone)]
pub struct SecretUrl<T> {
    pub(crate) target: T,
    pub(crate) secrets: Secrets,
}

impl<T> SecretUrl<T> {
    /// Returns the words of an error without any secret of the URL.
    pub(crate) fn told(&self, error: impl Display) -> String {
        self.secrets.hide(&error.to_string())
    }
}

impl<T> fmt::Debug for SecretUrl<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretUrl(hidden)")
    }
}

/// Puts the mark in each place of that secret. A short secret is hidden only where it stands alone: holes in
/// ordinary words would tell what it is.
fn masked(text: &str, secret: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(secret) {
        let (before, after) = (&rest[..at], &rest[at + secret.len()..]);
        let ends_a_word = before.ends_with(char::is_alphanumeric)
            || (before.is_empty() && out.ends_with(char::is_alphanumeric));
        let stands_alone = !ends_a_word && !after.starts_with(char::is_alphanumeric);
        out.push_str(before);
        out.push_str(if secret.len() >= SHORT || stands_alone {
            MARK
        } else {
            secret
        });
        rest = after;
    }
    out.push_str(rest);
    out
}

/// Says that a URL has a parameter that is not known. The parameter is named, unless it may be a part of a
/// password that was not written in percent encoding: an `@` comes after the `?`, a parameter is a password, or
/// the parameter has no value.
pub(crate) fn unknown_parameter(url: &str, name: &str) -> String {
    let after = url.split_once('?').map_or("", |(_, after)| after);
    let has_value = after.contains(&format!("{name}="));
    if after.contains('@') || after.contains("pass") || !has_value {
        "it has an unknown parameter after the `?`; a `?` or `&` of a password is written in percent encoding"
            .to_owned()
    } else {
        format!("its parameter {name} is not known to counterd: leave it out")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_hidden_and_ordinary_words_are_not_torn() {
        for (text, secret, want) in [
            ("user:hunter22@host", "hunter22", "user:(secret)@host"),
            ("xhunter22x hunter22", "hunter22", "x(secret)x (secret)"),
            (
                "password of p is 'p', p.",
                "p",
                "password of (secret) is '(secret)', (secret).",
            ),
            ("aaaa", "aa", "aaaa"),
            ("aa aa", "aa", "(secret) (secret)"),
            ("größe ß", "ß", "größe (secret)"),
        ] {
            let mut secrets = Secrets::default();
            secrets.add("");
            secrets.add(secret);
            assert_eq!(secrets.hide(text), want, "{text} {secret}");
        }
    }

    #[test]
    fn a_secret_within_another_does_not_save_the_rest_of_it() {
        let mut secrets = Secrets::default();
        secrets.add("hunter22");
        secrets.add("redis://u:hunter22@h");
        assert_eq!(secrets.hide("to redis://u:hunter22@h"), "to (secret)");
        assert_eq!(secrets.hide("as hunter22"), "as (secret)");
    }
}
