//! Tar streams as bytes: what the host does with those of an agent. The input is read alone, and
//! then made into files in a fresh directory, in which the user already has some. The first byte
//! says which policy is taken: that of `cp`, that of `cp --archive`, and whether one name may stand
//! at the top alone.
//!
//! Sums of headers are put right first, so that what lies behind them is reached.
#![no_main]

use bivouac::archive::{
    ArchiveError, BLOCK, BeneathDir, Kind, MAX_EXTENDED, Policy, Reader, unpack,
};
use libfuzzer_sys::fuzz_target;
use std::fs::{self, Permissions};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// The directory that scripts/fuzz makes in memory, with something beside the destination.
fn directory() -> &'static PathBuf {
    static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();
    DIRECTORY.get_or_init(|| {
        // One of its own: what others do in a shared one would look like a finding.
        let directory = PathBuf::from(std::env::var_os("FUZZ_DIR").expect("scripts/fuzz sets it"));
        fs::create_dir(directory.join("outside")).expect("a place outside");
        fs::write(directory.join("outside/file"), "kept").expect("a file outside");
        symlink("file", directory.join("outside/link")).expect("a link outside");
        directory
    })
}

/// All there is to see of what must not change.
fn outside(directory: &Path) -> String {
    let mut seen = fs::read_to_string(directory.join("outside/file")).unwrap_or_default();
    for name in ["outside", "outside/file", "outside/link"] {
        let found = fs::symlink_metadata(directory.join(name)).expect("it is still there");
        let properties = (
            found.ino(),
            found.mode(),
            found.nlink(),
            found.uid(),
            found.gid(),
        );
        let times = (found.mtime(), found.mtime_nsec(), found.size());
        seen += &format!("{properties:?} {times:?}");
    }
    for name in ["", "outside"] {
        let names = fs::read_dir(directory.join(name)).expect("it is still there");
        seen += &format!(" {}", names.count());
    }
    seen
}

/// Puts the sum of each block right that has a header's magic.
fn summed(data: &[u8]) -> Vec<u8> {
    let mut data = data.to_vec();
    for block in data.chunks_exact_mut(BLOCK) {
        if block[257..262] == *b"ustar" {
            block[148..156].fill(b' ');
            let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
            block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
    }
    data
}

/// Reads to the end, and checks what is promised of each member.
fn read(data: &[u8]) -> Result<u64, ArchiveError> {
    let mut reader = Reader::new(data);
    let mut buffer = [0; 700];
    let mut members = 0;
    while let Some(member) = reader.next()? {
        members += 1;
        assert!(!member.path.contains(&0) && !member.target.contains(&0));
        assert!(member.mode <= 0o7777);
        assert!(member.kind == Kind::File || member.size == 0);
        let held: usize = member
            .attributes
            .iter()
            .map(|(k, v)| k.len() + v.len())
            .sum();
        assert!(held <= MAX_EXTENDED && member.path.len() <= MAX_EXTENDED);
        let mut end = 0;
        for (offset, length) in member.segments.iter().flatten() {
            assert!(*offset >= end);
            end = offset.checked_add(*length).expect("it ends");
            assert!(end <= member.size);
        }
        let mut read = 0;
        while let n @ 1.. = reader.read(&mut buffer)? {
            read += n as u64;
        }
        assert_eq!(read, member.data());
    }
    Ok(members)
}

/// Nothing below has what it was not to have.
fn check(directory: &Path, policy: &Policy) {
    let owner = fs::metadata(directory).expect("a directory of ours").uid();
    for entry in fs::read_dir(directory).expect("a directory of ours") {
        let path = entry.expect("an entry").path();
        let found = fs::symlink_metadata(&path).expect("it is there");
        let kind = found.file_type();
        if !policy.privileges {
            assert!(
                !kind.is_block_device() && !kind.is_char_device(),
                "{path:?}"
            );
            assert_eq!(found.mode() & 0o6000, 0, "{path:?} is set-id");
        }
        if !policy.owners {
            assert_eq!(found.uid(), owner, "{path:?}");
        }
        if kind.is_dir() {
            let _ = fs::set_permissions(&path, Permissions::from_mode(0o700));
            check(&path, policy);
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((choice, data)) = data.split_first() else {
        return;
    };
    let data = summed(data);
    let alone = read(&data);
    let directory = directory();
    let here = directory.join("here");
    fs::create_dir_all(here.join("top")).expect("the destination");
    let before = outside(directory);
    symlink("../../outside", here.join("top/own")).expect("a link of the user's");
    symlink("../../outside/file", here.join("top/file")).expect("another");
    fs::write(here.join("beside"), "kept").expect("a file of the user's");
    let policy = Policy {
        owners: choice & 1 > 0,
        privileges: choice & 1 > 0,
        umask: 0o022,
        max_bytes: None,
        only: (choice & 2 == 0).then(|| b"top".to_vec()),
    };
    let place = BeneathDir::at(&here).expect("it was just made");
    let extracted = unpack(&place, &policy, &data[..]);
    assert_eq!(outside(directory), before);
    // It may have got a mode of its own.
    fs::set_permissions(&here, Permissions::from_mode(0o700)).expect("it is ours");
    check(&here, &policy);
    if policy.only.is_some() {
        assert_eq!(fs::read(here.join("beside")).expect("it is kept"), b"kept");
        assert_eq!(fs::read_dir(&here).expect("it is there").count(), 2);
    }
    match (alone, extracted) {
        (Ok(members), Ok(extracted)) => assert_eq!(members, extracted.members),
        (Err(alone), Err(extracted)) => assert_eq!(alone.to_string(), extracted.to_string()),
        (alone, extracted) => panic!("{alone:?}, but then {extracted:?}"),
    }
    fs::remove_dir_all(&here).expect("it can be removed");
});
