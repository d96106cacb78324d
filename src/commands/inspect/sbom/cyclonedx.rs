//! CycloneDX 1.5 in JSON (<https://cyclonedx.org/docs/1.5/json/>).

use serde_json::{Value, json};

use super::purl::purl;
use super::{ImageInfo, Origin, System, image_name, is_incomplete, packages, uuid};
use crate::inspect::packages::{Package, Packages};

/// What other elements refer to the image by.
const IMAGE: &str = "image";

pub fn document(report: &ImageInfo, origin: &Origin) -> Value {
    let systems = || report.systems.iter().enumerate();
    let mut components = Vec::new();
    let mut dependencies = vec![json!({
        "ref": IMAGE,
        "dependsOn": systems().map(|(number, _)| system_ref(number)).collect::<Vec<_>>(),
    })];
    for (number, system) in systems() {
        components.push(operating_system(number, system));
        let mut installed = Vec::new();
        for (place, packages, package) in packages(system) {
            let name = format!("{}/package-{place}", system_ref(number));
            components.push(component(&name, system, packages, package));
            installed.push(name);
        }
        dependencies.push(json!({ "ref": system_ref(number), "dependsOn": installed }));
    }
    let aggregate = match is_incomplete(report) {
        true => "incomplete",
        false => "complete",
    };
    json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": format!("urn:uuid:{}", uuid(report, origin)),
        "version": 1,
        "metadata": {
            "timestamp": origin.created,
            "tools": { "components": [
                { "type": "application", "name": "bivouac", "version": origin.version },
            ] },
            "component": { "type": "file", "bom-ref": IMAGE, "name": image_name(report) },
        },
        "components": components,
        "dependencies": dependencies,
        "compositions": [{ "aggregate": aggregate, "assemblies": [IMAGE] }],
    })
}

fn system_ref(number: usize) -> String {
    format!("system-{number}")
}

fn operating_system(number: usize, system: &System) -> Value {
    let os = &system.os;
    let name = os.id.as_deref().or(os.name.as_deref());
    let mut value = json!({
        "type": "operating-system",
        "bom-ref": system_ref(number),
        "name": name.unwrap_or("unknown"),
        "properties": [{ "name": "bivouac:root", "value": system.root }],
    });
    let optional = [("version", &os.version), ("description", &os.name)];
    set(
        &mut value,
        optional.map(|(key, text)| (key, text.clone().map(Value::from))),
    );
    value
}

fn component(name: &str, system: &System, packages: &Packages, package: &Package) -> Value {
    let mut value = json!({
        "type": "library",
        "bom-ref": name,
        "name": package.name,
        "version": package.version,
        "purl": purl(packages.format, system, package),
    });
    let license = package.license.as_ref();
    set(
        &mut value,
        [
            ("publisher", package.vendor.clone().map(Value::from)),
            (
                "licenses",
                // Not an identifier: what databases hold is free text.
                license.map(|license| json!([{ "license": { "name": license } }])),
            ),
        ],
    );
    value
}

/// Sets the members of an object that have a value.
fn set<const N: usize>(object: &mut Value, members: [(&str, Option<Value>); N]) {
    for (key, member) in members {
        if let Some(member) = member {
            object[key] = member;
        }
    }
}
