//! UEFI firmware, in descriptor directories made for the purpose.

use std::fs;
use std::path::{Path, PathBuf};

use bivouac::host::firmware::{self, Uefi};

/// Two descriptor directories, and a place for firmware.
struct Host {
    root: tempfile::TempDir,
}

impl Host {
    fn new() -> Self {
        let root = tempfile::tempdir().expect("a directory");
        for name in ["system", "administrator", "images"] {
            fs::create_dir(root.path().join(name)).expect("a directory");
        }
        Self { root }
    }

    /// A descriptor `where_` (`system/50-x.json`) of a firmware of that name whose files exist.
    fn offer(&self, where_: &str, name: &str, features: &[&str]) {
        self.offer_with(where_, name, |descriptor| {
            descriptor["features"] = features.into()
        });
    }

    fn offer_with(&self, where_: &str, name: &str, change: impl FnOnce(&mut serde_json::Value)) {
        for suffix in ["code", "vars"] {
            fs::write(self.image(&format!("{name}.{suffix}")), "").expect("an image");
        }
        let mut descriptor = serde_json::json!({
            "description": name,
            "interface-types": ["uefi"],
            "mapping": {
                "device": "flash",
                "executable": { "filename": self.image(&format!("{name}.code")), "format": "raw" },
                "nvram-template":
                    { "filename": self.image(&format!("{name}.vars")), "format": "qcow2" },
            },
            "targets": [{ "architecture": "x86_64", "machines": ["pc-q35-*"] }],
            "features": [],
            "tags": [],
        });
        change(&mut descriptor);
        fs::write(self.root.path().join(where_), descriptor.to_string()).expect("a descriptor");
    }

    fn image(&self, name: &str) -> PathBuf {
        self.root.path().join("images").join(name)
    }

    fn find(&self, machine: &str) -> Option<Uefi> {
        let directories = ["system", "administrator"].map(|name| self.root.path().join(name));
        firmware::find_uefi_in(machine, &directories).ok()
    }

    /// The name of the firmware that is found.
    fn found(&self) -> Option<String> {
        Some(self.find("q35")?.code.file_stem()?.to_str()?.to_owned())
    }
}

#[test]
fn the_descriptor_whose_file_name_comes_first_wins_in_whichever_directory() {
    let host = Host::new();
    host.offer("system/60-b.json", "b", &[]);
    host.offer(
        "administrator/50-a.json",
        "a",
        &["acpi-s3", "amd-sev", "verbose-dynamic"],
    );
    assert_eq!(host.found().as_deref(), Some("a"));
}

#[test]
fn the_formats_and_the_template_are_those_of_the_descriptor() {
    let host = Host::new();
    host.offer("system/60-b.json", "b", &[]);
    let found = host.find("pc-q35-7.2").expect("firmware");
    assert_eq!(
        (found.code, found.code_format.as_str()),
        (host.image("b.code"), "raw")
    );
    assert_eq!(
        (found.vars_template, found.vars_format.as_str()),
        (host.image("b.vars"), "qcow2")
    );
}

#[test]
fn a_later_directory_hides_a_file_of_the_same_name_and_an_empty_file_hides_it_wholly() {
    let host = Host::new();
    host.offer("system/50-a.json", "of-system", &[]);
    host.offer("administrator/50-a.json", "of-administrator", &[]);
    assert_eq!(host.found().as_deref(), Some("of-administrator"));
    fs::write(host.root.path().join("administrator/50-a.json"), "").expect("an empty file");
    assert_eq!(host.found(), None);
}

#[test]
fn firmware_with_secure_boot_or_smm_is_passed_over() {
    let host = Host::new();
    host.offer("system/10-a.json", "smm", &["requires-smm"]);
    host.offer("system/20-b.json", "secure", &["secure-boot"]);
    host.offer("system/30-c.json", "enrolled", &["enrolled-keys"]);
    assert_eq!(host.found(), None);
    host.offer("system/90-d.json", "plain", &[]);
    assert_eq!(host.found().as_deref(), Some("plain"));
}

#[test]
fn what_is_not_split_flash_uefi_for_this_machine_is_passed_over() {
    let host = Host::new();
    type Change = fn(&mut serde_json::Value);
    let changes: [(&str, Change); 6] = [
        ("bios", |d| {
            d["interface-types"] = serde_json::json!(["bios"])
        }),
        ("memory", |d| d["mapping"]["device"] = "memory".into()),
        ("stateless", |d| d["mapping"]["mode"] = "stateless".into()),
        ("arm", |d| {
            d["targets"][0]["architecture"] = "aarch64".into()
        }),
        ("i440fx", |d| {
            d["targets"][0]["machines"] = serde_json::json!(["pc-i440fx-*"])
        }),
        ("gone", |d| {
            d["mapping"]["executable"]["filename"] = "/no/such.fd".into()
        }),
    ];
    for (name, change) in changes {
        host.offer_with(&format!("system/50-{name}.json"), name, change);
    }
    fs::write(host.root.path().join("system/00-broken.json"), "{").expect("a file");
    fs::write(host.root.path().join("system/README"), "text").expect("a file");
    assert_eq!(host.found(), None);
    assert_eq!(
        host.find("pc").expect("firmware").code,
        host.image("i440fx.code")
    );
    host.offer_with("system/60-split.json", "split", |d| {
        d["mapping"]["mode"] = "split".into()
    });
    assert_eq!(host.found().as_deref(), Some("split"));
}

#[test]
fn without_firmware_the_message_says_where_it_was_looked_for() {
    let directories = [Path::new("/no/a").to_owned(), Path::new("/no/b").to_owned()];
    let error = firmware::find_uefi_in("q35", &directories).expect_err("there is none");
    assert!(error.hint().is_some());
    insta::assert_snapshot!(error,
        @"no UEFI firmware for the machine q35 was found (0 descriptors in /no/a, /no/b)");
}
