//! Steps of `--prepare`: each is done once, and again from the first on that changed.

use std::fs;
use std::process::Command;

use super::Fixture;
use crate::env::cases::Cases;
use crate::env::qemu10;

/// Each step leaves a number that no other run of it would.
const FIRST: &str =
    "--prepare=cat /proc/sys/kernel/random/uuid > /root/first; (sleep 12345; true) &";
const SECOND: &str = "--prepare=cat /proc/sys/kernel/random/uuid /srv/file > /root/second";

/// What both left, and whether the template was there.
#[derive(Clone, Debug, PartialEq)]
struct Outcome {
    first: String,
    second: String,
    template: String,
}

impl Fixture {
    #[track_caller]
    fn outcome(&self, options: &[&str]) -> Outcome {
        let script = "head -1 /root/first; head -1 /root/second; ps | grep -c '[s]leep 12345'";
        let (finished, template) = self.run(options, script);
        assert_eq!(finished.code(), Some(0), "{finished:?}");
        let lines: Vec<_> = finished.stdout.lines().collect();
        // Its processes are part of a machine: the subshell and the program that it waits for.
        assert!(["1", "2"].contains(&lines[2]), "{finished:?}");
        Outcome {
            first: lines[0].to_owned(),
            second: lines[1].to_owned(),
            template: template.as_str().unwrap().to_owned(),
        }
    }
}

#[test]
fn a_step_is_done_once_and_again_from_the_one_that_changed() {
    let fixture = Fixture::new();
    let before = fixture.untouched();
    let file = fixture.path("file");
    fs::write(&file, "text\n").unwrap();
    let copy = format!("--copy-in={}:/srv/file", file.display());
    let options = [FIRST, &copy, SECOND];

    let made = fixture.outcome(&options);
    assert_eq!(made.template, "built");
    let made = Outcome {
        template: "restored".to_owned(),
        ..made
    };
    assert_eq!(fixture.outcome(&options), made);
    fixture.is_clean(&[]);

    let mut cases = Cases::default();
    cases.case("only its time changed", || {
        let touched = Command::new("touch").arg(&file).status().unwrap();
        assert!(touched.success());
        assert_eq!(fixture.outcome(&options), made);
    });
    cases.case("what stands behind a step is not its own", || {
        let options = [FIRST, &copy, SECOND, "--env=A=b", &copy, "--workdir=/root"];
        assert_eq!(fixture.outcome(&options), made);
    });
    let changed = |options: &[&str], first_too: bool| {
        let now = fixture.outcome(options);
        assert_eq!(now.template, "built");
        assert_eq!(now.first != made.first, first_too, "{now:?} {made:?}");
        assert_ne!(now.second, made.second);
    };
    let second = format!("{SECOND}; true");
    cases.case("the second command", || {
        changed(&[FIRST, &copy, &second], false)
    });
    cases.case("its environment", || {
        changed(&[FIRST, &copy, "--env=A=b", SECOND], false);
    });
    cases.case("its directory", || {
        changed(&[FIRST, "--workdir=/tmp", &copy, SECOND], false);
    });
    let first = FIRST.replace("cat", "true; cat");
    cases.case("the first command", || {
        changed(&[&first, &copy, SECOND], true)
    });
    cases.case("the copied file", || {
        fs::write(&file, "text!\n").unwrap();
        changed(&options, false);
    });
    assert_eq!(fixture.untouched(), before);
    cases.case("the image", || {
        fixture.write_into_image("hostname", "another\n");
        changed(&options, true);
    });
    drop(cases);
    fixture.is_clean(&[]);
}

#[test]
fn a_step_that_fails_shows_its_output_and_leaves_those_before_it() {
    let fixture = Fixture::new();
    let before = fixture.untouched();
    let made = "--prepare=cat /proc/sys/kernel/random/uuid > /root/first";
    for (script, why) in [
        ("echo out; echo err >&2; exit 3", "status 3"),
        ("kill -9 $$", "signal 9"),
        ("poweroff -f; sleep 1000", "the guest powered off"),
    ] {
        let failing = format!("--prepare={script}");
        let (finished, _) = fixture.run(&[made, &failing], "true");
        let stderr = &finished.stderr;
        let code = if script.starts_with("poweroff") {
            122
        } else {
            125
        };
        assert_eq!(finished.code(), Some(code), "{finished:?}");
        assert!(stderr.contains("step 2 of 2"), "{stderr}");
        assert!(stderr.contains(why), "{why}: {stderr}");
        let hint = stderr.lines().find(|line| line.contains("hint:")).unwrap();
        assert!(hint.contains("bivouac run --warm --tty"), "{hint}");
        assert!(hint.contains(made) && !hint.contains(script), "{hint}");
        if script.starts_with("echo") {
            // Two streams: either may come first.
            let has = |line| stderr.lines().any(|one| one == line);
            assert!(has("out") && has("err"), "{stderr}");
        }
        fixture.is_clean(&[]);
    }
    let (first, template) = fixture.run(&[made], "cat /root/first");
    assert_eq!((first.code(), template), (Some(0), "restored".into()));
    // A machine that cannot be saved is not booted instead.
    let (finished, _) = fixture.run(&[made, "--bus=nvme"], "true");
    assert_eq!(finished.code(), Some(125), "{finished:?}");
    assert!(finished.stderr.contains("--prepare needs"), "{finished:?}");
    assert_eq!(fixture.untouched(), before);
}

#[test]
fn steps_are_saved_and_cases_restored_by_qemu_10() {
    let fixture = Fixture::new();
    let options = qemu10::options();
    let mut options: Vec<_> = options.iter().map(String::as_str).collect();
    options.extend(["--prepare=echo 1 > /root/1", "--prepare=cp /root/1 /root/2"]);
    for expected in ["built", "restored"] {
        let (finished, template) = fixture.run(&options, "cat /root/1 /root/2");
        assert_eq!(finished.stdout, "1\n1\n", "{finished:?}");
        assert_eq!(template, expected);
    }
    let finished = fixture
        .test(&options, &["cat /root/2", "rm /root/2"])
        .output();
    assert_eq!(finished.code(), Some(0), "{finished:?}");
    fixture.is_clean(&[]);
}
