//! The hostname of a system.

use super::image_files::ImageFiles;
use crate::session::SessionError;

const MOST: u64 = 64 << 10;

/// The hostname that is set at boot; `None` if it comes from elsewhere, such as DHCP.
pub async fn hostname(files: ImageFiles<'_>) -> Result<Option<String>, SessionError> {
    for path in ["/etc/hostname", "/etc/HOSTNAME"] {
        if let Some(name) = files.text(path, MOST).await?.as_deref().and_then(plain) {
            return Ok(Some(name));
        }
    }
    // RHEL before 7, and Gentoo with OpenRC.
    for (path, key) in [
        ("/etc/sysconfig/network", "HOSTNAME"),
        ("/etc/conf.d/hostname", "hostname"),
    ] {
        let text = files.text(path, MOST).await?;
        if let Some(name) = text.and_then(|text| assigned(&text, key)) {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

/// hostname(5): the first line that is neither empty nor a comment.
fn plain(text: &str) -> Option<String> {
    let mut lines = text.lines().map(str::trim);
    let name = lines.find(|line| !line.is_empty() && !line.starts_with('#'));
    name.map(str::to_owned)
}

/// The last `KEY=value` of a shell file.
fn assigned(text: &str, key: &str) -> Option<String> {
    let mut values = text.lines().filter_map(|line| {
        let value = line.trim().strip_prefix(key)?.strip_prefix('=')?;
        Some(value.trim_matches(['"', '\'']))
    });
    values.rfind(|value| !value.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_the_first_line_that_is_one() {
        assert_eq!(plain("# set by me\n\n  camp  \nother\n").unwrap(), "camp");
        assert_eq!(plain("\n# none\n"), None);
        let file = "NETWORKING=yes\nHOSTNAME=old\n#HOSTNAME=no\n HOSTNAME=\"camp.example\"\n";
        assert_eq!(assigned(file, "HOSTNAME").unwrap(), "camp.example");
        assert_eq!(assigned("hostname=''\n", "hostname"), None);
    }
}
