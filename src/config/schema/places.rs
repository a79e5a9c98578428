//! Where in a config each table of the schema stands: the walk that everything generated from it follows.

use super::{Kind, Table};

/// A table at the first place a reader meets it.
pub(super) struct Place {
    /// The way there, such as `["sites", "HOST", "routes"]`; keys the user names are in capitals.
    pub path: Vec<String>,
    /// The table is an item of a list.
    pub item: bool,
    pub table: &'static Table,
    /// Every key on the way is one this version acts on.
    pub supported: bool,
}

impl Place {
    /// `sites.HOST.routes`; `top` for the top of the file.
    pub fn name(&self) -> String {
        if self.path.is_empty() { "top".to_owned() } else { self.path.join(".") }
    }
}

/// Every table of the schema once, parents first.
pub(super) fn places(root: &'static Table) -> Vec<Place> {
    let mut out = vec![Place { path: Vec::new(), item: false, table: root, supported: true }];
    let mut at = 0;
    while at < out.len() {
        let (path, table, supported) = (out[at].path.clone(), out[at].table, out[at].supported);
        let mut found = Vec::new();
        for key in table.keys {
            let path = [path.as_slice(), &[key.name.to_owned()]].concat();
            visit(&key.kind, path, false, supported && key.supported, &mut found);
        }
        if let Some(kind) = &table.other {
            let path = [path.as_slice(), &["NAME".to_owned()]].concat();
            visit(kind, path, false, supported, &mut found);
        }
        for place in found {
            match out.iter_mut().find(|there| std::ptr::eq(there.table, place.table)) {
                Some(there) => there.supported |= place.supported,
                None => out.push(place),
            }
        }
        at += 1;
    }
    out
}

fn visit(kind: &'static Kind, path: Vec<String>, item: bool, supported: bool, out: &mut Vec<Place>) {
    match kind {
        Kind::Table(table) => out.push(Place { path, item, table, supported }),
        Kind::List(kind) => visit(kind, path, true, supported, out),
        Kind::Map(what, kind) => {
            let name = what.trim_start_matches("a ").to_uppercase();
            visit(kind, [path.as_slice(), &[name]].concat(), item, supported, out);
        }
        Kind::OneOf(kinds) => kinds.iter().for_each(|kind| visit(kind, path.clone(), item, supported, out)),
        _ => {}
    }
}
