//! A server that opens its export and answers no read keeps nobody waiting: signals and time limits end
//! bivouac at once, and nothing is left.

use nix::sys::signal::Signal;

use crate::env::bivouac::{Bivouac, Finished, children};
use crate::env::residue::{alive, files};
use crate::env::servers::Stalled;
use crate::env::wait::soon;

#[test]
fn a_server_that_answers_no_read_keeps_neither_signals_nor_time_limits_waiting() {
    let place = tempfile::tempdir().unwrap();
    let tmp = place.path();
    let said = |done: &Finished, status: i32| {
        assert_eq!((done.code(), &*done.stdout), (Some(status), ""), "{done:?}");
        for words in ["blocked", "dmesg", "buffer"] {
            assert!(!done.stderr.contains(words), "{words}: {done:?}");
        }
        assert!(files(&[tmp]).is_empty(), "{:?}", files(&[tmp]));
    };
    for is_run in [false, true] {
        let command = |options: &[&str], server: &Stalled| {
            let bivouac = Bivouac::new().env("TMPDIR", tmp);
            let bivouac = bivouac.arg(if is_run { "run" } else { "ls" });
            let bivouac = bivouac.arg("--remote").args(options);
            match is_run {
                true => bivouac.args([&server.url, "--", "true"]),
                false => bivouac.arg(format!("{}:/", server.url)),
            }
        };
        for (signal, status) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143)] {
            let server = Stalled::start();
            let options = ["--remote-timeout", "100s"];
            let running = command(&options, &server).start();
            soon("it reads", || server.is_asked());
            let started = children(running.pid());
            running.signal(signal);
            said(&running.wait(), status);
            soon("all are gone", || !started.iter().any(|pid| alive(*pid)));
        }
        let server = Stalled::start();
        let limited = ["--remote-timeout", "100s", "--timeout", "2s"];
        said(&command(&limited, &server).output(), 124);
        let done = command(&["--remote-timeout", "1s"], &server).output();
        said(&done, 125);
        for words in [
            "has not answered within 1 s",
            "hint: --remote-timeout",
            &server.url,
        ] {
            assert!(done.stderr.contains(words), "{words}: {done:?}");
        }
    }
}
