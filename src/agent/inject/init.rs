//! Detects the init system of an image, and makes it start the agent.
//!
//! The agent is started last or nearly so: once it responds, the image is up ([`Stage`]). It
//! recognises by the machine's port that it is in a guest, so it needs no argument.

use super::super::root::RootDir;
use super::file_action::{FileAction, PROGRAM};
use super::image_writer;
use crate::protocol::inject::{Init, Stage};

const SYSTEMD: [&str; 2] = ["/usr/lib/systemd/systemd", "/lib/systemd/systemd"];
const OPENRC: [&str; 4] = [
    "/sbin/openrc",
    "/usr/sbin/openrc",
    "/bin/openrc",
    "/usr/bin/openrc",
];
const BUSYBOX: [&str; 4] = [
    "/bin/busybox",
    "/usr/bin/busybox",
    "/sbin/busybox",
    "/bin/busybox.static",
];

/// The init system that will run. Several may be installed; the program that `/sbin/init` leads to
/// decides if it can.
pub(crate) fn find(root: &RootDir) -> Option<Init> {
    let is_init = |paths: &[&str]| paths.iter().any(|path| root.is_same("/sbin/init", path));
    // Without /sbin/init, the image's boot loader passes `init=` for systemd.
    let systemd_alone = !root.has("/sbin/init") && SYSTEMD.iter().any(|program| root.has(program));
    if is_init(&SYSTEMD) || systemd_alone {
        return Some(Init::Systemd);
    }
    let has_openrc = OPENRC.iter().any(|path| root.has(path));
    if has_openrc && root.has_directory("/etc/runlevels/default") {
        return Some(Init::OpenRc);
    }
    if is_init(&BUSYBOX) {
        return Some(Init::BusyBox);
    }
    if !root.has("/sbin/init") {
        return None;
    }
    // Debian's startpar starts only what is in its own list of dependencies.
    let has_list = root.has("/etc/init.d/.depend.start");
    match (runlevels(root).is_empty(), root.has("/etc/inittab")) {
        (false, false) => Some(Init::SysVInit),
        (false, true) if !has_list => Some(Init::SysVInit),
        (_, true) => Some(Init::SysVInittab),
        (true, false) => None,
    }
}

/// The directories with the links of the runlevels 2 to 5.
fn runlevels(root: &RootDir) -> Vec<String> {
    let mut found = Vec::new();
    for level in 2..=5 {
        let places = [
            format!("/etc/rc{level}.d"),
            format!("/etc/rc.d/rc{level}.d"),
            format!("/etc/init.d/rc{level}.d"),
        ];
        found.extend(places.into_iter().find(|path| root.has_directory(path)));
    }
    found
}

/// What to write to have the agent started, besides the agent.
pub(crate) fn actions(root: &RootDir, init: Init, stage: Stage) -> Vec<FileAction> {
    match init {
        Init::Systemd => systemd(root, stage),
        Init::OpenRc => openrc(root, stage),
        Init::SysVInit => sysvinit(root, stage),
        // init handles the lines in order, so this one follows those that wait for the runlevel.
        Init::SysVInittab => vec![line(format!("bvac:2345:once:{PROGRAM}\n"))],
        Init::BusyBox => busybox(root),
    }
}

fn line(text: String) -> FileAction {
    let path = "/etc/inittab".to_owned();
    FileAction::Line { path, text }
}

const UNIT: &str = "bivouac-agent.service";
const EMERGENCY_UNIT: &str = "bivouac-emergency.service";
const UNITS: &str = "/etc/systemd/system";

/// Without default dependencies a target that wants the unit does not wait for it, so there can be
/// no ordering cycle: the unit waits for the target, and nothing waits for the unit.
///
/// If the boot fails, emergency mode cancels the ordinary unit, which would otherwise still start
/// as if the boot had succeeded, and starts the other one with `--emergency`. Rescue mode is only
/// entered on request, so there the ordinary unit starts.
fn systemd(root: &RootDir, stage: Stage) -> Vec<FileAction> {
    let after = match stage {
        Stage::Basic => "basic.target",
        Stage::MultiUser => "basic.target multi-user.target",
    };
    // Rescue mode pulls in neither of them, only its own target.
    let after = format!("sysinit.target rescue.target {after}");
    let unit = |description: &str, order: &str, argument: &str, target: &str| {
        format!(
            "\
[Unit]
Description={description}
DefaultDependencies=no
{order}
Conflicts=shutdown.target
Before=shutdown.target

[Service]
ExecStart={PROGRAM}{argument}
StandardInput=null
StandardError=journal+console
TasksMax=infinity

[Install]
WantedBy={target}
"
        )
    };
    let order = format!("After={after}\nConflicts=emergency.target");
    let usual = unit("bivouac agent", &order, "", "multi-user.target");
    let emergency = unit(
        "bivouac agent in emergency mode",
        "Conflicts=rescue.target",
        " --emergency",
        "emergency.target",
    );
    let path = |unit: &str| format!("{UNITS}/{unit}");
    let mut actions = vec![
        FileAction::text(path(UNIT), usual),
        FileAction::text(path(EMERGENCY_UNIT), emergency),
        // The first boot of an image may apply the presets to every unit, and those of Fedora and
        // its derivatives disable all others.
        FileAction::text(
            "/etc/systemd/system-preset/00-bivouac.preset",
            format!("enable {UNIT}\nenable {EMERGENCY_UNIT}\n"),
        ),
    ];
    // The target that the image boots to need not pull in multi-user.target.
    for (target, unit) in [
        ("multi-user.target", UNIT),
        ("default.target", UNIT),
        ("rescue.target", UNIT),
        ("emergency.target", EMERGENCY_UNIT),
    ] {
        actions.push(FileAction::link(
            format!("{UNITS}/{target}.wants/{unit}"),
            path(unit),
        ));
    }
    actions.extend(first_boot(root));
    actions
}

/// Units that ask questions on the console at the first boot, which would wait for ever, and their
/// command without the questions.
const QUESTIONS: [(&str, &str); 2] = [
    ("systemd-firstboot.service", "/usr/bin/systemd-firstboot"),
    (
        "systemd-homed-firstboot.service",
        "/usr/bin/homectl firstboot",
    ),
];

fn first_boot(root: &RootDir) -> impl Iterator<Item = FileAction> {
    let is_there = |unit: &str| {
        let places = ["/usr/lib/systemd/system", "/lib/systemd/system"];
        let mut places = places.iter();
        places.any(|place| root.has(&format!("{place}/{unit}")))
    };
    let asked = QUESTIONS.iter().filter(move |(unit, _)| is_there(unit));
    asked.map(|(unit, command)| {
        FileAction::text(
            format!("{UNITS}/{unit}.d/bivouac.conf"),
            format!("[Service]\nExecStart=\nExecStart={command}\nStandardInput=null\n"),
        )
    })
}

fn script(root: &RootDir, text: String) -> FileAction {
    let siblings = root.names("/etc/init.d");
    let mut paths = siblings.iter().map(|name| format!("/etc/init.d/{name}"));
    FileAction::Text {
        path: "/etc/init.d/bivouac-agent".to_owned(),
        mode: 0o755,
        text,
        // Scripts have an SELinux label of their own, not that of their directory.
        label: paths.find_map(|path| image_writer::label(root, &path)),
    }
}

fn openrc(root: &RootDir, stage: Stage) -> Vec<FileAction> {
    // Before OpenRC 0.13 the interpreter was called runscript.
    let interpreter = [
        "/sbin/openrc-run",
        "/usr/sbin/openrc-run",
        "/sbin/runscript",
    ]
    .into_iter()
    .find(|path| root.has(path))
    .unwrap_or("/sbin/openrc-run");
    let depend = match stage {
        Stage::Basic => "need localmount",
        Stage::MultiUser => "after *",
    };
    let text = format!(
        "\
#!{interpreter}
description=\"bivouac agent\"
command={PROGRAM}
command_background=yes
pidfile=/run/bivouac-agent.pid
depend() {{
	{depend}
}}
"
    );
    vec![
        script(root, text),
        FileAction::link(
            "/etc/runlevels/default/bivouac-agent",
            "/etc/init.d/bivouac-agent",
        ),
    ]
}

fn sysvinit(root: &RootDir, stage: Stage) -> Vec<FileAction> {
    let (place, needed) = match stage {
        Stage::Basic => ("01", "$local_fs"),
        Stage::MultiUser => ("99", "$all"),
    };
    let text = format!(
        "\
#!/bin/sh
# chkconfig: 2345 {place} 01
# description: bivouac agent
### BEGIN INIT INFO
# Provides: bivouac-agent
# Required-Start: {needed}
# Required-Stop:
# Default-Start: 2 3 4 5
# Default-Stop:
# Short-Description: bivouac agent
### END INIT INFO
case \"$1\" in
start) {PROGRAM} </dev/null >/dev/null 2>&1 & ;;
esac
exit 0
"
    );
    let mut actions = vec![script(root, text)];
    for level in runlevels(root) {
        let link = format!("{level}/S{place}bivouac-agent");
        actions.push(FileAction::link(link, "/etc/init.d/bivouac-agent"));
    }
    actions
}

/// What BusyBox's init does without an inittab (init.c, parse_inittab).
const DEFAULT_INITTAB: &str = "\
::sysinit:/etc/init.d/rcS
::askfirst:-/bin/sh
::ctrlaltdel:/sbin/reboot
::shutdown:/sbin/swapoff -a
::shutdown:/bin/umount -a -r
::restart:/sbin/init
";

/// BusyBox runs `once` after `sysinit` and `wait`, regardless of the order of the lines.
fn busybox(root: &RootDir) -> Vec<FileAction> {
    let once = format!("::once:{PROGRAM}\n");
    match root.has("/etc/inittab") {
        true => vec![line(once)],
        false => vec![FileAction::text(
            "/etc/inittab",
            format!("{DEFAULT_INITTAB}{once}"),
        )],
    }
}
