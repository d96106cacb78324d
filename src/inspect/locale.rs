//! Languages, keyboard and time zone.

use serde::Serialize;

use super::image_files::ImageFiles;
use crate::session::SessionError;

/// What is set for the whole system. Untrusted text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Locale {
    /// The locale of messages and formats, such as `en_US.UTF-8`.
    pub language: Option<String>,
    /// The locales that are generated, if there is a list of them.
    pub languages: Vec<String>,
    /// The layout of the keyboard: of the console, or else of X11.
    pub keyboard: Option<String>,
    /// Such as `Europe/Berlin`.
    pub timezone: Option<String>,
}

/// The most that is read of a file of settings.
const SETTINGS: u64 = 1 << 20;

/// Files with the system's language, and the name of the variable.
const LANGUAGE: [(&str, &str); 4] = [
    ("/etc/locale.conf", "LANG"),
    ("/etc/default/locale", "LANG"),
    ("/etc/sysconfig/i18n", "LANG"),
    ("/etc/sysconfig/language", "RC_LANG"),
];
const KEYBOARD: [(&str, &str); 5] = [
    ("/etc/vconsole.conf", "KEYMAP"),
    ("/etc/default/keyboard", "XKBLAYOUT"),
    ("/etc/sysconfig/keyboard", "KEYTABLE"),
    ("/etc/conf.d/keymaps", "keymap"),
    ("/etc/conf.d/loadkmap", "KEYMAP"),
];

/// Reads the settings of a system.
pub async fn locale(files: ImageFiles<'_>) -> Result<Locale, SessionError> {
    let (language, list, keyboard, timezone) = tokio::try_join!(
        first_of(files, &LANGUAGE),
        files.text("/etc/locale.gen", SETTINGS),
        first_of(files, &KEYBOARD),
        timezone(files),
    )?;
    Ok(Locale {
        language,
        languages: list.as_deref().map(generated).unwrap_or_default(),
        keyboard,
        timezone,
    })
}

async fn timezone(files: ImageFiles<'_>) -> Result<Option<String>, SessionError> {
    let link = files.link("/etc/localtime").await?;
    if let Some(zone) = link.as_deref().and_then(zone_of_link) {
        return Ok(Some(zone));
    }
    let text = files.text("/etc/timezone", SETTINGS).await?;
    Ok(text.and_then(|text| text.lines().next().and_then(word)))
}

async fn first_of(
    files: ImageFiles<'_>,
    places: &[(&str, &str)],
) -> Result<Option<String>, SessionError> {
    for (path, variable) in places {
        let text = files.text(path, SETTINGS).await?;
        if let Some(value) = text.and_then(|text| value(&text, variable)) {
            return Ok(Some(value));
        }
    }
    Ok(None)
}

/// The last value of a shell variable, without its quotes.
fn value(text: &str, variable: &str) -> Option<String> {
    let mut values = text.lines().filter_map(|line| {
        let line = line.trim_start();
        let line = line.strip_prefix("export ").unwrap_or(line);
        line.strip_prefix(variable)?.strip_prefix('=')
    });
    word(values.next_back()?.trim().trim_matches(['"', '\'']))
}

fn word(text: &str) -> Option<String> {
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// The locales of locale.gen(5): `NAME CHARSET` lines that are no comments.
fn generated(text: &str) -> Vec<String> {
    let lines = text.lines().map(str::trim);
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    let names = lines.filter_map(|line| line.split_whitespace().next());
    names.map(str::to_owned).collect()
}

/// The zone that /etc/localtime is a link to.
fn zone_of_link(target: &str) -> Option<String> {
    let (_, zone) = target.split_once("zoneinfo/")?;
    word(zone)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_as_a_shell_would() {
        let text = "# LANG=no\nLANG=C\nexport LANG=\"de_DE.UTF-8\"\nLANGUAGE=x\n";
        assert_eq!(value(text, "LANG").as_deref(), Some("de_DE.UTF-8"));
        assert_eq!(value("XKBLAYOUT=\"\"\n", "XKBLAYOUT"), None);
        assert_eq!(value("LANGUAGE=x", "LANG"), None);
        assert_eq!(
            generated("# a\n\nen_US.UTF-8 UTF-8\n de_DE ISO\n"),
            ["en_US.UTF-8", "de_DE"]
        );
        let zone = zone_of_link("../usr/share/zoneinfo/Europe/Berlin");
        assert_eq!(zone.as_deref(), Some("Europe/Berlin"));
        assert_eq!(zone_of_link("/etc/other"), None);
    }
}
