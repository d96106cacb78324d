//! bivouac-session(5) has everything of the protocol: each method, parameter, result, notification
//! and error of its schema, which a unit test holds against the types.

use std::collections::BTreeSet;
use std::fs;

use bivouac::rpc::ErrorKind;
use serde_json::Value;

use crate::architecture::root;

fn page() -> String {
    fs::read_to_string(root().join("man/bivouac-session.5")).unwrap()
}

fn definitions() -> serde_json::Map<String, Value> {
    let schema = fs::read(root().join("man/bivouac-session.schema.json")).unwrap();
    let schema: Value = serde_json::from_slice(&schema).unwrap();
    schema["$defs"].as_object().unwrap().clone()
}

#[test]
fn every_method_and_notification_of_the_schema_stands_in_the_page() {
    let (page, definitions) = (page(), definitions());
    let methods: Vec<_> = (definitions.keys())
        .filter_map(|name| name.strip_suffix(".params"))
        .collect();
    assert!(methods.len() > 10, "{methods:?}");
    for method in &methods {
        assert!(page.contains(&format!("\n.Ss {method}\n")), "{method}");
    }
    // And no other: sections that begin with a capital are none.
    let sections = page.lines().filter_map(|line| line.strip_prefix(".Ss "));
    for section in sections.filter(|section| section.starts_with(char::is_lowercase)) {
        assert!(methods.contains(&section), "{section}");
    }
    let notifications = definitions["notification"]["oneOf"].as_array().unwrap();
    assert_eq!(notifications.len(), 4);
    for notification in notifications {
        let name = &notification["properties"]["method"]["const"];
        let item = format!("\n.It Cm {}\n", name.as_str().unwrap());
        assert!(page.contains(&item), "{item}");
    }
}

/// The names of properties, and the values that are constant, at any depth.
fn collect(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => {
            for (name, value) in object {
                match (name.as_str(), value) {
                    ("properties", Value::Object(properties)) => {
                        found.extend(properties.keys().cloned());
                    }
                    ("const", Value::String(text)) => found.extend([text.clone()]),
                    ("enum", Value::Array(texts)) => {
                        found.extend(texts.iter().map(|text| text.as_str().unwrap().to_owned()));
                    }
                    _ => {}
                }
                collect(value, found);
            }
        }
        Value::Array(array) => array.iter().for_each(|value| collect(value, found)),
        _ => {}
    }
}

#[test]
fn every_member_of_the_schema_stands_in_the_page() {
    let page = page();
    let documented: BTreeSet<_> = page.split([' ', '\n', ',']).collect();
    let mut members = BTreeSet::new();
    collect(&Value::Object(definitions()), &mut members);
    assert!(members.len() > 70, "{members:?}");
    for member in members {
        assert!(documented.contains(member.as_str()), "{member}");
    }
}

#[test]
fn every_error_stands_in_the_page_with_its_code() {
    let page = page();
    for kind in ErrorKind::ALL {
        let name = serde_json::to_value(kind).unwrap();
        let (name, code) = (name.as_str().unwrap(), kind.code().unsigned_abs());
        let item = format!("\n.It Li {name} , No \\-{code}\n");
        assert!(page.contains(&item), "{item}");
    }
}
