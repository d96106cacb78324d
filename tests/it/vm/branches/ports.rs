//! Published ports: a branch has none, and a machine that is put back has those that it had.

use std::io::Read;
use std::net::{Ipv4Addr, TcpListener, TcpStream};

use super::{Driver, small};
use crate::env::wait::soon;

/// What the guest says at its published port, as soon as it says anything.
fn said(port: u16) -> String {
    let mut text = String::new();
    soon("the guest speaks", || {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port));
        let read = stream.and_then(|mut stream| stream.read_to_string(&mut text));
        read.is_ok() && !text.is_empty()
    });
    text
}

#[test]
fn ports_stay_with_the_machine_and_lead_to_it_again_when_it_is_put_back() {
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let mut driver = Driver::start(small(&["--publish", &format!("{port}:80")]));
    driver.exec("root", "ifconfig eth0 10.0.2.15 netmask 255.255.255.0 up");
    driver.exec("root", "echo before >/dev/text");
    driver.done("start root while :; do nc -l -p 80 </dev/text; done");
    assert_eq!(said(port), "before\n");
    driver.done("checkpoint root a");
    driver.exec("root", "echo after >/dev/text");
    driver.done("branch a other");
    driver.exec("other", "echo other >/dev/text");
    // The first one may have been waiting before the text was changed.
    soon("it leads to the parent", || said(port) == "after\n");
    driver.done("revert root a");
    soon("it leads to what is in its place", || {
        said(port) == "before\n"
    });
    assert_eq!(driver.end().code(), Some(0));
}
