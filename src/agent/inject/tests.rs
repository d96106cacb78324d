//! Injection into trees of each kind of system.

use std::fs;
use std::io::{Seek, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use super::file_action::PROGRAM;
use super::*;
use crate::protocol::inject::Init;

/// A tree of files; a text that begins with `->` makes a link.
fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = dir.path().join(path.trim_start_matches('/'));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        match text.strip_prefix("->") {
            Some(target) => symlink(target, path).unwrap(),
            None => fs::write(path, text).unwrap(),
        }
    }
    dir
}

fn injected(dir: &Path, stage: Stage) -> Result<Injection, RemoteError> {
    let mut program = tempfile::tempfile().unwrap();
    program.write_all(b"agent").unwrap();
    program.rewind().unwrap();
    inject_program(&RootDir::of_request(dir)?, &program, stage)
}

fn injected_into(files: &[(&str, &str)]) -> (tempfile::TempDir, Injection) {
    let dir = tree(files);
    let image = dir.path();
    let injection = injected(image, Stage::MultiUser).unwrap();
    let program = image.join(&PROGRAM[1..]);
    assert_eq!(fs::read_to_string(&program).unwrap(), "agent");
    assert_eq!(fs::metadata(&program).unwrap().mode() & 0o7777, 0o755);
    for path in &injection.written {
        let found = fs::symlink_metadata(image.join(&path[1..]));
        assert!(found.is_ok(), "{path}");
    }
    (dir, injection)
}

fn read(dir: &tempfile::TempDir, path: &str) -> String {
    fs::read_to_string(dir.path().join(path)).unwrap()
}

fn link(dir: &tempfile::TempDir, path: &str) -> String {
    let target = fs::read_link(dir.path().join(path)).unwrap();
    target.to_str().unwrap().to_owned()
}

#[test]
fn systemd_gets_a_unit_that_every_boot_target_wants() {
    let (dir, injection) = injected_into(&[
        ("usr/lib/systemd/systemd", ""),
        ("lib", "->usr/lib"),
        ("sbin/init", "->/lib/systemd/systemd"),
        ("etc/init.d/README", ""),
        ("usr/lib/systemd/system/systemd-firstboot.service", ""),
    ]);
    assert_eq!(injection.init, Init::Systemd);
    assert!(!injection.cloud_init);
    let unit = read(&dir, "etc/systemd/system/bivouac-agent.service");
    assert!(unit.contains("\nAfter=sysinit.target rescue.target basic.target multi-user.target\n"));
    assert!(unit.contains(&format!("\nExecStart={PROGRAM}\n")));
    assert!(unit.contains("\nDefaultDependencies=no\n"));
    for (target, unit) in [
        ("multi-user", "bivouac-agent"),
        ("default", "bivouac-agent"),
        ("rescue", "bivouac-agent"),
        ("emergency", "bivouac-emergency"),
    ] {
        let unit = format!("{unit}.service");
        let wants = format!("etc/systemd/system/{target}.target.wants/{unit}");
        assert_eq!(link(&dir, &wants), format!("/etc/systemd/system/{unit}"));
    }
    // A failed boot is distinguished from a completed one.
    assert!(unit.contains("\nConflicts=emergency.target\n"));
    let emergency = read(&dir, "etc/systemd/system/bivouac-emergency.service");
    assert!(emergency.contains(&format!("\nExecStart={PROGRAM} --emergency\n")));
    assert!(!emergency.contains("After="), "{emergency}");
    // Questions on the console are turned off; other units are left alone.
    let quiet = read(
        &dir,
        "etc/systemd/system/systemd-firstboot.service.d/bivouac.conf",
    );
    assert!(quiet.contains("\nExecStart=\nExecStart=/usr/bin/systemd-firstboot\n"));
    let homed = "etc/systemd/system/systemd-homed-firstboot.service.d";
    assert!(!dir.path().join(homed).exists());
    let early = tree(&[("usr/lib/systemd/systemd", "")]);
    injected(early.path(), Stage::Basic).unwrap();
    let unit = read(&early, "etc/systemd/system/bivouac-agent.service");
    assert!(
        unit.contains("\nAfter=sysinit.target rescue.target basic.target\n"),
        "{unit}"
    );
}

#[test]
fn openrc_gets_a_script_in_its_default_runlevel_whichever_init_starts_it() {
    let (dir, injection) = injected_into(&[
        ("bin/busybox", "busybox"),
        ("sbin/init", "->/bin/busybox"),
        ("sbin/openrc", ""),
        ("sbin/openrc-run", ""),
        ("etc/inittab", "::wait:/sbin/openrc default\n"),
        ("etc/runlevels/default/crond", "->/etc/init.d/crond"),
    ]);
    assert_eq!(injection.init, Init::OpenRc);
    let script = read(&dir, "etc/init.d/bivouac-agent");
    assert!(script.starts_with("#!/sbin/openrc-run\n"));
    assert!(script.contains("\tafter *\n"));
    assert_eq!(
        link(&dir, "etc/runlevels/default/bivouac-agent"),
        "/etc/init.d/bivouac-agent"
    );
    assert_eq!(read(&dir, "etc/inittab"), "::wait:/sbin/openrc default\n");
}

#[test]
fn sysvinit_gets_a_script_that_is_last_in_each_runlevel() {
    let (dir, injection) = injected_into(&[
        ("sbin/init", "init"),
        ("etc/inittab", "l2:2:wait:/etc/init.d/rc 2\n"),
        ("etc/rc2.d/S01ssh", "->../init.d/ssh"),
        ("etc/rc.d/rc3.d/S01ssh", ""),
        ("etc/init.d/ssh", ""),
    ]);
    assert_eq!(injection.init, Init::SysVInit);
    let script = dir.path().join("etc/init.d/bivouac-agent");
    let mode = fs::metadata(&script).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o755);
    let mut shell = std::process::Command::new("sh");
    assert!(shell.arg("-n").arg(&script).status().unwrap().success());
    for place in ["etc/rc2.d", "etc/rc.d/rc3.d"] {
        let target = link(&dir, &format!("{place}/S99bivouac-agent"));
        assert_eq!(target, "/etc/init.d/bivouac-agent");
    }
    assert!(!read(&dir, "etc/inittab").contains("bivouac"));
}

#[test]
fn an_init_that_only_reads_its_inittab_gets_a_line_in_it() {
    let (dir, injection) = injected_into(&[
        ("sbin/init", "init"),
        ("etc/inittab", "rc:2345:wait:/etc/rc.d/rc.M"),
    ]);
    assert_eq!(injection.init, Init::SysVInittab);
    let line = format!("bvac:2345:once:{PROGRAM}\n");
    assert_eq!(
        read(&dir, "etc/inittab"),
        format!("rc:2345:wait:/etc/rc.d/rc.M\n{line}")
    );
    // startpar starts only what is in its list.
    let (_, injection) = injected_into(&[
        ("sbin/init", "init"),
        ("etc/inittab", ""),
        ("etc/rc2.d/S01ssh", ""),
        ("etc/init.d/.depend.start", ""),
    ]);
    assert_eq!(injection.init, Init::SysVInittab);
    let (dir, injection) = injected_into(&[("bin/busybox", ""), ("sbin/init", "->../bin/busybox")]);
    assert_eq!(injection.init, Init::BusyBox);
    let inittab = read(&dir, "etc/inittab");
    assert!(inittab.contains("::sysinit:/etc/init.d/rcS\n"));
    assert!(inittab.ends_with(&format!("\n::once:{PROGRAM}\n")));
}

#[test]
fn an_unsupported_image_is_refused_before_anything_is_written() {
    let refused = |files: &[(&str, &str)]| {
        let dir = tree(files);
        let error = injected(dir.path(), Stage::MultiUser).unwrap_err();
        assert!(!dir.path().join("etc/bivouac").exists());
        error
    };
    let error = refused(&[("etc/os-release", "ID=data")]);
    assert_eq!(error.step, ErrorStage::Inject);
    let error = refused(&[("sbin/init", "runit")]);
    assert_eq!(error.step, ErrorStage::Inject);

    // A 32-bit system and this 64-bit program.
    let dir = tree(&[
        ("sbin/init", "\x7fELF\x01 and enough of a header"),
        ("etc/inittab", ""),
    ]);
    let program = File::open("/proc/self/exe").unwrap();
    let root = RootDir::open(dir.path()).unwrap();
    let error = inject_program(&root, &program, Stage::MultiUser).unwrap_err();
    assert_eq!(error.text, "its programs are for another CPU architecture");
}

#[test]
fn no_link_in_the_image_leads_out_of_it() {
    let outside = tempfile::tempdir().unwrap();
    let there = outside.path().to_str().unwrap();
    let kept = outside.path().join("kept");
    fs::write(&kept, "kept").unwrap();
    let target = format!("->{there}/kept");
    let up = format!("->../../../../../../..{there}");
    let dir = tree(&[
        ("usr/lib/systemd/systemd", ""),
        ("etc/bivouac/bivouac-agent", &target),
        ("etc/systemd/system/bivouac-agent.service", &target),
        ("etc/systemd/system-preset", &up),
    ]);
    // Within the image the link leads nowhere, and nothing is made there.
    let error = injected(dir.path(), Stage::MultiUser);
    assert!(error.is_err(), "{error:?}");
    let within = dir.path().join(&there[1..]);
    fs::create_dir_all(&within).unwrap();
    let injection = injected(dir.path(), Stage::MultiUser).unwrap();
    assert_eq!(injection.init, Init::Systemd);
    assert!(within.join("00-bivouac.preset").exists());
    assert_eq!(fs::read_to_string(&kept).unwrap(), "kept");
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
    let program = dir.path().join(&PROGRAM[1..]);
    assert!(fs::symlink_metadata(program).unwrap().is_file());
    // No line is appended to a FIFO.
    let dir = tree(&[("bin/busybox", ""), ("sbin/init", "->/bin/busybox")]);
    let fifo = dir.path().join("etc/inittab");
    fs::create_dir(fifo.parent().unwrap()).unwrap();
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert!(injected(dir.path(), Stage::MultiUser).is_err());
}

#[test]
fn cloud_init_gets_a_source_if_it_would_search_the_network() {
    let systemd = ("usr/lib/systemd/systemd", "");
    let (dir, injection) = injected_into(&[
        systemd,
        ("etc/cloud/cloud.cfg", "datasource_list: [ NoCloud ]\n"),
        (
            "etc/cloud/cloud.cfg.d/90_dpkg.cfg",
            "datasource_list: [ NoCloud, Ec2, None ]\n",
        ),
        ("var/lib/cloud/data/instance-id", "i-0123\n"),
    ]);
    assert!(injection.cloud_init);
    let seed = |dir, name| read(dir, &format!("var/lib/cloud/seed/nocloud/{name}"));
    assert_eq!(seed(&dir, "meta-data"), "instance-id: \"i-0123\"\n");
    assert_eq!(seed(&dir, "user-data"), "#cloud-config\n");
    assert!(read(&dir, "etc/cloud/cloud.cfg.d/99_bivouac.cfg").contains("[ NoCloud, None ]"));

    for without in [
        ("etc/cloud/cloud-init.disabled", ""),
        ("var/lib/cloud/seed/nocloud/meta-data", "instance-id: mine"),
        (
            "etc/cloud/cloud.cfg.d/a.cfg",
            "datasource_list: [ NoCloud, None ]",
        ),
    ] {
        let config = ("etc/cloud/cloud.cfg", "users: []\n");
        let (_, injection) = injected_into(&[systemd, config, without]);
        assert!(!injection.cloud_init, "{without:?}");
    }
    // Nor if it only starts when ds-identify finds something; it does not search for a single one.
    for (sources, is_expected) in [
        ("", false),
        ("datasource_list: [ NoCloud, Ec2, None ]\n", false),
        ("datasource_list: [ Ec2 ]\n", true),
        ("datasource_list: [ Ec2, None ]\n", true),
    ] {
        let (_, injection) = injected_into(&[
            systemd,
            ("etc/cloud/cloud.cfg", sources),
            ("usr/lib/cloud-init/ds-identify", ""),
            ("usr/lib/systemd/system-generators/cloud-init-generator", ""),
        ]);
        assert_eq!(injection.cloud_init, is_expected, "{sources}");
    }
    // An instance id of the image cannot break our YAML.
    let (dir, _) = injected_into(&[
        systemd,
        ("etc/cloud/cloud.cfg", ""),
        ("var/lib/cloud/data/instance-id", "a\"\nb: c\n"),
    ]);
    assert_eq!(seed(&dir, "meta-data"), "instance-id: \"bivouac\"\n");
}

#[test]
fn labels_are_copied_from_siblings_and_directories() {
    let dir = tree(&[
        ("sbin/init", "init"),
        ("usr/bin/env", ""),
        ("etc/inittab", ""),
        ("etc/init.d/ssh", ""),
        ("etc/rc2.d/S01ssh", ""),
    ]);
    let path = |name: &str| {
        let path = dir.path().join(name);
        std::ffi::CString::new(path.to_str().unwrap()).unwrap()
    };
    let label = |name: &str| {
        let value = crate::sys::attribute(&path(name), c"security.selinux").unwrap();
        String::from_utf8(value).unwrap()
    };
    for (name, label) in [
        ("usr/bin/env", "bin_t"),
        ("etc", "etc_t"),
        ("etc/init.d", "initrc_dir_t"),
        ("etc/init.d/ssh", "initrc_exec_t"),
        ("etc/rc2.d", "rc_t"),
    ] {
        if let Err(error) =
            crate::sys::set_attribute(&path(name), c"security.selinux", label.as_bytes())
        {
            // Only root may set labels, and the filesystem must have extended attributes.
            assert!(!nix::unistd::geteuid().is_root(), "{error}");
            return;
        }
    }
    assert!(injected(dir.path(), Stage::MultiUser).unwrap().labelled);
    assert_eq!(label("etc/bivouac"), "etc_t");
    assert_eq!(label(&PROGRAM[1..]), "bin_t");
    assert_eq!(label("etc/init.d/bivouac-agent"), "initrc_exec_t");
    assert_eq!(label("etc/rc2.d/S99bivouac-agent"), "rc_t");
}
