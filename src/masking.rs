//! Words of others, drivers and servers, without the secrets that may stand in them.

/// A shorter secret stands in ordinary words too: it is hidden only where it stands alone.
const SHORT: usize = 6;

/// The text with `mark` in each place of that secret. One shorter than six bytes is hidden where it stands
/// alone: elsewhere the holes in ordinary words would tell what it is.
pub(crate) fn masked(text: &str, secret: &str, mark: &str) -> String {
    if secret.is_empty() {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(secret) {
        let (before, after) = (&rest[..at], &rest[at + secret.len()..]);
        let ends_a_word = before.ends_with(char::is_alphanumeric)
            || (before.is_empty() && out.ends_with(char::is_alphanumeric));
        let stands_alone = !ends_a_word && !after.starts_with(char::is_alphanumeric);
        out.push_str(before);
        out.push_str(if secret.len() >= SHORT || stands_alone {
            mark
        } else {
            secret
        });
        rest = after;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::masked;

    #[test]
    fn a_secret_is_hidden_and_ordinary_words_are_not_torn() {
        for (text, secret, want) in [
            ("user:hunter22@host", "hunter22", "user:***@host"),
            ("xhunter22x hunter22", "hunter22", "x***x ***"),
            (
                "password of p is 'p', p.",
                "p",
                "password of *** is '***', ***.",
            ),
            ("aaaa", "aa", "aaaa"),
            ("aa aa", "aa", "*** ***"),
            ("nothing", "", "nothing"),
            ("größe ß", "ß", "größe ***"),
        ] {
            assert_eq!(masked(text, secret, "***"), want, "{text} {secret}");
        }
    }
}
