//! cloud-init waits for minutes where the source of its data is on a network that is not there.
//! An empty source on the disk ends the search at once; one that the user attaches (a CD-ROM
//! with the label `cidata`) is of the same kind, and is still found.

use super::image::Image;
use super::plan::Piece;

const CONFIG: &str = "/etc/cloud/cloud.cfg";
const SNIPPETS: &str = "/etc/cloud/cloud.cfg.d";
const SEED: &str = "/var/lib/cloud/seed/nocloud";

/// Sources on disks of the machine.
const LOCAL: [&str; 4] = ["NoCloud", "ConfigDrive", "OVF", "None"];

/// What has to be written: nothing where there is no cloud-init, where it is off, or where it
/// has data or looks on disks alone.
pub fn pieces(image: &Image) -> Vec<Piece> {
    let is_off = image.has("/etc/cloud/cloud-init.disabled");
    if is_off || !image.has(CONFIG) || image.has(&format!("{SEED}/meta-data")) {
        return Vec::new();
    }
    let mut sources = image.text(CONFIG).as_deref().and_then(sources);
    for name in image.names(SNIPPETS) {
        if name.ends_with(".cfg") {
            let text = image.text(&format!("{SNIPPETS}/{name}"));
            // The last one counts.
            sources = text.as_deref().and_then(self::sources).or(sources);
        }
    }
    let is_local = |source: &String| LOCAL.contains(&source.as_str());
    let asks = sources.as_deref().is_none_or(is_identified);
    if sources.is_some_and(|sources| sources.iter().all(is_local)) || asks && identifies(image) {
        return Vec::new();
    }
    // To an image that was booted before, nothing has changed: cloud-init does most of its work
    // once for each instance.
    let instance = image.text("/var/lib/cloud/data/instance-id");
    let instance = instance.as_deref().map(str::trim).unwrap_or_default();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let instance = match !instance.is_empty() && instance.len() < 200 {
        true if instance.chars().all(is_plain) => instance,
        _ => "bivouac",
    };
    vec![
        Piece::text(
            format!("{SEED}/meta-data"),
            format!("instance-id: \"{instance}\"\n"),
        ),
        Piece::text(format!("{SEED}/user-data"), "#cloud-config\n"),
        Piece::text(
            format!("{SNIPPETS}/99_bivouac.cfg"),
            "datasource_list: [ NoCloud, None ]\n",
        ),
    ]
}

/// Whether its generator for systemd asks ds-identify which sources there are. Where none is
/// found, cloud-init is not started at all: that is ds-identify's policy on this processor,
/// unless it is told another. A source of ours would start it, for a minute and more.
fn identifies(image: &Image) -> bool {
    let has =
        |path: &str| image.has(&format!("/usr/lib/{path}")) || image.has(&format!("/lib/{path}"));
    has("cloud-init/ds-identify")
        && has("systemd/system-generators/cloud-init-generator")
        && !image.has("/etc/cloud/ds-identify.cfg")
}

/// Whether ds-identify looks for these sources. A single one is taken unasked.
fn is_identified(sources: &[String]) -> bool {
    !matches!(sources, [_]) && !matches!(sources, [_, last] if last == "None")
}

/// The sources that a file of its configuration lists, in either of YAML's ways.
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
    fn a_list_of_sources_is_read_in_every_way_of_writing_it() {
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
        fn any_text_is_a_configuration_without_a_panic(text in "(?s).{0,300}") {
            sources(&format!("datasource_list:{text}"));
        }
    }
}
