//! Services that are started at boot, by the links that enable them.

use super::image_files::{ImageFiles, name};
use crate::protocol::{Entry, FileKind};
use crate::session::SessionError;

/// Where `systemctl enable` makes links, in directories named after the unit that wants the other.
const SYSTEMD: &str = "/etc/systemd/system";
/// Directories in which each entry is a service: OpenRC's run levels below the first, runit's and
/// dinit's.
const RUNLEVELS: &str = "/etc/runlevels";
const DIRECTORIES: [&str; 4] = [
    "/etc/runit/runsvdir/default",
    "/etc/service",
    "/var/service",
    "/etc/dinit.d/boot.d",
];
/// System V's links for multi-user run levels, `S20ssh`.
const SYSTEM_V: [&str; 4] = ["/etc/rc2.d", "/etc/rc3.d", "/etc/rc5.d", "/etc/rc.d/rc3.d"];

/// The services that `init` starts, by name, sorted. Of systemd these are units of every sort that the
/// administrator or the distribution has enabled; those that need no enabling are not among them.
pub async fn enabled(
    files: ImageFiles<'_>,
    init: Option<&str>,
) -> Result<Vec<String>, SessionError> {
    let mut found = Vec::new();
    match init {
        Some("systemd") => {
            for entry in files.list(SYSTEMD).await? {
                let Some(directory) = name(&entry).filter(|name| {
                    name.ends_with(".wants")
                        || name.ends_with(".requires")
                        || name.ends_with(".upholds")
                }) else {
                    continue;
                };
                let wanted = files.list(&format!("{SYSTEMD}/{directory}")).await?;
                found.extend(links(&wanted).filter(|unit| unit.contains('.')));
            }
        }
        Some("openrc") => {
            for entry in files.list(RUNLEVELS).await? {
                if let Some(level) = name(&entry) {
                    let started = files.list(&format!("{RUNLEVELS}/{level}")).await?;
                    found.extend(links(&started));
                }
            }
        }
        Some("runit" | "dinit") => {
            for directory in DIRECTORIES {
                found.extend(links(&files.list(directory).await?));
            }
        }
        Some("sysvinit" | "upstart" | "unknown") => {
            for directory in SYSTEM_V {
                let started = files.list(directory).await?;
                found.extend(started.iter().filter_map(name).filter_map(system_v));
            }
        }
        _ => {}
    }
    found.sort();
    found.dedup();
    Ok(found)
}

/// The names of links: other entries enable nothing.
fn links(entries: &[Entry]) -> impl Iterator<Item = String> {
    let links = entries.iter().filter(|entry| {
        let stat = entry.stat.as_ref();
        stat.is_some_and(|stat| stat.kind == FileKind::Link)
    });
    links.filter_map(name).map(str::to_owned)
}

/// The service of a link such as `S20ssh`; `None` for one that stops it.
fn system_v(link: &str) -> Option<String> {
    let rest = link.strip_prefix('S')?;
    let service = rest.trim_start_matches(|c: char| c.is_ascii_digit());
    (rest.len() == service.len() + 2 && !service.is_empty()).then(|| service.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_of_a_run_level_starts_its_service() {
        assert_eq!(system_v("S20ssh").as_deref(), Some("ssh"));
        for none in ["K01ssh", "S20", "README", "Sssh"] {
            assert_eq!(system_v(none), None, "{none}");
        }
    }
}
