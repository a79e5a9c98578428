//! Every key of the language stands in a fixture that loads, and in one that is refused because of it.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use crate::config::read;
use crate::config::schema::{Kind, ROOT, Table as Schema};
use crate::config::value::{Node, Table, Value};
use crate::config::{Sources, load, parse};

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config").join(name)
}

type Key = (*const Schema, &'static str);

/// Every key of a tree that the schema knows.
fn keys(table: &Table, schema: &'static Schema, out: &mut HashSet<Key>) {
    for entry in &table.entries {
        let kind = match schema.key(&entry.key) {
            Some(key) => {
                out.insert((schema, key.name));
                Some(&key.kind)
            }
            None => schema.other.as_ref(),
        };
        kind.into_iter().for_each(|kind| below(&entry.value, kind, out));
    }
}

fn below(node: &Node, kind: &'static Kind, out: &mut HashSet<Key>) {
    match (kind, &node.value) {
        (Kind::Table(schema), Value::Table(table)) => keys(table, schema, out),
        (Kind::Map(_, kind), Value::Table(table)) => table.entries.iter().for_each(|e| below(&e.value, kind, out)),
        (Kind::List(kind), Value::List(items)) => items.iter().for_each(|item| below(item, kind, out)),
        (Kind::OneOf(kinds), _) => kinds.iter().for_each(|kind| below(node, kind, out)),
        _ => {}
    }
}

/// The table a value may be, with how its header is written.
fn table_in(kind: &'static Kind) -> Option<(&'static Schema, &'static str, bool)> {
    match kind {
        Kind::Table(schema) => Some((schema, "", false)),
        Kind::Map(_, kind) => table_in(kind).map(|(schema, ..)| (schema, ".every-key", false)),
        Kind::List(kind) => table_in(kind).map(|(schema, name, _)| (schema, name, true)),
        Kind::OneOf(kinds) => kinds.iter().find_map(table_in),
        _ => None,
    }
}

/// A config in which every key of every table has a value that it cannot have, a key a line.
fn all_wrong(path: &str, schema: &'static Schema, seen: &mut HashSet<*const Schema>, out: &mut String) {
    let mut inner = Vec::new();
    for key in schema.keys {
        match table_in(&key.kind).filter(|(table, ..)| key.supported && seen.insert(*table)) {
            Some(found) => inner.push((key.name, found)),
            // Writing to a String cannot fail.
            None => drop(writeln!(out, "{} = 1.5", key.name)),
        }
    }
    for (name, (table, more, list)) in inner {
        let path = format!("{path}{}{name}{more}", if path.is_empty() { "" } else { "." });
        let _ = if list { writeln!(out, "\n[[{path}]]") } else { writeln!(out, "\n[{path}]") };
        all_wrong(&path, table, seen, out);
    }
}

/// Every key of the schema that this version acts on (`supported`), or every one.
fn all(schema: &'static Schema, supported: bool, out: &mut HashSet<Key>) {
    fn tables(kind: &'static Kind, visit: &mut dyn FnMut(&'static Schema)) {
        match kind {
            Kind::Table(schema) => visit(schema),
            Kind::List(kind) | Kind::Map(_, kind) => tables(kind, visit),
            Kind::OneOf(kinds) => kinds.iter().for_each(|kind| tables(kind, visit)),
            _ => {}
        }
    }
    for key in schema.keys.iter().filter(|key| key.supported || !supported) {
        // A key that this version does not act on is refused as a whole.
        if out.insert((schema, key.name)) && key.supported {
            tables(&key.kind, &mut |schema| all(schema, supported, out));
        }
    }
    schema.other.iter().for_each(|kind| tables(kind, &mut |schema| all(schema, supported, out)));
}

fn tree(text: &str) -> Table {
    let mut sources = Sources::default();
    let file = sources.add("x.toml", text.to_owned(), Path::new(""));
    read::read(file, &sources, &|_| Ok(String::new()), &mut Vec::new()).root
}

#[test]
fn every_key_stands_in_a_config_that_loads() {
    let mut there = HashSet::new();
    for name in ["good", "good/sites.d"] {
        for path in std::fs::read_dir(folder(name)).unwrap().map(|entry| entry.unwrap().path()) {
            if path.extension().is_some_and(|end| end == "toml") {
                keys(&tree(&std::fs::read_to_string(path).unwrap()), &ROOT, &mut there);
            }
        }
    }
    let mut wanted = HashSet::new();
    all(&ROOT, true, &mut wanted);
    let missing: Vec<_> = wanted.difference(&there).map(|(_, name)| *name).collect();
    assert!(missing.is_empty(), "no fixture of tests/config/good has: {missing:?}");
}

/// `UPDATE=1` writes the fixture anew; its expected text is that of all bad fixtures.
#[test]
fn every_key_stands_in_the_generated_config_that_is_refused_for_each_of_its_lines() {
    let mut text = String::from("# Generated: every key with a value it cannot have.\n");
    all_wrong("", &ROOT, &mut HashSet::from([&raw const ROOT]), &mut text);
    let path = folder("bad").join("every-key.toml");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    assert!(text == std::fs::read_to_string(&path).unwrap_or_default(), "UPDATE=1 cargo nextest run generated");
    let (mut there, mut wanted) = (HashSet::new(), HashSet::new());
    keys(&tree(&text), &ROOT, &mut there);
    all(&ROOT, false, &mut wanted);
    let missing: Vec<_> = wanted.difference(&there).map(|(_, name)| *name).collect();
    assert!(missing.is_empty(), "{missing:?}");
    let Err(problems) = parse("every-key.toml", &text, Path::new("/")) else { panic!("it loads") };
    let said: HashSet<usize> = problems.diagnostics.iter().filter_map(|d| Some(d.origin.as_ref()?.line)).collect();
    let unsaid = text.lines().enumerate().filter(|(at, line)| line.ends_with("= 1.5") && !said.contains(&(at + 1)));
    assert_eq!(unsaid.map(|(at, line)| format!("{}: {line}", at + 1)).collect::<Vec<_>>(), [""; 0]);
}

/// Lines that common tasks take; the same in nginx are 21, 31, a module, and 22 (non-blank ones).
#[test]
fn common_tasks_take_few_lines() {
    for (name, lines) in [("dev", 2), ("balanced", 9), ("acme", 10), ("mtls", 6)] {
        let path = folder("small").join(format!("{name}.toml"));
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.lines().filter(|line| !line.trim().is_empty()).count() <= lines, "{name}");
        assert!(load(&path).is_ok(), "{name}: {}", load(&path).unwrap_err());
    }
}
