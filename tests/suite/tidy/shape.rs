//! The shape of the modules: how high each stands, no circle among those of one folder, no name for two
//! public types.
//!
//! A module that names its parent or its children makes no circle: those stand above and below it.

use std::collections::{BTreeMap, BTreeSet};

use super::{File, read, repository};

/// Circles that may be: the folder, and the modules that go round.
const PERMITTED: &[(&str, &[&str])] = &[
    // One struct, whose methods stand in files by what they are about.
    (
        "writer",
        &[
            "prepared", "queue", "record", "reopen", "run", "space", "upkeep",
        ],
    ),
    // Tables are opened by the schema, whose listener tells of the rotten ones that reading names.
    ("storage", &["rot", "schema", "tables"]),
    // What stops an opening is restored or recovered, and both open what they made.
    ("storage", &["backup", "open", "recover"]),
];

/// Names of modules and items, from the root on: `storage`, `keys`.
type Names = Vec<String>;

/// The code of each module of `src/`.
struct Modules(BTreeMap<Names, String>);

impl Modules {
    fn of(files: &[File]) -> Self {
        let modules = files.iter().filter_map(|file| {
            let path = file.path.strip_prefix("src/")?.strip_suffix(".rs")?;
            let mut path: Names = path.split('/').map(str::to_owned).collect();
            if path.iter().any(|name| name == "tests") {
                return None;
            }
            path.pop_if(|last| matches!(last.as_str(), "mod" | "lib"));
            let lines = file.text.lines().enumerate();
            let code = lines
                .filter(|(at, line)| !file.is_test_at(*at) && !line.trim_start().starts_with("//"));
            let code: Vec<&str> = code.map(|(_, line)| line).collect();
            Some((path, code.join("\n")))
        });
        Self(modules.collect())
    }

    /// The module that a path names, also where a parent passes its child's item on.
    fn named_by(&self, mut path: Names) -> Names {
        for _ in 0..4 {
            let ends = (0..=path.len()).take_while(|end| self.0.contains_key(&path[..*end]));
            let end = ends.last().unwrap_or(0);
            let rest = path.split_off(end);
            let Some(mut further) = rest.first().and_then(|item| self.passed_on(&path, item))
            else {
                return path;
            };
            path.append(&mut further);
            path.extend(rest.into_iter().skip(1));
        }
        path
    }

    /// The names, from `module` on, of an item that it uses from a child.
    fn passed_on(&self, module: &[String], item: &str) -> Option<Names> {
        let uses = self.0.get(module)?.split("use ").skip(1);
        let mut paths = uses.flat_map(|rest| expand(rest.split(';').next().unwrap_or_default()));
        paths.find(|path| {
            let child = [module, &path[..1]].concat();
            path.len() > 1
                && path.last().is_some_and(|last| last == item)
                && self.0.contains_key(&child)
        })
    }

    /// In each folder, which of its modules names which other.
    fn edges(&self) -> BTreeMap<String, BTreeSet<(String, String)>> {
        let mut edges: BTreeMap<String, BTreeSet<(String, String)>> = BTreeMap::new();
        for (from, code) in &self.0 {
            for path in paths(from, code) {
                let to = self.named_by(path);
                let same = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
                if let (Some(one), Some(other)) = (from.get(same), to.get(same)) {
                    let folder = edges.entry(to[..same].join("::")).or_default();
                    folder.insert((one.clone(), other.clone()));
                }
            }
        }
        edges
    }

    /// The circles of each folder.
    fn circles(&self) -> Vec<(String, Names)> {
        let mut circles = Vec::new();
        for (folder, edges) in self.edges() {
            let nodes: BTreeSet<&str> = edges.iter().map(|(from, _)| from.as_str()).collect();
            let circle_of = |node: &str| -> Names {
                let round = reached(&edges, node).into_iter();
                let round = round.filter(|other| reached(&edges, other).contains(node));
                round.map(str::to_owned).collect()
            };
            let mut of_folder: Vec<Names> = nodes.into_iter().map(circle_of).collect();
            of_folder.retain(|circle| !circle.is_empty());
            of_folder.sort();
            of_folder.dedup();
            circles.extend(of_folder.into_iter().map(|circle| (folder.clone(), circle)));
        }
        circles
    }
}

/// All that `from` names, at once or by way of others.
fn reached<'e>(edges: &'e BTreeSet<(String, String)>, from: &str) -> BTreeSet<&'e str> {
    let mut all = BTreeSet::new();
    let mut next = vec![from.to_owned()];
    while let Some(from) = next.pop() {
        let further = edges.iter().filter(|(one, _)| *one == from);
        for (_, other) in further {
            if all.insert(other.as_str()) {
                next.push(other.clone());
            }
        }
    }
    all
}

/// The paths that the code of `module` names, from the root.
fn paths(module: &[String], code: &str) -> Vec<Names> {
    let mut all = Vec::new();
    for start in ["crate::", "super::"] {
        for (at, _) in code.match_indices(start) {
            if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == ':') {
                continue;
            }
            let mut base = module.to_vec();
            let mut rest = &code[at..];
            if let Some(after) = rest.strip_prefix("crate::") {
                base.clear();
                rest = after;
            }
            while let Some(after) = rest.strip_prefix("super::") {
                base.pop();
                rest = after;
            }
            all.extend(
                expand(rest)
                    .into_iter()
                    .map(|path| [base.clone(), path].concat()),
            );
        }
    }
    all
}

/// The paths that begin `text`: one, or those of a group in braces.
fn expand(text: &str) -> Vec<Names> {
    let text = text.trim_start();
    if let Some(group) = text.strip_prefix('{') {
        return parts(group).into_iter().flat_map(expand).collect();
    }
    let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_'));
    let (name, rest) = text.split_at(end.unwrap_or(text.len()));
    match (name, rest.strip_prefix("::")) {
        ("", _) => Vec::new(),
        (name, Some(rest)) => {
            let further = expand(rest).into_iter();
            further
                .map(|path| [vec![name.to_owned()], path].concat())
                .collect()
        }
        (name, None) => vec![vec![name.to_owned()]],
    }
}

/// The parts of a group, of which the opening brace was taken.
fn parts(group: &str) -> Vec<&str> {
    let (mut depth, mut from, mut parts) = (0, 0, Vec::new());
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                parts.push(&group[from..at]);
                from = at + 1;
                if c == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    parts
}

/// The names of public types of which there is more than one, with the files.
fn shared_names(files: &[File]) -> Vec<String> {
    let mut places: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for file in files.iter().filter(|file| file.path.starts_with("src/")) {
        for (at, line) in file.text.lines().enumerate() {
            let Some(item) = line.strip_prefix("pub ") else {
                continue;
            };
            let kinds = ["struct ", "enum ", "trait ", "type "];
            let named = kinds.iter().find_map(|kind| item.strip_prefix(kind));
            if let Some(rest) = named.filter(|_| !file.is_test_at(at)) {
                let end = rest
                    .find(|c: char| !c.is_alphanumeric())
                    .unwrap_or(rest.len());
                places.entry(&rest[..end]).or_default().push(&file.path);
            }
        }
    }
    let shared = places.into_iter().filter(|(_, places)| places.len() > 1);
    shared
        .map(|(name, places)| format!("{name}: {places:?}"))
        .collect()
}

/// How far up a module stands: each may use those below and beside it.
fn height(module: &str) -> Option<u8> {
    Some(match module {
        "metrics" | "seeded" | "invariant" | "masking" | "background" | "links" | "words" => 0,
        "clock" | "calendar" | "current_day" | "counter" | "access_log" => 1,
        "storage" => 2,
        "writer" | "rounds" => 3,
        "lifecycle" | "export" | "mirror" | "alerts" => 4,
        "fallback" | "inspect" => 5,
        "engine" => 6,
        "http" | "control" | "config" => 7,
        "serve" => 8,
        "cli" => 9,
        "main" | "lib" => 10,
        _ => return None,
    })
}

/// Whether module `from` may not name module `to`.
pub(super) fn is_upward(from: &str, to: &str) -> bool {
    if from == to {
        return false;
    }
    match (from, to) {
        // Everyone tells metrics; it asks nobody.
        ("metrics", _) => true,
        (_, "config") => height(from).is_some_and(|from| from < 8),
        // HTTP serves what the engine says, whatever that is made of.
        (
            "http",
            "storage" | "writer" | "lifecycle" | "export" | "mirror" | "alerts" | "fallback",
        ) => true,
        _ => matches!((height(from), height(to)), (Some(from), Some(to)) if to > from),
    }
}

fn sample(files: &[(&str, &str)]) -> Vec<File> {
    let file = |(path, text): &(&str, &str)| File {
        path: (*path).to_owned(),
        text: (*text).to_owned(),
    };
    files.iter().map(file).collect()
}

#[test]
fn no_modules_of_a_folder_go_round_in_a_circle() {
    let files = repository();
    let within = |(folder, circle): &(String, Names), (place, names): &(&str, &[&str])| {
        folder == place && circle.iter().all(|name| names.contains(&name.as_str()))
    };
    let circles = Modules::of(&files).circles();
    let is_permitted = |circle: &(String, Names)| PERMITTED.iter().any(|one| within(circle, one));
    let found: Vec<_> = circles
        .iter()
        .filter(|circle| !is_permitted(circle))
        .collect();
    assert!(
        found.is_empty(),
        "these name each other; give what several need a file of its own that names none of them: {found:#?}"
    );
    let is_there = |one: &(&str, &[&str])| circles.iter().any(|circle| within(circle, one));
    let gone: Vec<_> = PERMITTED.iter().filter(|one| !is_there(one)).collect();
    assert!(gone.is_empty(), "take out of `PERMITTED`: {gone:?}");
}

#[test]
fn a_name_means_one_public_type() {
    let shared = shared_names(&repository());
    assert!(
        shared.is_empty(),
        "put its concern before the name: {shared:#?}"
    );
}

#[test]
fn every_module_has_its_height() {
    let lib = read("src/lib.rs");
    let modules = lib.lines().filter_map(|line| {
        let line = line
            .trim_start_matches("pub(crate) ")
            .trim_start_matches("pub ");
        line.strip_prefix("mod ")?.strip_suffix(';')
    });
    let without: Vec<&str> = modules.filter(|module| height(module).is_none()).collect();
    assert!(without.is_empty(), "no height in `height`: {without:?}");
}

#[test]
fn http_names_no_organ() {
    for organ in [
        "storage",
        "writer",
        "lifecycle",
        "export",
        "mirror",
        "alerts",
        "fallback",
    ] {
        assert!(is_upward("http", organ), "{organ}");
    }
    assert!(!is_upward("http", "engine"));
}

#[test]
fn the_rules_of_shape_catch_their_samples() {
    let files = sample(&[
        ("src/lib.rs", "mod a;"),
        (
            "src/a.rs",
            "mod b;\nmod c;\nmod d;\npub use c::{Item, Other};\npub struct Same;",
        ),
        ("src/a/b.rs", "use super::{d::Deep, Item};"),
        (
            "src/a/c.rs",
            "use crate::a::b::{\n    Thing, c::{X, Y},\n};\npub struct Same;",
        ),
        (
            "src/a/d.rs",
            "use super::Item;\n#[cfg(test)]\nmod tests {\n    use super::super::b;\n}",
        ),
    ]);
    let circle = (
        "a".to_owned(),
        vec!["b".to_owned(), "c".to_owned(), "d".to_owned()],
    );
    assert_eq!(Modules::of(&files).circles(), [circle]);
    assert_eq!(shared_names(&files).len(), 1);
    let straight = sample(&[
        ("src/lib.rs", "mod a;"),
        ("src/a.rs", "mod b;\nmod c;\npub use c::Item;"),
        ("src/a/b.rs", "use super::Item;"),
        ("src/a/c.rs", "use super::Parent;"),
    ]);
    assert!(Modules::of(&straight).circles().is_empty());
}
