//! The JSON Schema of the config language, for editors: the part of draft-07 that taplo and the language servers read.

use serde_json::{Map, Value, json};

use super::places::{Place, places};
use super::{Key, Kind, ROOT, Table};

/// Any text with an expansion: what it becomes is known when the config is loaded.
const EXPANSION: &str = r"\$\{(env|file):";

/// The schema of a config file, as JSON text.
pub fn schema() -> String {
    let places = places(&ROOT);
    let mut definitions = Map::new();
    definitions.insert("expansion".to_owned(), json!({ "type": "string", "pattern": EXPANSION }));
    for place in places.iter().filter(|place| !place.path.is_empty()) {
        definitions.insert(place.name(), table(place.table, &places));
    }
    let mut root = table(&ROOT, &places);
    root["$schema"] = json!("http://json-schema.org/draft-07/schema#");
    root["title"] = json!("vestibule.toml");
    root["definitions"] = Value::Object(definitions);
    format!("{root:#}\n")
}

fn table(table: &'static Table, places: &[Place]) -> Value {
    let properties: Map<_, _> = table.keys.iter().map(|key| (key.name.to_owned(), property(key, places))).collect();
    let others = table.other.as_ref().map_or(Value::Bool(false), |other| kind(other, places));
    json!({ "type": "object", "properties": properties, "additionalProperties": others })
}

fn property(key: &'static Key, places: &[Place]) -> Value {
    let (mut schema, doc) = match key.supported {
        true => (kind(&key.kind, places), key.doc.to_owned()),
        false => (accepted(key), format!("Not supported yet. {}", key.doc)),
    };
    // What stands beside `$ref` is not read in draft-07.
    if schema.get("$ref").is_some() {
        schema = json!({ "allOf": [schema] });
    }
    schema["description"] = json!(doc);
    if let Some(default) = default(key) {
        schema["default"] = default;
    }
    schema
}

fn default(key: &Key) -> Option<Value> {
    let text = format!("x = {}", key.default_text());
    toml::from_str::<Map<String, Value>>(&text).ok()?.remove("x")
}

/// What is accepted of a key this version does not act on, as the decoder does.
fn accepted(key: &'static Key) -> Value {
    let mut plain = vec![json!(false), json!("off")];
    let default = default(key).unwrap_or(Value::Null);
    if let (true, Some(inner)) = (default.is_object(), table_of(&key.kind)) {
        let properties: Map<_, _> = inner.keys.iter().map(|key| (key.name.to_owned(), accepted(key))).collect();
        let object = json!({ "type": "object", "properties": properties, "additionalProperties": false });
        return json!({ "anyOf": [{ "enum": plain }, object] });
    }
    if !default.is_null() && !plain.contains(&default) {
        plain.push(default);
    }
    json!({ "enum": plain })
}

fn table_of(kind: &Kind) -> Option<&'static Table> {
    match kind {
        Kind::Table(table) => Some(table),
        Kind::OneOf(kinds) => kinds.iter().find_map(table_of),
        _ => None,
    }
}

fn kind(of: &'static Kind, places: &[Place]) -> Value {
    let or_expansion = |schema: Value| json!({ "anyOf": [schema, { "$ref": "#/definitions/expansion" }] });
    match of {
        Kind::Bool => or_expansion(json!({ "type": "boolean" })),
        Kind::Integer { min, max } => or_expansion(json!({ "type": "integer", "minimum": min, "maximum": max })),
        Kind::Text(_) => json!({ "type": "string" }),
        Kind::Duration { off } => {
            let units = "([0-9]+y)?([0-9]+w)?([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?";
            pattern(&format!("(?=.*[1-9]){units}"), *off)
        }
        Kind::Size { off, .. } => pattern("[0-9]+([KMGT]i?)?B", *off),
        Kind::Choice { now, .. } => or_expansion(json!({ "enum": now })),
        Kind::List(item) => json!({ "type": "array", "items": kind(item, places) }),
        Kind::Map(_, value) => json!({ "type": "object", "additionalProperties": kind(value, places) }),
        Kind::Table(table) => {
            let place = places.iter().find(|place| std::ptr::eq(place.table, *table));
            json!({ "$ref": format!("#/definitions/{}", place.map_or_else(String::new, Place::name)) })
        }
        Kind::OneOf(kinds) => {
            let kinds: Vec<_> = kinds.iter().map(|of| kind(of, places)).collect();
            json!({ "anyOf": kinds })
        }
    }
}

fn pattern(whole: &str, off: bool) -> Value {
    let off = if off { "|off" } else { "" };
    json!({ "type": "string", "pattern": format!("^(({whole}){off})$|{EXPANSION}") })
}
