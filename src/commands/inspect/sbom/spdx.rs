//! SPDX 2.3 in JSON (<https://spdx.github.io/spdx-spec/v2.3/>).

use serde_json::{Value, json};

use super::purl::purl;
use super::{ImageInfo, Origin, System, image_name, is_incomplete, packages, uuid};
use crate::inspect::packages::{Package, Packages};

const DOCUMENT: &str = "SPDXRef-DOCUMENT";
const IMAGE: &str = "SPDXRef-Image";

pub fn document(report: &ImageInfo, origin: &Origin) -> Value {
    let name = image_name(report);
    let mut elements = vec![element(IMAGE, &name, None, "FILE")];
    let mut relations = vec![relation(DOCUMENT, "DESCRIBES", IMAGE)];
    for (number, system) in report.systems.iter().enumerate() {
        let id = format!("SPDXRef-System-{number}");
        let os = &system.os;
        let known = os.id.as_deref().or(os.name.as_deref());
        let version = os.version.as_deref();
        elements.push(element(
            &id,
            known.unwrap_or("unknown"),
            version,
            "OPERATING-SYSTEM",
        ));
        relations.push(relation(IMAGE, "CONTAINS", &id));
        for (place, packages, package) in packages(system) {
            let below = format!("{id}-Package-{place}");
            elements.push(installed(&below, system, packages, package));
            relations.push(relation(&id, "CONTAINS", &below));
        }
    }
    let mut creation = json!({
        "created": origin.created,
        "creators": [format!("Tool: bivouac-{}", origin.version)],
    });
    if is_incomplete(report) {
        creation["comment"] = format!("incomplete: {}", report.remarks.join("; ")).into();
    }
    json!({
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": DOCUMENT,
        "name": name,
        "documentNamespace": format!("urn:uuid:{}", uuid(report, origin)),
        "creationInfo": creation,
        "packages": elements,
        "relationships": relations,
    })
}

fn element(id: &str, name: &str, version: Option<&str>, purpose: &str) -> Value {
    let mut value = json!({
        "SPDXID": id,
        "name": name,
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": false,
        "licenseConcluded": "NOASSERTION",
        "licenseDeclared": "NOASSERTION",
        "copyrightText": "NOASSERTION",
        "primaryPackagePurpose": purpose,
    });
    if let Some(version) = version.filter(|version| !version.is_empty()) {
        value["versionInfo"] = version.into();
    }
    value
}

fn installed(id: &str, system: &System, packages: &Packages, package: &Package) -> Value {
    let mut value = element(id, &package.name, Some(&package.version), "LIBRARY");
    value["externalRefs"] = json!([{
        "referenceCategory": "PACKAGE-MANAGER",
        "referenceType": "purl",
        "referenceLocator": purl(packages.format, system, package),
    }]);
    if let Some(vendor) = &package.vendor {
        value["supplier"] = format!("Organization: {vendor}").into();
    }
    if let Some(license) = &package.license {
        // The database's text need not be a license expression.
        value["licenseComments"] = format!("declared as: {license}").into();
    }
    value
}

fn relation(from: &str, kind: &str, to: &str) -> Value {
    json!({ "spdxElementId": from, "relationshipType": kind, "relatedSpdxElement": to })
}
