//! The help of every command reads well at whatever width: no word stands alone on a line, and an option
//! means one thing wherever it is found.

use std::collections::BTreeMap;

use clap::CommandFactory as _;
use counterd::cli::Cli;

/// Every command with its name.
fn commands() -> Vec<clap::Command> {
    let mut cli = Cli::command().term_width(100);
    cli.build();
    let commands: Vec<_> = cli.get_subcommands().cloned().collect();
    assert!(commands.len() > 10);
    commands
}

#[test]
fn prose_wraps_by_itself() {
    for command in commands() {
        let after = command.get_after_help().map(ToString::to_string);
        for paragraph in after.unwrap_or_default().split("\n\n") {
            if paragraph.starts_with("Example") {
                continue;
            }
            for line in paragraph.lines() {
                assert!(
                    line.ends_with('.'),
                    "{}: a line is broken by hand: {line}",
                    command.get_name()
                );
            }
        }
    }
}

#[test]
fn no_word_stands_alone() {
    for mut command in commands() {
        for text in [command.render_help(), command.render_long_help()] {
            let text = text.to_string();
            let alone = |line: &&str| {
                let word = line.trim_start();
                !word.is_empty()
                    && line.len() > word.len() + 8
                    && !word.contains(' ')
                    && !word.starts_with('-')
            };
            let found: Vec<_> = text.lines().filter(alone).collect();
            assert!(found.is_empty(), "{}: {found:?}", command.get_name());
        }
    }
}

#[test]
fn an_option_takes_the_same_everywhere() {
    let mut takes = BTreeMap::new();
    for command in commands() {
        for option in command.get_opts().filter(|option| !option.is_hide_set()) {
            let names = option.get_value_names().unwrap_or_default();
            let names: Vec<String> = names.iter().map(ToString::to_string).collect();
            let Some(long) = option.get_long() else {
                continue;
            };
            // What is moved from and to is no day and no target of an export.
            if command.get_name() == "migrate" && ["from", "to"].contains(&long) {
                continue;
            }
            let known = takes
                .entry(long.to_owned())
                .or_insert_with(|| names.clone());
            assert_eq!(*known, names, "--{long} of {}", command.get_name());
        }
    }
}
