//! What tells clones apart.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::{MACHINE_ID, WarmFixture};
use crate::env::bivouac::PATIENCE;

/// QEMU's own, which every clone had when it was saved.
const SAVED_ADDRESS: &str = "52:54:00:12:34:56";

fn now() -> f64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap().as_secs_f64()
}

/// Two clones that run at the same time draw other random bytes, and tell the right time.
pub fn at_the_same_moment(fixture: &WarmFixture) {
    // The last is glibc's getrandom(2).
    let script = "echo time $(date +%s) told; head -c 16 /dev/urandom | od -An -tx1; \
         cat /proc/sys/kernel/random/uuid; mktemp -u XXXXXXXXXXXX; \
         cat /sys/class/net/eth0/address";
    let earliest = now();
    let both = [fixture.warm(&[], script), fixture.warm(&[], script)].map(|run| run.start());
    let both = both.map(|mut running| {
        running.wait_for("told");
        (now(), running)
    });
    let mut seen = BTreeSet::new();
    for (latest, running) in both {
        let finished = running.wait();
        assert_eq!(finished.code(), Some(0), "{finished:?}");
        let lines: Vec<_> = finished.stdout.lines().collect();
        assert_eq!(lines.len(), 5, "{finished:?}");
        let time: f64 = lines[0].split(' ').nth(1).unwrap().parse().unwrap();
        // The guest tells whole seconds.
        let range = earliest.floor()..=latest;
        assert!(range.contains(&time), "{time} in {range:?}");
        assert!(lines[4].starts_with("52:54:00:"), "{finished:?}");
        assert_ne!(lines[4], SAVED_ADDRESS);
        for line in &lines[1..] {
            assert!(seen.insert(line.to_string()), "{line} twice");
        }
    }
    assert_eq!(seen.len(), 8);
}

/// On request a clone has a name and a machine id of its own; the next has the template's again.
pub fn by_name(fixture: &WarmFixture) {
    let script = "hostname; cat /etc/hostname /etc/machine-id";
    let mut ids = BTreeSet::from([MACHINE_ID.to_owned()]);
    for _ in 0..2 {
        let told = fixture.tell(&["--hostname", "web-1", "--new-machine-id"], script);
        let lines: Vec<_> = told.lines().collect();
        assert_eq!(lines[..2], ["web-1", "web-1"], "{told}");
        let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        assert!(lines[2].len() == 32 && lines[2].bytes().all(is_hex));
        assert!(ids.insert(lines[2].to_owned()), "{told}");
    }
    let told = fixture.tell(&[], script);
    assert_eq!(told, format!("box\nbox\n{MACHINE_ID}\n"));
}

/// Free a moment ago.
fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().port()
}

/// What a guest's server says, once it is there.
fn read_from(port: u16) -> String {
    let started = Instant::now();
    let mut told = String::new();
    while told.is_empty() {
        assert!(started.elapsed() < PATIENCE, "nobody listens");
        std::thread::sleep(Duration::from_millis(50));
        let Ok(mut stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) else {
            continue;
        };
        // Refused by the guest as long as nobody listens there.
        let _ = stream.read_to_string(&mut told);
    }
    told
}

/// With `--publish` and without `--net user` the guest reaches neither the host nor anything else.
pub fn behind_a_port_alone(fixture: &WarmFixture) {
    let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    server.set_nonblocking(true).unwrap();
    let ours = server.local_addr().unwrap().port();
    let port = free_port();
    let script = format!(
        "for to in 10.0.2.2:{ours} 169.254.169.254; do \
         timeout 3 wget -q -O - http://$to/ && echo reached $to; done; \
         nc -l -p 80 -e /bin/echo from the guest"
    );
    let publish = format!("--publish={port}:80");
    let run = fixture.run(&[&publish]).args(["--", "sh", "-c", &script]);
    let running = run.start();
    assert_eq!(read_from(port), "from the guest\n");
    let finished = running.wait();
    assert!(!finished.stdout.contains("reached"), "{finished:?}");
    let nobody = server.accept().unwrap_err().kind();
    assert_eq!(nobody, std::io::ErrorKind::WouldBlock);
}

/// The network goes on with the new address, both ways.
pub fn in_the_network(fixture: &WarmFixture) {
    let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let ours = server.local_addr().unwrap().port();
    let serving = std::thread::spawn(move || {
        let (mut stream, _) = server.accept().unwrap();
        let mut request = [0; 1024];
        let read = stream.read(&mut request).unwrap();
        let answer = "HTTP/1.0 200 OK\r\n\r\nfrom the host\n";
        stream.write_all(answer.as_bytes()).unwrap();
        String::from_utf8_lossy(&request[..read]).into_owned()
    });
    let port = free_port();
    let script = format!(
        "busybox udhcpc -n -q -i eth0 -s /bin/true 2>&1 | grep -o 'lease of .* obtained'; \
         wget -q -O - http://10.0.2.2:{ours}/asked; nc -l -p 80 -e /bin/echo from the guest"
    );
    let publish = format!("--publish={port}:80");
    let running = fixture.warm(&[&publish], &script).start();
    assert_eq!(read_from(port), "from the guest\n");
    let finished = running.wait();
    // The same for each address of its device: ports are published to that one.
    let told = "lease of 10.0.2.15 obtained\nfrom the host\n";
    assert_eq!(finished.stdout, told, "{finished:?}");
    assert!(serving.join().unwrap().starts_with("GET /asked"));
}
