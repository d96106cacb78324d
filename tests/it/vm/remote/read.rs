//! What is read of an image on another host is what is in it, and the image stays as it was.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::env::bivouac::Bivouac;
use crate::env::guests::guest;
use crate::env::qemu10;
use crate::env::residue::sha256;
use crate::env::servers::{Http, Load, Nbd};

#[test]
fn an_image_on_another_host_is_read_by_each_kind_of_url_and_stays_as_it_was() {
    let place = tempfile::tempdir().unwrap();
    // Users other than the owner may not enter it.
    let image = place.path().join("box.qcow2");
    let raw = place.path().join("box.raw");
    fs::copy(guest("box.qcow2"), &image).unwrap();
    fs::copy(guest("box.raw"), &raw).unwrap();
    let before = [&image, &raw].map(|path| sha256(path));
    let tcp = Nbd::at_port(&image);
    let unix = Nbd::at_socket(&raw, place.path());
    let http = Http::Ranges(image.clone()).start();
    let redirected = Http::Redirect(format!("http://{http}/box.qcow2")).start();
    let web = [
        format!("http://{http}/some/box.qcow2?version=1"),
        format!("http://localhost:{}/box", http.port()),
    ];
    for url in [&tcp.url, &unix.url].into_iter().chain(&web) {
        let cat = Bivouac::new().args(["cat", "--remote"]);
        let done = cat.arg(format!("{url}:/etc/hostname")).output();
        assert_eq!(
            (done.code(), &*done.stdout),
            (Some(0), "box\n"),
            "{url}: {done:?}"
        );
        assert_eq!(done.stderr, "", "{url}");
    }
    // A proxy is not used, without a sandbox neither.
    let proxied = Bivouac::new().args(["cat", "--remote", "--sandbox", "off"]);
    let proxied = proxied
        .env("http_proxy", "http://127.0.0.1:1")
        .env("no_proxy", "none.invalid");
    let proxied = proxied.arg(format!("{}:/etc/hostname", web[0])).output();
    assert_eq!(proxied.stdout, "box\n", "{proxied:?}");
    // As another disk, which is written to, by another QEMU.
    let script = "dd if=/dev/zero of=/dev/vdb bs=1M count=8 && echo x >/root/x && sync && \
        cat /etc/hostname";
    let chroot = Bivouac::new()
        .args(["chroot", "--remote", "--no-template"])
        .args(qemu10::options());
    let disk = ["--root", "/dev/vda1", "--disk", &unix.url];
    let chroot = chroot.args(disk).reporting().arg(&tcp.url);
    let done = chroot.args(["--", "sh", "-c", script]).output();
    assert_eq!((done.code(), &*done.stdout), (Some(0), "box\n"), "{done:?}");
    let layers = &done.inspected()["layers"];
    assert_eq!(layers[0]["path"], *tcp.url, "{done:?}");
    assert!(layers[0]["unchanged"].is_null(), "{done:?}");
    // Where its port leads to was not allowed.
    let moved = Bivouac::new().args(["ls", "--remote"]);
    let moved = moved
        .arg(format!("http://{redirected}/box.qcow2:/"))
        .output();
    assert_eq!(moved.code(), Some(125), "{moved:?}");
    assert_eq!([&image, &raw].map(|path| sha256(path)), before);
}

/// QEMU's driver of HTTP may lose one of two requests, and the guest would wait for ever.
#[test]
fn a_server_of_http_has_one_request_at_a_time_though_the_guest_reads_in_many_places() {
    let load = Arc::new(Load::default());
    let http = Http::Counting(guest("box.raw"), Arc::clone(&load)).start();
    let script = "for place in 0 1 2 3 4 5; do \
        dd if=/dev/vda of=/dev/null bs=1M skip=$((place * 9)) count=1 & done; wait; echo read";
    let chroot = Bivouac::new().args(["chroot", "--remote", &format!("http://{http}/box.raw")]);
    let done = chroot.args(["--", "sh", "-c", script]).output();
    assert_eq!(
        (done.code(), &*done.stdout),
        (Some(0), "read\n"),
        "{done:?}"
    );
    let [most, all] = [&load.most, &load.all].map(|count| count.load(Ordering::SeqCst));
    assert!(all > 12, "{all}");
    assert_eq!(most, 1);
}
