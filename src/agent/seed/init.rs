//! What starts services in an image, and what makes it start one more.
//!
//! Wherever it is started, the agent is the last thing or nearly so: that it answers is the news
//! that the image is up ([`Stage`]). A port of the machine tells it apart from any other program,
//! so it needs no argument.

use super::PROGRAM;
use super::image::Image;
use super::plan::Piece;
use crate::guest::wire::seed::{Init, Stage};

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

/// What the kernel will start, and what that starts. More may be installed than is used, so the
/// program that `/sbin/init` is decides where it can.
pub fn find(image: &Image) -> Option<Init> {
    let is_init = |paths: &[&str]| paths.iter().any(|path| image.is_same("/sbin/init", path));
    // The kernel tries /sbin/init and then /etc/init and /bin/init; systemd without a link there
    // is told by `init=`.
    let systemd_alone =
        !image.has("/sbin/init") && SYSTEMD.iter().any(|program| image.has(program));
    if is_init(&SYSTEMD) || systemd_alone {
        return Some(Init::Systemd);
    }
    let has_openrc = OPENRC.iter().any(|path| image.has(path));
    if has_openrc && image.has_directory("/etc/runlevels/default") {
        return Some(Init::OpenRc);
    }
    if is_init(&BUSYBOX) {
        return Some(Init::BusyBox);
    }
    if !image.has("/sbin/init") {
        return None;
    }
    // Debian's startpar starts what is in its own list of dependencies, and nothing besides.
    let has_list = image.has("/etc/init.d/.depend.start");
    match (runlevels(image).is_empty(), image.has("/etc/inittab")) {
        (false, false) => Some(Init::SysVInit),
        (false, true) if !has_list => Some(Init::SysVInit),
        (_, true) => Some(Init::SysVInittab),
        (true, false) => None,
    }
}

/// The directories of links of the runlevels with services.
fn runlevels(image: &Image) -> Vec<String> {
    let mut found = Vec::new();
    for level in 2..=5 {
        let places = [
            format!("/etc/rc{level}.d"),
            format!("/etc/rc.d/rc{level}.d"),
            format!("/etc/init.d/rc{level}.d"),
        ];
        found.extend(places.into_iter().find(|path| image.has_directory(path)));
    }
    found
}

/// What has to be written for it, besides the program.
pub fn pieces(image: &Image, init: Init, stage: Stage) -> Vec<Piece> {
    match init {
        Init::Systemd => systemd(image, stage),
        Init::OpenRc => openrc(image, stage),
        Init::SysVInit => sysvinit(image, stage),
        // Lines are obeyed in turn, and this one is behind those that wait for the runlevel.
        Init::SysVInittab => vec![line(format!("bvac:2345:once:{PROGRAM}\n"))],
        Init::BusyBox => busybox(image),
    }
}

fn line(text: String) -> Piece {
    let path = "/etc/inittab".to_owned();
    Piece::Line { path, text }
}

const UNIT: &str = "bivouac-agent.service";
const EMERGENCY_UNIT: &str = "bivouac-emergency.service";
const UNITS: &str = "/etc/systemd/system";

/// Without default dependencies, a target that wants the unit does not wait for it, and so no
/// order can run in a circle: the unit waits for the target, and that is all.
///
/// Where the boot fails, emergency mode takes every ordinary service out of the queue, and starts
/// the agent with word of it: else this one would still be started, as though all were well. Who
/// boots to rescue mode has asked for it.
fn systemd(image: &Image, stage: Stage) -> Vec<Piece> {
    let after = match stage {
        Stage::Basic => "basic.target",
        Stage::MultiUser => "basic.target multi-user.target",
    };
    // The most that there is of rescue mode, which pulls in neither of them.
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
    let usual = unit("The agent of bivouac", &order, "", "multi-user.target");
    let emergency = unit(
        "The agent of bivouac in emergency mode",
        "Conflicts=rescue.target",
        " --emergency",
        "emergency.target",
    );
    let path = |unit: &str| format!("{UNITS}/{unit}");
    let mut pieces = vec![
        Piece::text(path(UNIT), usual),
        Piece::text(path(EMERGENCY_UNIT), emergency),
        // The first boot of an image may set every unit as its presets say, and those of
        // Fedora's family say: disabled.
        Piece::text(
            "/etc/systemd/system-preset/00-bivouac.preset",
            format!("enable {UNIT}\nenable {EMERGENCY_UNIT}\n"),
        ),
    ];
    // Whichever target the image boots to; one that is not multi-user need not pull that in.
    for (target, unit) in [
        ("multi-user.target", UNIT),
        ("default.target", UNIT),
        ("rescue.target", UNIT),
        ("emergency.target", EMERGENCY_UNIT),
    ] {
        pieces.push(Piece::link(
            format!("{UNITS}/{target}.wants/{unit}"),
            path(unit),
        ));
    }
    pieces.extend(first_boot(image));
    pieces
}

/// What asks a person at the console how a new system is to be, before anything else is started,
/// and what it is without its questions. Nobody types there.
const QUESTIONS: [(&str, &str); 2] = [
    ("systemd-firstboot.service", "/usr/bin/systemd-firstboot"),
    (
        "systemd-homed-firstboot.service",
        "/usr/bin/homectl firstboot",
    ),
];

fn first_boot(image: &Image) -> impl Iterator<Item = Piece> {
    let is_there = |unit: &str| {
        let places = ["/usr/lib/systemd/system", "/lib/systemd/system"];
        let mut places = places.iter();
        places.any(|place| image.has(&format!("{place}/{unit}")))
    };
    let asked = QUESTIONS.iter().filter(move |(unit, _)| is_there(unit));
    asked.map(|(unit, command)| {
        Piece::text(
            format!("{UNITS}/{unit}.d/bivouac.conf"),
            format!("[Service]\nExecStart=\nExecStart={command}\nStandardInput=null\n"),
        )
    })
}

fn script(image: &Image, text: String) -> Piece {
    let siblings = image.names("/etc/init.d");
    let mut paths = siblings.iter().map(|name| format!("/etc/init.d/{name}"));
    Piece::Text {
        path: "/etc/init.d/bivouac-agent".to_owned(),
        mode: 0o755,
        text,
        // Scripts have a label of their own, which is not that of their directory.
        label: paths.find_map(|path| image.label(&path)),
    }
}

fn openrc(image: &Image, stage: Stage) -> Vec<Piece> {
    // Before OpenRC 0.13 it was called otherwise.
    let interpreter = [
        "/sbin/openrc-run",
        "/usr/sbin/openrc-run",
        "/sbin/runscript",
    ]
    .into_iter()
    .find(|path| image.has(path))
    .unwrap_or("/sbin/openrc-run");
    let depend = match stage {
        Stage::Basic => "need localmount",
        Stage::MultiUser => "after *",
    };
    let text = format!(
        "\
#!{interpreter}
description=\"The agent of bivouac\"
command={PROGRAM}
command_background=yes
pidfile=/run/bivouac-agent.pid
depend() {{
	{depend}
}}
"
    );
    vec![
        script(image, text),
        Piece::link(
            "/etc/runlevels/default/bivouac-agent",
            "/etc/init.d/bivouac-agent",
        ),
    ]
}

fn sysvinit(image: &Image, stage: Stage) -> Vec<Piece> {
    let (place, needed) = match stage {
        Stage::Basic => ("01", "$local_fs"),
        Stage::MultiUser => ("99", "$all"),
    };
    let text = format!(
        "\
#!/bin/sh
# chkconfig: 2345 {place} 01
# description: The agent of bivouac
### BEGIN INIT INFO
# Provides: bivouac-agent
# Required-Start: {needed}
# Required-Stop:
# Default-Start: 2 3 4 5
# Default-Stop:
# Short-Description: The agent of bivouac
### END INIT INFO
case \"$1\" in
start) {PROGRAM} </dev/null >/dev/null 2>&1 & ;;
esac
exit 0
"
    );
    let mut pieces = vec![script(image, text)];
    for level in runlevels(image) {
        let link = format!("{level}/S{place}bivouac-agent");
        pieces.push(Piece::link(link, "/etc/init.d/bivouac-agent"));
    }
    pieces
}

/// What BusyBox's init does where there is no inittab (init.c, parse_inittab).
const DEFAULT_INITTAB: &str = "\
::sysinit:/etc/init.d/rcS
::askfirst:-/bin/sh
::ctrlaltdel:/sbin/reboot
::shutdown:/sbin/swapoff -a
::shutdown:/bin/umount -a -r
::restart:/sbin/init
";

/// Whatever the order of the lines, `once` comes behind `sysinit` and `wait`.
fn busybox(image: &Image) -> Vec<Piece> {
    let once = format!("::once:{PROGRAM}\n");
    match image.has("/etc/inittab") {
        true => vec![line(once)],
        false => vec![Piece::text(
            "/etc/inittab",
            format!("{DEFAULT_INITTAB}{once}"),
        )],
    }
}
