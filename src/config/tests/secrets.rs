//! Secrets: where they may come from, and that nothing shows them.

use secrecy::ExposeSecret;

use super::*;

#[test]
fn secrets_come_from_file_environment_or_a_file_of_their_own() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("token");
    std::fs::write(&path, format!("{SECRET}\n")).unwrap();
    let by_path = format!("auth.read_token_file = {:?}", path.display().to_string());
    let in_file = format!("auth.admin_token = {SECRET:?}\n{by_path}\n");
    let mut written = file(&in_file);
    written
        .environment
        .push(("COUNTERD_AUTH__WRITE_TOKEN", "from-the-environment"));
    let (config, warnings) = written.load().unwrap();
    let exposed = |tokens: &[secrecy::SecretString]| tokens[0].expose_secret().to_owned();
    assert_eq!(exposed(&config.auth.admin_token), SECRET);
    assert_eq!(exposed(&config.auth.read_token), SECRET);
    assert_eq!(exposed(&config.auth.write_token), "from-the-environment");
    let (value, source) = value_of(&config, "auth.read_token");
    assert_eq!(value, "(set)");
    assert!(source.to_string().ends_with("counterd.toml:2"), "{source}");
    let same = warnings
        .iter()
        .filter(|w| w.text.contains("is the admin token"));
    assert_eq!(same.count(), 1, "{warnings:?}");
}

#[test]
fn of_a_token_and_its_file_the_higher_layer_wins_and_one_layer_may_not_have_both() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("token");
    std::fs::write(&path, SECRET).unwrap();
    let path = path.display().to_string();

    let mut written = file("auth.admin_token = \"in-the-file-itself\"");
    written
        .environment
        .push(("COUNTERD_AUTH__ADMIN_TOKEN_FILE", &path));
    let (config, _) = written.load().unwrap();
    assert_eq!(config.auth.admin_token[0].expose_secret(), SECRET);

    let by_path = format!("auth.admin_token_file = {path:?}");
    let mut written = file(&by_path);
    written
        .environment
        .push(("COUNTERD_AUTH__ADMIN_TOKEN", "from-the-environment"));
    let (config, _) = written.load().unwrap();
    assert_eq!(
        config.auth.admin_token[0].expose_secret(),
        "from-the-environment"
    );

    let both = format!("{by_path}\nauth.admin_token = {SECRET:?}");
    assert_eq!(
        file(&both).mistakes(),
        "counterd.toml:1: auth.admin_token and auth.admin_token_file are both set; remove one"
    );
}

#[test]
fn no_mistake_about_a_secret_shows_it() {
    let dir = tempfile::tempdir().unwrap();
    let two_lines = dir.path().join("token");
    std::fs::write(&two_lines, format!("{SECRET}\n{SECRET}\u{e4}\n")).unwrap();
    let two_lines = two_lines.display().to_string();
    let spaced = format!("{SECRET} {SECRET}\u{e4}");
    let wrong_type = format!("auth.admin_token = [{SECRET:?}, 5]");
    let unknown = format!("auth.admin_tokn = {SECRET:?}");
    let wrong_form = format!("auth.admin_token = {spaced:?}");
    let wrong_section = format!("auth = {SECRET:?}");
    for written in [
        file(&wrong_type),
        file(&unknown),
        file(&wrong_form),
        file(&wrong_section),
        file("auth.admin_token = 5"),
        file("auth.admin_token = \"\""),
        environment("COUNTERD_AUTH__ADMIN_TOKEN", &spaced),
        environment("COUNTERD_AUTH__ADMIN_TOKEN", ""),
        environment("COUNTERD_AUTH__ADMIN_TOKN", SECRET),
        environment("COUNTERD_AUTH__ADMIN_TOKEN_FILE", &two_lines),
        environment("COUNTERD_AUTH__ADMIN_TOKEN_FILE", "/nowhere/token"),
        flag("--set auth.admin_token", "auth.admin_token", SECRET),
        flag("--set auth.admin_tokn", "auth.admin_tokn", SECRET),
    ] {
        let mistakes = written.mistakes();
        assert!(!mistakes.contains(SECRET), "{mistakes}");
    }
    assert_eq!(
        flag("--set auth.admin_token", "auth.admin_token", SECRET).mistakes(),
        "--set auth.admin_token: auth.admin_token is a secret, and flags show in the process list: \
         set COUNTERD_AUTH__ADMIN_TOKEN or auth.admin_token_file"
    );
    let refused = Override::from_set(SECRET).unwrap_err();
    assert!(!refused.contains(SECRET));
}

#[test]
fn neither_printing_nor_debugging_shows_a_secret() {
    let text = format!(
        "[auth]\nadmin_token = {SECRET:?}\nwrite_token = {SECRET:?}\nread_token = {SECRET:?}\n"
    );
    let (config, warnings) = file(&text).load().unwrap();
    let printed = config.to_string();
    assert_eq!(printed.matches("(set)").count(), 3, "{printed}");
    for shown in [printed, format!("{config:?}"), format!("{warnings:?}")] {
        assert!(!shown.contains(SECRET), "{shown}");
    }
}

#[test]
fn a_listener_beyond_the_loopback_needs_a_write_token() {
    let mut written = file("server.listen = \"0.0.0.0:8080\"");
    assert!(written.load().unwrap().0.open_to_the_network());
    written
        .environment
        .push(("COUNTERD_AUTH__WRITE_TOKEN", SECRET));
    assert!(!written.load().unwrap().0.open_to_the_network());
}

#[test]
fn a_role_may_have_several_tokens_so_that_they_can_be_rotated() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tokens");
    std::fs::write(&path, "the-old-read-token\nthe-new-read-token\n").unwrap();
    let text = format!(
        "[auth]\nadmin_token = [\"the-old-admin-token\", \"the-new-admin-token\"]\nread_token_file = {:?}\n",
        path.display().to_string()
    );
    let mut written = file(&text);
    written.environment.push((
        "COUNTERD_AUTH__WRITE_TOKEN",
        "the-old-write-token the-new-write-token",
    ));
    let (config, warnings) = written.load().unwrap();
    assert_eq!(warnings, []);
    for (key, tokens) in [
        ("admin", &config.auth.admin_token),
        ("write", &config.auth.write_token),
        ("read", &config.auth.read_token),
    ] {
        let exposed: Vec<&str> = tokens.iter().map(|token| token.expose_secret()).collect();
        assert_eq!(
            exposed,
            [
                format!("the-old-{key}-token"),
                format!("the-new-{key}-token")
            ]
        );
        assert_eq!(value_of(&config, &format!("auth.{key}_token")).0, "(2 set)");
    }
    // No token at all is not taken for "nobody needs one".
    for text in ["auth.write_token = []", "auth.write_token = \"\""] {
        assert!(
            file(text)
                .mistakes()
                .contains("auth.write_token: want strings")
        );
    }
}
