//! In a container: without privileges, with a read-only root and without /dev/kvm, as root and as a user
//! without a name. Its root is this host's; scripts/container tries the image of examples/container.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::env::guests::guest;

/// What the container's root has of this host's.
const PLACES: [&str; 7] = ["/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc", "/boot"];

fn in_container(bundle: &Path, user: u32, words: &[&str]) -> std::process::Output {
    let runc = || {
        let mut runc = Command::new("runc");
        runc.current_dir(bundle);
        runc
    };
    if !bundle.join("config.json").exists() {
        assert!(
            runc()
                .arg("spec")
                .status()
                .expect("runc is there")
                .success()
        );
    }
    let text = fs::read_to_string(bundle.join("config.json")).unwrap();
    let mut config: Value = serde_json::from_str(&text).unwrap();
    config["root"] = json!({"path": "root", "readonly": true});
    let process = &mut config["process"];
    process["terminal"] = json!(false);
    process["user"] = json!({"uid": user, "gid": 0});
    process["args"] = json!([&["/bivouac"], words].concat());
    process["cwd"] = json!("/tmp");
    process["capabilities"] = json!({});
    process["env"] = json!([
        "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME=/tmp",
        "TMPDIR=/tmp",
        "XDG_CACHE_HOME=/tmp/cache",
        "BIVOUAC_ACCEL=tcg"
    ]);
    let mut mounts = config["mounts"].as_array().unwrap().clone();
    mounts.retain(|mount| {
        let place = mount["destination"].as_str().unwrap();
        !PLACES.contains(&place) && !["/tmp", "/bivouac", "/images"].contains(&place)
    });
    let bind = |from: &str, to: &str| json!({"destination": to, "type": "bind", "source": from, "options": ["bind", "ro"]});
    mounts.extend(
        PLACES
            .iter()
            .filter(|place| Path::new(place).exists())
            .map(|place| {
                let real = fs::canonicalize(place).unwrap();
                bind(real.to_str().unwrap(), place)
            }),
    );
    mounts.push(bind(env!("CARGO_BIN_EXE_bivouac"), "/bivouac"));
    mounts.push(bind(
        guest("box.qcow2").parent().unwrap().to_str().unwrap(),
        "/images",
    ));
    mounts.push(
        json!({"destination": "/tmp", "type": "tmpfs", "source": "tmpfs",
        "options": ["nosuid", "nodev", "mode=1777", "size=4g"]}),
    );
    config["mounts"] = mounts.into();
    fs::write(bundle.join("config.json"), config.to_string()).unwrap();
    let name = format!("bivouac-test-{}-{user}", std::process::id());
    runc().args(["run", &name]).output().unwrap()
}

#[test]
fn a_container_without_privileges_inspects_an_image_as_root_and_as_anyone() {
    let bundle = tempfile::tempdir_in("/var/tmp").unwrap();
    fs::create_dir(bundle.path().join("root")).unwrap();
    // runc gives the tmpfs the mode of the directory.
    let mut mkdir = Command::new("mkdir");
    let tmp = bundle.path().join("root/tmp");
    assert!(
        mkdir
            .args(["-m", "1777"])
            .arg(tmp)
            .status()
            .unwrap()
            .success()
    );
    for user in [0, 1_234_567] {
        let output = in_container(
            bundle.path(),
            user,
            &["cat", "/images/box.qcow2:/etc/os-release"],
        );
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{user}: {said}");
        assert!(
            String::from_utf8_lossy(&output.stdout).starts_with("ID=box\n"),
            "{user}"
        );
    }
}
