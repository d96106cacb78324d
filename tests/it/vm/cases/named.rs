//! Machines with a name: kept, listed and restored by it, and removed only on request.

use super::Fixture;

#[test]
fn a_named_machine_stays_and_is_restored_by_its_name_alone() {
    let fixture = Fixture::new();
    let step = "--prepare=echo kept > /root/kept";
    let build = fixture.machine(&["template", "build"], &[step, "--name=kept"]);
    let built = build.output();
    assert_eq!(built.code(), Some(0), "{built:?}");
    assert!(built.stderr.contains("has the name kept"), "{built:?}");

    let cat = |words: &[&str]| {
        let words = [words, &["--", "cat", "/root/kept"]].concat();
        fixture.bivouac(&words).output()
    };
    let from = ["run", "--from", "kept"];
    assert_eq!(cat(&from).stdout, "kept\n");
    let more = cat(&["run", "--from", "kept", "--prepare=echo more >> /root/kept"]);
    assert_eq!(more.stdout, "kept\nmore\n", "{more:?}");
    let test = ["test", "--from", "kept", "--cases", "1", "2"];
    let words = [&test[..], &["--", "sh", "-c", "cat /root/kept # {}"]].concat();
    let finished = fixture.bivouac(&words).output();
    assert_eq!(finished.code(), Some(0), "{finished:?}");

    // Templates beside it make room for others, and are removed; it does not.
    let other = "--prepare=echo other > /root/kept";
    let crowded = fixture.machine(&["run", "--warm"], &[other]);
    let crowded = crowded.env("BIVOUAC_TEMPLATES_MAX", "260M");
    let crowded = crowded.args(["--", "cat", "/root/kept"]).output();
    assert_eq!(crowded.stdout, "other\n", "{crowded:?}");
    let pruned = fixture.bivouac(&["template", "prune"]).output();
    assert!(pruned.stderr.contains("kept stays"), "{pruned:?}");
    let listed = fixture.bivouac(&["template", "ls"]).output();
    assert_eq!(listed.stdout.lines().count(), 1, "{listed:?}");
    assert!(listed.stdout.contains(", named kept"), "{listed:?}");
    assert_eq!(cat(&from).stdout, "kept\n");

    for (words, why) in [
        (&["run", "--from", "kept", "--memory=1G"][..], "--memory=1G"),
        (&["run", "--from", "nothing"], "no machine was saved"),
    ] {
        let refused = cat(words);
        assert_eq!(refused.code(), Some(125), "{refused:?}");
        assert!(refused.stderr.contains(why), "{refused:?}");
    }
    fixture.write_into_image("hostname", "another\n");
    let refused = cat(&from);
    assert_eq!(refused.code(), Some(125), "{refused:?}");
    let why = "image.raw was changed since it was saved";
    assert!(refused.stderr.contains(why), "{refused:?}");

    let removed = fixture.bivouac(&["template", "rm", "kept"]).output();
    assert_eq!(removed.code(), Some(0), "{removed:?}");
    let listed = fixture.bivouac(&["template", "ls"]).output();
    assert!(listed.stdout.starts_with("no templates"), "{listed:?}");
    fixture.is_clean(&[]);
}

#[test]
fn templates_are_listed_below_those_that_they_were_made_from() {
    let fixture = Fixture::new();
    for steps in [
        &["--prepare=true"][..],
        &["--prepare=true", "--prepare=: two"],
    ] {
        let (finished, _) = fixture.run(steps, "true");
        assert_eq!(finished.code(), Some(0), "{finished:?}");
    }
    let listed = fixture.bivouac(&["template", "ls"]).output();
    let whats = listed.stdout.lines().filter_map(|line| {
        let (_, what) = line.split_once(" s  ")?;
        Some(what.to_owned())
    });
    let mut whats: Vec<_> = whats.collect();
    // Which of the roots was used last is no matter.
    whats.retain(|what| !what.starts_with("appliance"));
    let expected = [
        "image image.raw, 256 MiB, 1 CPU, tcg",
        "  `true`",
        "    `: two`",
    ];
    assert_eq!(whats, expected, "{listed:?}");
}
