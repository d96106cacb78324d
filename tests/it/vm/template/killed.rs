//! The kill matrix while a template is built: nothing that is half built is ever used, and
//! nothing stays but what the next builder sweeps away.

use std::time::Duration;

use nix::sys::signal::Signal;

use super::{chroot, only_template, templates, was_built, was_restored};
use crate::env::bivouac::children;
use crate::env::guests::guest;
use crate::env::residue::alive;
use crate::env::wait::{patiently, soon};

/// When the builder is killed: so long after the template's files appear, or after its start.
#[derive(Clone, Copy, Debug)]
enum When {
    Started(u64),
    FlushHandle(u64),
}

#[test]
fn a_builder_that_is_killed_leaves_nothing_that_is_used() {
    use When::{FlushHandle, Started};
    let home = tempfile::tempdir_in("/var/tmp").unwrap();
    let image = guest("debian12.qcow2");
    let image = image.to_str().unwrap();
    let instants = [
        Started(5),
        Started(150),
        Started(1500),
        Started(4000),
        FlushHandle(0),
        FlushHandle(3),
        FlushHandle(10),
        FlushHandle(30),
        FlushHandle(80),
    ];
    for instant in instants {
        let running = chroot(home.path(), image, "cat /etc/hostname").start();
        let wait = match instant {
            Started(wait) => wait,
            FlushHandle(wait) => {
                patiently("the template is written", || {
                    let entries = std::fs::read_dir(templates(home.path()));
                    let mut entries = entries.into_iter().flatten().flatten();
                    entries.any(|entry| entry.path().join("memory").exists())
                });
                wait
            }
        };
        std::thread::sleep(Duration::from_millis(wait));
        let started = children(running.pid());
        running.signal(Signal::SIGKILL);
        running.wait();
        soon(&format!("its processes are gone: {instant:?}"), || {
            !started.iter().any(|pid| alive(*pid))
        });
        // A template that has its name is whole: it is not built again.
        let names = std::fs::read_dir(templates(home.path()))
            .into_iter()
            .flatten();
        let names = names
            .flatten()
            .map(|entry| entry.file_name().into_string().unwrap());
        let published = names.filter(|name| !name.starts_with('.')).count();
        if published > 0 {
            let finished = chroot(home.path(), image, "cat /etc/hostname").output();
            assert_eq!(finished.stdout, "debian12\n", "{finished:?}");
            assert!(!was_built(&finished), "{instant:?}: {finished:?}");
            assert!(was_restored(&finished), "{instant:?}: {finished:?}");
            std::fs::remove_dir_all(templates(home.path())).unwrap();
        }
    }
    let finished = chroot(home.path(), image, "cat /etc/hostname").output();
    assert_eq!(finished.stdout, "debian12\n", "{finished:?}");
    assert!(was_restored(&finished));
    only_template(home.path());
}
