//! A builder that is ended at any instant leaves nothing that is used.

use std::fs;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;

use super::WarmFixture;
use crate::env::bivouac::{PATIENCE, children};

/// When it is ended: so long after it was started, or after the first files of the image's
/// template are there.
#[derive(Clone, Copy, Debug)]
enum When {
    Started(u64),
    FlushHandle(u64),
}

use Signal::{SIGINT, SIGKILL};
use When::{FlushHandle, Started};

#[test]
fn an_image_whose_building_is_cut_short_is_built_anew() {
    let fixture = WarmFixture::new();
    let before = fixture.untouched();
    // While the appliance is built first; its template is kept.
    let (finished, template) = fixture.reported(&["--timeout", "1"], "true");
    assert_eq!(finished.code(), Some(124), "{finished:?}");
    assert_eq!(template, Value::Null);
    fixture.is_clean(&[]);
    let instants = [
        (SIGINT, Started(300)),
        (SIGKILL, FlushHandle(0)),
        (SIGKILL, Started(1000)),
        (SIGINT, Started(2500)),
        (SIGKILL, Started(4000)),
        (SIGKILL, FlushHandle(300)),
    ];
    for (signal, moment) in instants {
        let running = fixture.warm(&[], "sleep 1000").start();
        match moment {
            Started(wait) => std::thread::sleep(Duration::from_millis(wait)),
            FlushHandle(wait) => {
                let start = Instant::now();
                while !fixture.is_being_written() {
                    assert!(start.elapsed() < PATIENCE);
                    std::thread::sleep(Duration::from_millis(1));
                }
                std::thread::sleep(Duration::from_millis(wait));
            }
        }
        let started = children(running.pid());
        running.signal(signal);
        let finished = running.wait();
        let expected = (signal == SIGINT).then_some(128 + 2);
        assert_eq!(finished.code(), expected, "{moment:?}: {finished:?}");
        fixture.is_clean(&started);
        // Whatever has its name is whole.
        for template in fixture.published("image") {
            let (finished, template_is) = fixture.reported(&[], "exit 7");
            assert_eq!(finished.code(), Some(7), "{moment:?}: {finished:?}");
            assert_eq!(template_is, "restored", "{moment:?}");
            assert_eq!(finished.stderr, "", "{moment:?}");
            fs::remove_dir_all(template).unwrap();
        }
    }
    // Two at once: one builds it, for both.
    let reports = ["one", "other"].map(|name| fixture.path(name));
    let both = reports.each_ref().map(|path| {
        let report = format!("--report={}", path.display());
        fixture
            .warm(&[&report], "cat /etc/hostname; exit 7")
            .start()
    });
    for running in both {
        let finished = running.wait();
        assert_eq!(finished.code(), Some(7), "{finished:?}");
        assert_eq!((&*finished.stdout, &*finished.stderr), ("box\n", ""));
    }
    let mut templates = reports.map(|path| {
        let report: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        report["template"].as_str().unwrap().to_owned()
    });
    templates.sort();
    assert_eq!(templates, ["built", "restored"]);
    assert_eq!(fixture.names().len(), 2, "{:?}", fixture.names());
    assert_eq!(fixture.untouched(), before);
    super::damaged::checks(&fixture);
}
