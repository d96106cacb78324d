//! Packed images of machines that are saved: the template is that of the packed file.

use super::Fixture;
use crate::env::filesystems::run;
use crate::env::ova::{ova, ovf, vmdk};
use crate::env::residue::sha256;

#[test]
fn packed_images_boot_are_saved_and_restored_and_nothing_is_left() {
    let fixture = Fixture::new();
    let raw = fixture.image();
    run("gzip", &["-1", "-k", raw.to_str().unwrap()]);
    let gz = fixture.path("image.raw.gz");
    vmdk(&raw);
    let directory = fixture.path("");
    let archive = ova(
        &directory,
        "box.ova",
        &ovf(&["image.vmdk"], ""),
        &["image.vmdk"],
    );
    std::fs::remove_file(&raw).unwrap();
    let before = [&gz, &archive].map(|path| sha256(path));

    let command = |words: &[&str], image: &std::path::Path| {
        let words = fixture
            .bivouac(words)
            .args(crate::env::guests::tiny("switch"));
        words.arg(image)
    };
    for template in ["built", "restored"] {
        let warm = command(&["run", "--warm"], &gz).reporting();
        let warm = warm.args(["--", "sh", "-c", "echo x >/root/x; cat /root/x"]);
        let done = warm.output();
        assert_eq!((done.code(), &*done.stdout), (Some(0), "x\n"), "{done:?}");
        assert_eq!(done.report["template"], template);
        assert_eq!(done.report["layers"][0]["unchanged"], true, "{done:?}");
        let layer = done.report["layers"].as_array().unwrap().last().unwrap();
        assert_eq!(layer["path"], gz.to_str().unwrap());
        assert!(
            done.stderr
                .contains("compressed with gzip; decompressed to"),
            "{done:?}"
        );
        let faster = format!("faster is, once: gzip -dk {}", gz.display());
        assert!(done.stderr.contains(&faster), "{done:?}");
    }
    // A branch for each case; the copy is made once.
    let test = command(&["test"], &gz).args(["--cases", "1", "2", "--", "test", "-e", "/etc/{}"]);
    let done = test.output();
    assert_eq!(done.code(), Some(1), "{done:?}");
    assert_eq!(
        done.stderr.matches("decompressed to").count(),
        1,
        "{done:?}"
    );

    let kept = fixture.path("kept.qcow2");
    let keep = kept.to_str().unwrap();
    let refused = command(&["run", "--keep", keep], &archive)
        .args(["--", "true"])
        .output();
    assert_eq!(refused.code(), Some(125), "{refused:?}");
    assert!(refused.stderr.contains("hint: --keep-full"), "{refused:?}");
    let words = ["run", "--keep", keep, "--keep-full"];
    let done = command(&words, &archive).args(["--", "true"]).output();
    assert_eq!(done.code(), Some(0), "{done:?}");
    run("qemu-img", &["check", "-q", keep]);
    assert_eq!([&gz, &archive].map(|path| sha256(path)), before);
    fixture.is_clean(&[]);
}
