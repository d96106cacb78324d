//! Images on other hosts that are not opened, each with the reason, and nothing left.

use std::path::Path;

use nix::sys::signal::Signal;

use crate::env::bivouac::{Bivouac, Finished};
use crate::env::filesystems::run;
use crate::env::guests::guest;
use crate::env::residue::files;
use crate::env::servers::{Http, Nbd};

/// `bivouac ls OPTIONS URL:/`, which has to fail. Its overlays lie in `tmp`, where nothing may be left.
#[track_caller]
fn refused(tmp: &Path, options: &[&str], url: &str) -> Finished {
    let ls = Bivouac::new().env("TMPDIR", tmp).arg("ls").args(options);
    let done = ls.arg(format!("{url}:/")).output();
    assert_eq!((done.code(), &*done.stdout), (Some(125), ""), "{done:?}");
    assert!(done.stderr.contains(url), "{done:?}");
    assert!(files(&[tmp]).is_empty(), "{:?}", files(&[tmp]));
    done
}

#[test]
fn a_url_is_refused_unless_the_user_asked_for_it_and_it_can_be_read() {
    let place = tempfile::tempdir().unwrap();
    let tmp = place.path().join("tmp");
    std::fs::create_dir(&tmp).unwrap();
    let path = |name: &str| place.path().join(name).to_str().unwrap().to_owned();
    let nbd = Nbd::at_port(&guest("box.qcow2"));
    let said = |done: &Finished, words: &str| {
        assert!(done.stderr.contains(words), "{words}: {done:?}");
    };
    let done = refused(&tmp, &[], &nbd.url);
    said(&done, "is an image of a server\n  hint: --remote");

    let remote = ["--remote"];
    let other = nbd.url.replace("an%20export", "other");
    said(
        &refused(&tmp, &remote, &other),
        "export 'other' not present",
    );
    said(&refused(&tmp, &remote, "ssh://127.0.0.1/x"), "not ssh");
    said(
        &refused(&tmp, &remote, "nbd://127.0.0.1:1/x"),
        "Connection refused",
    );
    said(&refused(&tmp, &remote, "http://127.0.0.1:1/x"), "connect");
    said(
        &refused(&tmp, &remote, "nbd+unix:///?socket=/none"),
        "No such file",
    );

    std::fs::write(path("nothing"), "").unwrap();
    let nothing = Nbd::at_port(Path::new(&path("nothing")));
    said(&refused(&tmp, &remote, &nothing.url), "is empty");

    // An image that leads to a file of this host.
    run(
        "qemu-img",
        &[
            "create",
            "-q",
            "-f",
            "qcow2",
            "-b",
            "/etc/passwd",
            "-F",
            "raw",
            &path("over"),
        ],
    );
    let over = Nbd::at_port(Path::new(&path("over")));
    said(
        &refused(&tmp, &remote, &over.url),
        "lies on another image, \"/etc/passwd\"",
    );
    run(
        "qemu-img",
        &["create", "-q", "-f", "vmdk", &path("disk.vmdk"), "1M"],
    );
    let vmdk = Nbd::at_port(Path::new(&path("disk.vmdk")));
    said(&refused(&tmp, &remote, &vmdk.url), "is a vmdk image");
    said(
        &refused(&tmp, &["--remote", "--format", "qcow2"], &vmdk.url),
        "is declared as qcow2",
    );

    // An L1 table of 25 MiB.
    let many = ["create", "-q", "-f", "qcow2", "-o", "cluster_size=512"];
    run("qemu-img", &[&many[..], &[&path("many"), "100G"]].concat());
    let many = Nbd::at_port(Path::new(&path("many")));
    said(&refused(&tmp, &remote, &many.url), "tables are too large");

    // Nothing is read where a redirection leads to a file or another port.
    let whole = Http::Whole(guest("box.qcow2")).start();
    said(
        &refused(&tmp, &remote, &format!("http://{whole}/x")),
        "hint: fetch it",
    );
    for to in [
        "file:///etc/passwd",
        &format!("ftp://{whole}/x"),
        &format!("http://{whole}/x"),
    ] {
        let redirects = Http::Redirect(to.to_owned()).start();
        let done = refused(&tmp, &remote, &format!("http://{redirects}/x"));
        assert!(!done.stderr.contains("range"), "{to}: {done:?}");
    }

    let nvme = Bivouac::run().args(["--remote", "--bus", "nvme", &nbd.url]);
    let nvme = nvme.output();
    assert_eq!(nvme.code(), Some(125), "{nvme:?}");
    said(&nvme, "hint: --bus virtio");

    // A server that says nothing.
    let silent = Http::Silent.start();
    let soon = ["--remote", "--remote-timeout", "1s"];
    for scheme in ["nbd", "http"] {
        let done = refused(&tmp, &soon, &format!("{scheme}://{silent}/x"));
        said(&done, "hint: --remote-timeout");
    }
    nbd.signal(Signal::SIGSTOP);
    said(
        &refused(&tmp, &soon, &nbd.url),
        "has not answered within 1 s",
    );

    let none = Bivouac::new().env("PATH", "/none");
    let none = none.args(["run", "--remote", &nbd.url]).output();
    assert_eq!(none.code(), Some(125));
    said(&none, "needs qemu-storage-daemon");
    said(&none, "hint: ");

    let words = ["chain", &nbd.url];
    let chain = Bivouac::new().args(words).output();
    assert_eq!(chain.code(), Some(125));
    said(&chain, "hint: bivouac inspect --remote");
}
