//! The schema of the protocol, made from its types, is the one of the documents: a schema of JSON
//! Schema 2020-12 for every line in either direction.

use std::fs;
use std::path::Path;

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::call::{METHODS, schemas};
use super::error::RpcError;
use super::exec::Output;
use super::line::{Id, Notification};
use super::machines::{MachineEnded, MachineReady, MachineRebooted};

const FILE: &str = "man/bivouac-session.schema.json";

fn notification<N: Notification + JsonSchema>(
    generator: &mut SchemaGenerator,
) -> (&'static str, Schema) {
    (N::METHOD, generator.subschema_for::<N>())
}

fn schema() -> Value {
    let mut generator = SchemaSettings::draft2020_12().into_generator();
    let methods = schemas(&mut generator);
    let notifications = [
        notification::<Output>(&mut generator),
        notification::<MachineReady>(&mut generator),
        notification::<MachineRebooted>(&mut generator),
        notification::<MachineEnded>(&mut generator),
    ];
    let id = generator.subschema_for::<Id>();
    let error = generator.subschema_for::<RpcError>();
    let mut definitions: Map<String, Value> = generator.take_definitions(true);
    let (mut requests, mut answers, mut told) = (vec![], vec![], vec![]);
    for (name, [(params, of_params), (result, of_result)]) in METHODS.iter().zip(methods) {
        definitions.insert(params.clone(), of_params.to_value());
        definitions.insert(result.clone(), of_result.to_value());
        requests.push(json!({
            "type": "object",
            "properties": {
                "jsonrpc": {"const": "2.0"}, "id": id, "method": {"const": name},
                "params": {"$ref": format!("#/$defs/{params}")},
            },
            "required": ["jsonrpc", "method"],
            "additionalProperties": false,
        }));
        answers.push(json!({"$ref": format!("#/$defs/{result}")}));
    }
    for (name, params) in notifications {
        told.push(json!({
            "type": "object",
            "properties": {"jsonrpc": {"const": "2.0"}, "method": {"const": name}, "params": params},
            "required": ["jsonrpc", "method", "params"],
            "additionalProperties": false,
        }));
    }
    definitions.insert("request".into(), json!({"oneOf": requests}));
    definitions.insert("notification".into(), json!({"oneOf": told}));
    definitions.insert(
        "response".into(),
        json!({
            "type": "object",
            "properties": {
                "jsonrpc": {"const": "2.0"}, "id": {"anyOf": [id, {"type": "null"}]},
                "result": {"anyOf": answers}, "error": error,
            },
            "required": ["jsonrpc", "id"],
            "oneOf": [{"required": ["result"]}, {"required": ["error"]}],
            "additionalProperties": false,
        }),
    );
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "bivouac-session(5): a line of standard input or output",
        "oneOf": [
            {"$ref": "#/$defs/request"},
            {"$ref": "#/$defs/response"},
            {"$ref": "#/$defs/notification"},
        ],
        "$defs": definitions,
    })
}

/// After a change: `INSTA_UPDATE=always` writes the file, as it does with snapshots.
#[test]
fn the_schema_of_the_documents_is_that_of_the_types() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(FILE);
    let text = serde_json::to_string_pretty(&schema()).unwrap() + "\n";
    if std::env::var_os("INSTA_UPDATE").is_some_and(|update| update == "always") {
        fs::write(&path, &text).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(written == text, "{FILE} is not what the types say");
}
