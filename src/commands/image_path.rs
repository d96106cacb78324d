//! `IMAGE:PATH`: an image on this host and a path in it, as in scp(1).
//!
//! Both halves may contain colons. The argument is split at the first `:/` whose left half is an
//! existing file; else at the first colon of which that is true; else, if the argument itself is
//! no file, at the first `:/` or the first colon, and opening the image then fails with its name.
//! So `./a:b:/etc` and `disk.img:/var/log/a:b` mean what they seem to. A URL ends at the first `:/` after
//! its `://`: `nbd://host:10809/export:/etc/hosts`.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::image::remote_url::{is_remote, scheme_length};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImagePath {
    pub image: PathBuf,
    /// The path, absolute; `/` if none was given.
    pub path: Vec<u8>,
    pub is_named: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ImagePathError {
    #[error("{0:?} names an image and no path in it")]
    NoPath(OsString),
    #[error("{0:?} names a path and no image")]
    NoImage(OsString),
}

impl ImagePathError {
    pub fn hint(&self) -> Option<String> {
        let example = match self {
            Self::NoPath(words) if words.is_empty() => "disk.qcow2:/etc/os-release".to_owned(),
            Self::NoPath(words) => format!("{}:/etc/os-release", words.to_string_lossy()),
            Self::NoImage(words) => format!("disk.qcow2{}", words.to_string_lossy()),
        };
        Some(format!("IMAGE:PATH, such as {example}"))
    }
}

impl ImagePath {
    /// Splits an argument; `exists` tells whether there is a file on this host.
    pub fn parse(words: &OsStr, exists: impl Fn(&Path) -> bool) -> Result<Self, ImagePathError> {
        let bytes = words.as_bytes();
        let url = scheme_length(bytes);
        let colons_behind = |first| {
            let all = bytes.iter().enumerate();
            all.filter_map(move |(at, byte)| (*byte == b':' && at > first).then_some(at))
        };
        // None of the scheme of a URL.
        let colons = || colons_behind(url.filter(|_| is_remote(bytes)).unwrap_or(0));
        let is_absolute = |at: &usize| bytes.get(at + 1) == Some(&b'/');
        let is_there = |at: &usize| exists(Path::new(OsStr::from_bytes(&bytes[..*at])));
        let all_is_there = || exists(Path::new(words));
        let at = colons()
            .filter(is_absolute)
            .find(is_there)
            .or_else(|| colons().find(is_there));
        let at = match at {
            Some(at) => Some(at),
            None if all_is_there() => None,
            // A URL has colons of its own.
            None if url.is_some() => colons_behind(url.unwrap_or(0)).find(is_absolute),
            None => colons().find(is_absolute).or_else(|| colons().next()),
        };
        match at {
            Some(at) => Ok(Self {
                image: OsStr::from_bytes(&bytes[..at]).into(),
                path: absolute(&bytes[at + 1..]),
                is_named: true,
            }),
            None if bytes.starts_with(b":") && !all_is_there() => {
                Err(ImagePathError::NoImage(words.to_owned()))
            }
            None => Ok(Self {
                image: words.into(),
                path: b"/".to_vec(),
                is_named: false,
            }),
        }
    }

    pub fn parse_named(
        words: &OsStr,
        exists: impl Fn(&Path) -> bool,
    ) -> Result<Self, ImagePathError> {
        match Self::parse(words, exists)? {
            Self {
                is_named: false, ..
            } => Err(ImagePathError::NoPath(words.to_owned())),
            parsed => Ok(parsed),
        }
    }

    /// The last name of the path; `None` for the root, `.` and `..`.
    pub fn name(&self) -> Option<&[u8]> {
        let mut names = self.path.split(|byte| *byte == b'/');
        match names.rfind(|name| !name.is_empty()) {
            None | Some(b"." | b"..") => None,
            name => name,
        }
    }
}

pub fn exists(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

/// Groups consecutive paths of the same image, which is then opened once for all of them.
pub fn by_image(places: Vec<ImagePath>) -> Vec<(PathBuf, Vec<ImagePath>)> {
    let mut groups: Vec<(PathBuf, Vec<ImagePath>)> = Vec::new();
    for place in places {
        match groups.last_mut() {
            Some((image, group)) if *image == place.image => group.push(place),
            _ => groups.push((place.image.clone(), vec![place])),
        }
    }
    groups
}

/// A path from the root; relative paths start there too.
fn absolute(path: &[u8]) -> Vec<u8> {
    match path {
        [b'/', ..] => path.to_vec(),
        path => [b"/", path].concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(words: &str, files: &[&str]) -> Result<(String, String), ImagePathError> {
        let exists = |path: &Path| files.iter().any(|file| path == Path::new(file));
        ImagePath::parse_named(OsStr::new(words), exists).map(|parsed| {
            let path = String::from_utf8(parsed.path).unwrap();
            (parsed.image.to_str().unwrap().to_owned(), path)
        })
    }

    fn split(image: &str, path: &str) -> Result<(String, String), ImagePathError> {
        Ok((image.to_owned(), path.to_owned()))
    }

    #[test]
    fn an_image_and_a_path_are_split_where_the_image_ends() {
        let all: &[&str] = &["a", "./a:b", "dir/d.img", "c:/x"];
        assert_eq!(parse("a:/etc", all), split("a", "/etc"));
        assert_eq!(parse("a:etc/x", all), split("a", "/etc/x"));
        assert_eq!(parse("a:", all), split("a", "/"));
        assert_eq!(parse("a:/x:/y", all), split("a", "/x:/y"));
        assert_eq!(parse("dir/d.img:b:c", all), split("dir/d.img", "/b:c"));
        assert_eq!(parse("./a:b:/etc/c:d", all), split("./a:b", "/etc/c:d"));
        assert_eq!(parse("./a:b:etc", all), split("./a:b", "/etc"));
        // A directory whose name ends in a colon.
        assert_eq!(parse("c:/x:/y", all), split("c:/x", "/y"));
    }

    #[test]
    fn a_file_that_is_not_there_is_split_as_scp_would() {
        assert_eq!(parse("no.img:/a:/b", &[]), split("no.img", "/a:/b"));
        assert_eq!(parse("./no:b:/a", &[]), split("./no:b", "/a"));
        assert_eq!(parse("no.img:a:b", &[]), split("no.img", "/a:b"));
    }

    #[test]
    fn a_url_ends_at_the_first_colon_before_a_slash_after_its_scheme() {
        let host = "nbd://127.0.0.1:10809/x";
        assert_eq!(
            parse(&format!("{host}:/etc/a:/b"), &[]),
            split(host, "/etc/a:/b")
        );
        let unix = "nbd+unix:///x?socket=/run/s";
        assert_eq!(parse(&format!("{unix}:/"), &[]), split(unix, "/"));
        let whole = ImagePath::parse(OsStr::new(host), |_| false).unwrap();
        assert_eq!(whole.image, Path::new(host));
        let error = parse("https://h:8443/x.qcow2", &[]).unwrap_err();
        assert!(matches!(error, ImagePathError::NoPath(_)));
    }

    #[test]
    fn a_half_that_is_missing_is_told_with_an_example() {
        let error = parse("./a:b", &["./a:b"]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "\"./a:b\" names an image and no path in it"
        );
        let hint = error.hint().unwrap();
        assert_eq!(hint, "IMAGE:PATH, such as ./a:b:/etc/os-release");
        assert!(matches!(parse("a", &[]), Err(ImagePathError::NoPath(_))));
        let hint = parse("", &[]).unwrap_err().hint().unwrap();
        assert_eq!(hint, "IMAGE:PATH, such as disk.qcow2:/etc/os-release");
        let error = parse(":/etc", &[]).unwrap_err();
        assert_eq!(error.to_string(), "\":/etc\" names a path and no image");
        let whole = ImagePath::parse(OsStr::new("a"), |_| false).unwrap();
        assert_eq!((whole.path, whole.is_named), (b"/".to_vec(), false));
    }

    #[test]
    fn the_name_is_the_last_one_that_is_a_name() {
        let name = |path: &str| {
            let words = format!("a:{path}");
            let parsed = ImagePath::parse(OsStr::new(&words), |_| false).unwrap();
            parsed.name().map(|name| name.to_vec())
        };
        assert_eq!(name("/etc/passwd"), Some(b"passwd".to_vec()));
        assert_eq!(name("etc//"), Some(b"etc".to_vec()));
        for none in ["/", "", "/etc/..", "/."] {
            assert_eq!(name(none), None, "{none}");
        }
    }

    proptest! {
        #[test]
        fn any_image_that_is_there_and_any_path_come_back(
            image in "[a-z:./][a-z:./ ]{0,12}",
            path in "[a-z:/.]{0,12}",
        ) {
            // Only the image itself is a file, so that no shorter name can be meant.
            let words = format!("{image}:/{path}");
            let exists = |tried: &Path| tried.as_os_str() == OsStr::new(&image);
            let parsed = ImagePath::parse_named(OsStr::new(&words), exists).unwrap();
            prop_assert_eq!(parsed.image.as_os_str(), OsStr::new(&image));
            prop_assert_eq!(parsed.path, format!("/{path}").into_bytes());
        }

        #[test]
        fn nothing_that_is_typed_is_lost(words in "[a-z:/]{1,20}", there in any::<bool>()) {
            let Ok(parsed) = ImagePath::parse(OsStr::new(&words), |_| there) else {
                prop_assert!(words.starts_with(':'));
                return Ok(());
            };
            let image = parsed.image.to_str().unwrap();
            let path = String::from_utf8(parsed.path).unwrap();
            let again = [format!("{image}:{path}"), format!("{image}:{}", &path[1..])];
            prop_assert!(!parsed.is_named && words == image || again.contains(&words));
        }
    }
}
