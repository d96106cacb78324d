//! A guest whose agent floods, lies or stalls during a checkpoint or in a branch: an error for that
//! machine, and the others go on.

use super::{Driver, small};

/// The port of the agent, which only one process at a time may open.
const PORT: &str =
    "port=/dev/$(basename $(dirname $(grep -l bivouac /sys/class/virtio-ports/*/name)))";

/// Takes the agent's place and sends what `what` writes.
fn takes_over(what: &str) -> String {
    format!("{PORT}; (sleep 1; kill -9 $PPID; sleep 1; {what} >$port) >/dev/null 2>&1 &")
}

#[test]
fn a_hostile_agent_is_an_error_of_its_machine_alone() {
    let mut driver = Driver::start(small(&["--warm"]));
    driver.exec("root", "echo here >/file");
    driver.done("checkpoint root good");
    // It floods, and answers every hello with bytes that are none.
    driver.done("branch good floods");
    driver.tell(&format!("exec floods {}", takes_over("cat /dev/zero")));
    driver.tell("exec floods sleep 1000");
    let answer = driver.tell("checkpoint floods bad");
    println!("floods: {answer}");
    assert!(answer["error"].is_string(), "{answer}");
    // It sends what looks like frames.
    driver.done("branch good lies");
    driver.tell(&format!("exec lies {}", takes_over("yes bivouac.wire")));
    driver.tell("exec lies sleep 1000");
    let answer = driver.tell("checkpoint lies bad");
    println!("lies: {answer}");
    assert!(answer["error"].is_string(), "{answer}");
    // The agent is stopped: what was saved cannot answer in a branch.
    driver.done("branch good stalls");
    let agent = "$(cat /proc/$$/stat | cut -d' ' -f4)";
    driver.done(&format!(
        "start stalls agent={agent}; sleep 1; kill -STOP $agent"
    ));
    while driver.tell("checkpoint stalls bad")["error"].is_null() {
        let answer = driver.tell("branch bad stalled");
        if answer["error"].is_string() {
            println!("stalls: {answer}");
            break;
        }
        driver.done("stop stalled");
    }
    for machine in ["root", "fine"] {
        if machine != "root" {
            driver.done("branch good fine");
        }
        assert_eq!(driver.exec(machine, "cat /file"), "here\n");
        driver.done(&format!("checkpoint {machine} again"));
    }
    assert_eq!(driver.end().code(), Some(0));
}
