//! Keeps cloud-init from waiting for minutes for a data source on a network that is not there: an
//! empty NoCloud source on the disk ends its search at once. A source that the user attaches (a
//! CD-ROM labelled `cidata`) is also NoCloud and is still found.

use super::super::root::RootDir;
use super::file_action::FileAction;

const CONFIG: &str = "/etc/cloud/cloud.cfg";
const SNIPPETS: &str = "/etc/cloud/cloud.cfg.d";
const SEED: &str = "/var/lib/cloud/seed/nocloud";

/// Sources that need no network.
const LOCAL: [&str; 4] = ["NoCloud", "ConfigDrive", "OVF", "None"];

/// What to write: nothing if cloud-init is absent, disabled, has data, or uses local sources only.
pub(crate) fn actions(root: &RootDir) -> Vec<FileAction> {
    let is_off = root.has("/etc/cloud/cloud-init.disabled");
    if is_off || !root.has(CONFIG) || root.has(&format!("{SEED}/meta-data")) {
        return Vec::new();
    }
    let mut sources = root.text(CONFIG).as_deref().and_then(sources);
    for name in root.names(SNIPPETS) {
        if name.ends_with(".cfg") {
            let text = root.text(&format!("{SNIPPETS}/{name}"));
            // The last file that sets it counts.
            sources = text.as_deref().and_then(self::sources).or(sources);
        }
    }
    let is_local = |source: &String| LOCAL.contains(&source.as_str());
    let uses_ds_identify = sources.as_deref().is_none_or(is_searched_for);
    if sources.is_some_and(|sources| sources.iter().all(is_local))
        || uses_ds_identify && has_ds_identify(root)
    {
        return Vec::new();
    }
    // cloud-init does most of its work once per instance, so an image that was booted before keeps
    // its instance id.
    let instance = root.text("/var/lib/cloud/data/instance-id");
    let instance = instance.as_deref().map(str::trim).unwrap_or_default();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let instance = match !instance.is_empty() && instance.len() < 200 {
        true if instance.chars().all(is_plain) => instance,
        _ => "bivouac",
    };
    vec![
        FileAction::text(
            format!("{SEED}/meta-data"),
            format!("instance-id: \"{instance}\"\n"),
        ),
        FileAction::text(format!("{SEED}/user-data"), "#cloud-config\n"),
        FileAction::text(
            format!("{SNIPPETS}/99_bivouac.cfg"),
            "datasource_list: [ NoCloud, None ]\n",
        ),
    ]
}

/// Whether cloud-init's systemd generator runs ds-identify with its default policy: then without a
/// data source cloud-init is not started at all, and our source would start it, for a minute and
/// more.
fn has_ds_identify(root: &RootDir) -> bool {
    let has =
        |path: &str| root.has(&format!("/usr/lib/{path}")) || root.has(&format!("/lib/{path}"));
    has("cloud-init/ds-identify")
        && has("systemd/system-generators/cloud-init-generator")
        && !root.has("/etc/cloud/ds-identify.cfg")
}

/// Whether ds-identify searches for these sources. A single one is used without a search.
fn is_searched_for(sources: &[String]) -> bool {
    !matches!(sources, [_]) && !matches!(sources, [_, last] if last == "None")
}

/// The sources that a configuration file lists, in either YAML syntax.
fn sources(text: &str) -> Option<Vec<String>> {
    let mut lines = text.lines();
    let rest = lines.find_map(|line| line.strip_prefix("datasource_list:"))?;
    let clean = |word: &str| {
        word.trim_matches(|c: char| " \t\"'[],".contains(c))
            .to_owned()
    };
    let rest = rest.split('#').next().unwrap_or_default();
    let mut words: Vec<String> = rest.split(',').map(clean).collect();
    let is_open = rest.contains('[') && !rest.contains(']');
    for line in lines {
        let line = line.split('#').next().unwrap_or_default().trim();
        match line.strip_prefix("- ") {
            Some(word) if !is_open => words.push(clean(word)),
            _ if is_open => {
                words.extend(line.split(',').map(clean));
                if line.contains(']') {
                    break;
                }
            }
            _ if line.is_empty() => {}
            _ => break,
        }
    }
    words.retain(|word| !word.is_empty());
    (!words.is_empty()).then_some(words)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_list_of_sources_is_read_in_either_syntax() {
        let read = |text| sources(text).unwrap_or_default().join(" ");
        assert_eq!(
            read("a: b\ndatasource_list: [ NoCloud, 'None' ] # x\n"),
            "NoCloud None"
        );
        assert_eq!(
            read("datasource_list:\n  - Ec2\n# why\n  - \"None\"\nb: c\n"),
            "Ec2 None"
        );
        assert_eq!(read("datasource_list: [\n Ec2,\n None ]\n"), "Ec2 None");
        assert_eq!(sources("# datasource_list: [ Ec2 ]\n"), None);
    }

    proptest! {
        #[test]
        fn any_configuration_is_read_without_a_panic(text in "(?s).{0,300}") {
            sources(&format!("datasource_list:{text}"));
        }
    }
}
