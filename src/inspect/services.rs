//! Services that are started at boot, by the links that enable them.

use futures_util::{StreamExt, TryStreamExt, stream};

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
/// How many directories are listed at a time.
const AT_A_TIME: usize = 16;
/// System V's links for multi-user run levels, `S20ssh`.
const SYSTEM_V: [&str; 4] = ["/etc/rc2.d", "/etc/rc3.d", "/etc/rc5.d", "/etc/rc.d/rc3.d"];

/// The services that `init` starts, by name, sorted. Of systemd these are units of every sort that the
/// administrator or the distribution has enabled; those that need no enabling are not among them.
pub async fn enabled(
    files: ImageFiles<'_>,
    init: Option<&str>,
) -> Result<Vec<String>, SessionError> {
    let directories = match init {
        Some("systemd") => below(files, SYSTEMD, is_of_units).await?,
        Some("openrc") => below(files, RUNLEVELS, |_| true).await?,
        Some("runit" | "dinit") => DIRECTORIES.map(str::to_owned).to_vec(),
        Some("sysvinit" | "upstart" | "unknown") => SYSTEM_V.map(str::to_owned).to_vec(),
        _ => Vec::new(),
    };
    let listed = stream::iter(directories).map(|directory| async move {
        let entries = files.list(directory).await?;
        Ok::<_, SessionError>(match init {
            Some("systemd") => links(&entries).filter(|unit| unit.contains('.')).collect(),
            Some("openrc" | "runit" | "dinit") => links(&entries).collect(),
            _ => entries
                .iter()
                .filter_map(name)
                .filter_map(system_v)
                .collect::<Vec<_>>(),
        })
    });
    let mut found: Vec<String> = listed.buffered(AT_A_TIME).try_concat().await?;
    found.sort();
    found.dedup();
    Ok(found)
}

/// The paths of a directory's entries.
async fn below(
    files: ImageFiles<'_>,
    directory: &str,
    is_wanted: fn(&str) -> bool,
) -> Result<Vec<String>, SessionError> {
    let entries = files.list(directory).await?;
    let names = entries
        .iter()
        .filter_map(name)
        .filter(|name| is_wanted(name));
    Ok(names.map(|name| format!("{directory}/{name}")).collect())
}

fn is_of_units(name: &str) -> bool {
    let ends = [".wants", ".requires", ".upholds"];
    ends.iter().any(|end| name.ends_with(end))
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
