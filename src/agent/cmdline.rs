//! What the kernel command line (/proc/cmdline) asks the agent for.

use std::fs;

fn cmdline() -> String {
    fs::read_to_string("/proc/cmdline").unwrap_or_default()
}

/// Whether the command line asks for systemd's emergency mode (kernel-command-line(7)). If not,
/// the emergency mode is the result of a failed boot.
pub(crate) fn wants_emergency() -> bool {
    asks_for_emergency(&cmdline())
}

/// The last word that names a target counts.
fn asks_for_emergency(cmdline: &str) -> bool {
    let words = cmdline.split_ascii_whitespace();
    let mut targets = words.filter_map(|word| match word {
        "emergency" | "-b" => Some("emergency.target"),
        "single" | "rescue" | "s" | "S" | "1" => Some("rescue.target"),
        word => word.strip_prefix("systemd.unit="),
    });
    targets.next_back() == Some("emergency.target")
}

/// The number of disks to wait for if the command line asks for a survey on the console:
/// `bivouac.survey=3`.
pub(crate) fn survey_disks() -> Option<usize> {
    let line = cmdline();
    let mut words = line.split_whitespace();
    words
        .find_map(|word| word.strip_prefix("bivouac.survey="))?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn emergency_mode_is_wanted_if_the_command_line_asks_for_it_last() {
        for cmdline in [
            "ro quiet emergency\n",
            "-b ro",
            "systemd.unit=rescue.target systemd.unit=emergency.target",
        ] {
            assert!(asks_for_emergency(cmdline), "{cmdline}");
        }
        for cmdline in [
            "",
            "ro root=LABEL=emergency quiet",
            "emergency=no rd.emergency",
            "emergency single",
            "emergency systemd.unit=multi-user.target",
        ] {
            assert!(!asks_for_emergency(cmdline), "{cmdline}");
        }
    }
}
