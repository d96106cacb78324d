//! The examples of inspecting images do what they say: each line of the README's section and of
//! the commands' manual pages is typed into a shell. (The others are parsed by `examples`; what
//! boots Debian is run by `vm::run::debian`.)

use std::fs;

use crate::architecture::root;
use crate::docs::examples::fenced;
use crate::env::guests::guest;
use crate::env::mount_ns::MountNs;

const PAGES: [&str; 8] = [
    "chroot", "ls", "cat", "cp", "df", "inspect", "tail", "template",
];

/// Every line that is typed, but for those that never end or need a network.
fn lines() -> Vec<String> {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let section = readme.split("### Look inside an image\n").nth(1).unwrap();
    let section = section.split("\n### ").next().unwrap();
    let mut lines = fenced(section);
    assert!(lines.len() >= 7, "{lines:?}");
    for page in PAGES {
        let text = fs::read_to_string(root().join(format!("man/bivouac-{page}.1"))).unwrap();
        let typed = text.lines().filter_map(|line| line.strip_prefix(".Dl $ "));
        let typed: Vec<_> = typed
            .map(|line| line.replace("\\(dq", "\"").replace("\\(aq", "'"))
            .collect();
        assert!(!typed.is_empty(), "{page}");
        lines.extend(typed);
    }
    // The machine `gcc` is made with a network.
    let others = ["tail -f", "--net ", " gcc"];
    lines.retain(|line| !others.iter().any(|other| line.contains(other)));
    lines
}

#[test]
fn the_examples_of_inspecting_images_do_what_they_say() {
    let ns = MountNs::new();
    let work = ns.path("work");
    for name in ["debian12.qcow2", "tiny.raw"] {
        std::os::unix::fs::symlink(guest(name), work.join(name)).unwrap();
    }
    fs::write(work.join("upgrade.sh"), "apt-mark showmanual | head -3\n").unwrap();
    let set_up = format!(
        "export PATH={}:$PATH BIVOUAC_ACCEL=tcg TMPDIR={} XDG_CACHE_HOME={}\ncd {}\n",
        ns.inside("kept"),
        ns.inside("overlays"),
        ns.inside("cache"),
        ns.inside("work"),
    );
    for line in lines() {
        println!("$ {line}");
        let line = line.replace('\'', "'\\''");
        ns.shell(&format!("{set_up}bash -o pipefail -c '{line}' </dev/null"));
    }
    assert!(ns.path("work/etc/os-release").symlink_metadata().is_ok());
}
