//! A case is its own failure, whatever it does to its machine.

use super::{Fixture, ended, events};

/// What a case does, and what comes of it.
const CASES: [(&str, &str); 11] = [
    ("rm -rf /etc /bin 2>/dev/null; [ -e /etc/passwd ]", "failed"),
    ("dd if=/dev/zero of=/full bs=1M; sync; exit 4", "failed"),
    ("poweroff -f; sleep 1000", "crashed"),
    ("reboot -f; sleep 1000", "crashed"),
    ("echo c > /proc/sysrq-trigger; sleep 1000", "crashed"),
    ("date -s 2001-02-03; exit 4", "failed"),
    ("kill -9 -1; sleep 1000", "timed-out"),
    (
        "dd if=/dev/zero of=/dev/vda bs=1M count=8; exit 5",
        "failed",
    ),
    ("ifconfig eth0 down; hostname other; exit 6", "failed"),
    ("while true; do echo flood; done", "timed-out"),
    ("sleep 1000", "timed-out"),
];

/// Run between them, and after: it finds all as it was prepared.
const CONTROL: &str = "set -e; test -e /etc/passwd; test -e /prepared; ! test -e /full; \
     test $(date +%Y) -gt 2020; df -k / | awk 'END { exit $4 < 1000 }'; \
     test $(hostname) != other; echo control > /etc/passwd; hostname other";

#[test]
fn a_case_that_wrecks_its_machine_is_its_own_failure_only() {
    let fixture = Fixture::new();
    let before = fixture.untouched();
    let mut scripts = Vec::new();
    let controls: Vec<_> = (0..=CASES.len())
        .map(|n| format!("{CONTROL} # {n}"))
        .collect();
    for ((case, _), control) in CASES.iter().zip(&controls) {
        scripts.extend([control.as_str(), *case]);
    }
    scripts.push(controls.last().unwrap());
    let options = [
        "--json",
        "--jobs=2",
        "--timeout=20s",
        "--prepare=echo > /prepared",
    ];
    let finished = fixture.test(&options, &scripts).output();
    assert_eq!(finished.code(), Some(1), "{finished:?}");
    for (case, verdict) in CASES {
        let event = ended(&finished, case);
        assert_eq!(event["verdict"], verdict, "{event:#}");
        // However much a case prints.
        assert!(event["output"].as_str().unwrap().len() < 1 << 20);
    }
    for control in &controls {
        assert_eq!(
            ended(&finished, control)["verdict"],
            "passed",
            "{finished:?}"
        );
    }
    let end = &events(&finished, "end")[0];
    let counts = ["passed", "failed", "errors", "not_run"].map(|name| end[name].as_u64().unwrap());
    assert_eq!(counts, [12, 11, 0, 0], "{end:#}");
    assert_eq!(fixture.untouched(), before);
    fixture.is_clean(&[]);
}

#[test]
fn branches_differ_in_random_numbers_and_address_and_agree_in_all_else() {
    let fixture = Fixture::new();
    let script = "cat /proc/sys/kernel/random/uuid; cat /sys/class/net/eth0/address; \
         cat /proc/sys/kernel/random/boot_id /root/saved; exit 1";
    let cases = [format!("{script} # 1"), format!("{script} # 2")];
    let options = [
        "--json",
        "--net=user",
        // The kernel draws the boot's id when it is read first.
        "--prepare=cat /proc/sys/kernel/random/uuid /proc/sys/kernel/random/boot_id > /root/saved",
    ];
    let cases = cases.each_ref().map(String::as_str);
    let finished = fixture.test(&options, &cases).output();
    let [one, other] = cases.map(|case| {
        let output = ended(&finished, case)["output"]
            .as_str()
            .unwrap()
            .to_owned();
        let lines: Vec<_> = output.lines().map(str::to_owned).collect();
        assert_eq!(lines.len(), 5, "{finished:?}");
        lines
    });
    assert_ne!(one[0], other[0]);
    assert_ne!(one[1], other[1]);
    assert_eq!(one[2..], other[2..]);
    fixture.is_clean(&[]);
}
