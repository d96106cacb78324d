//! URLs of images on other hosts, as they are typed: what of `nbd`, `nbd+unix`, `http` and `https` is
//! understood. Pure.

use std::path::{Path, PathBuf};

use crate::text::escape::Untrusted;

/// NBD's port (IANA).
const NBD_PORT: u16 = 10809;

/// The image that a URL names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteUrl {
    /// As typed, but the scheme in small letters: QEMU knows no others.
    text: String,
    pub source: RemoteSource,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RemoteSource {
    /// `nbd://HOST[:PORT][/EXPORT]`
    Nbd {
        host: String,
        port: u16,
        export: String,
    },
    /// `nbd+unix:///[EXPORT]?socket=PATH`
    NbdUnix { socket: PathBuf, export: String },
    /// `http://..` and `https://..`
    Http {
        /// The scheme, which is also the name of QEMU's driver.
        scheme: &'static str,
        port: u16,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    #[error("nbd, nbd+unix, http and https are supported, not {}", Untrusted(.0))]
    Scheme(String),
    #[error("it names no host")]
    NoHost,
    #[error("it has no valid port")]
    Port,
    #[error("it has to name a socket: nbd+unix:///EXPORT?socket=/PATH")]
    NoSocket,
    #[error("an NBD export has no options")]
    Options,
    #[error("everybody on this host would see its user and password")]
    Credentials,
    #[error("it has characters that no URL has")]
    Characters,
}

/// How long the scheme of `words` is with the `://` behind it, if they are a URL rather than a path.
pub fn scheme_length(words: &[u8]) -> Option<usize> {
    let length = words.windows(3).position(|three| three == b"://")?;
    let is_scheme = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-.".contains(byte);
    let (first, _) = words.split_first()?;
    (first.is_ascii_alphabetic() && words[..length].iter().all(is_scheme)).then_some(length + 3)
}

/// Whether `words` are a URL of an image rather than anything else, whatever files there are.
pub fn is_remote(words: &[u8]) -> bool {
    let scheme = scheme_length(words).and_then(|length| words.get(..length));
    let known = [&b"nbd://"[..], b"nbd+unix://", b"http://", b"https://"];
    scheme.is_some_and(|scheme| known.iter().any(|one| scheme.eq_ignore_ascii_case(one)))
}

impl RemoteUrl {
    /// `None` if `path` is no URL.
    pub fn parse(path: &Path) -> Option<Result<Self, UrlError>> {
        let bytes = path.as_os_str().as_encoded_bytes();
        let length = scheme_length(bytes)?;
        let Some(text) = path.to_str() else {
            return Some(Err(UrlError::Characters));
        };
        if text.bytes().any(|byte| !byte.is_ascii_graphic()) {
            return Some(Err(UrlError::Characters));
        }
        let (scheme, rest) = text.split_at(length);
        let scheme = scheme.trim_end_matches("://").to_ascii_lowercase();
        Some(source(&scheme, rest).map(|source| Self {
            text: format!("{scheme}://{rest}"),
            source,
        }))
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The last name of it, whose extension may promise a format.
    pub fn name(&self) -> PathBuf {
        match &self.source {
            RemoteSource::Nbd { export, .. } | RemoteSource::NbdUnix { export, .. } => {
                export.into()
            }
            RemoteSource::Http { .. } => {
                let path = self.text.split(['?', '#']).next().unwrap_or_default();
                path.rsplit('/').next().unwrap_or_default().into()
            }
        }
    }
}

fn source(scheme: &str, rest: &str) -> Result<RemoteSource, UrlError> {
    let (authority, path) = match rest.find(['/', '?', '#']) {
        Some(at) => rest.split_at(at),
        None => (rest, ""),
    };
    if authority.contains('@') {
        return Err(UrlError::Credentials);
    }
    match scheme {
        "nbd" => {
            if path.contains(['?', '#']) {
                return Err(UrlError::Options);
            }
            let (host, port) = host_and_port(authority, NBD_PORT)?;
            Ok(RemoteSource::Nbd {
                host: host.to_owned(),
                port,
                export: decoded(path.strip_prefix('/').unwrap_or(path))?,
            })
        }
        "nbd+unix" => {
            let (export, options) = path.split_once('?').ok_or(UrlError::NoSocket)?;
            let socket = options.strip_prefix("socket=").ok_or(UrlError::NoSocket)?;
            if socket.is_empty() || !authority.is_empty() || socket.contains('&') {
                return Err(UrlError::NoSocket);
            }
            Ok(RemoteSource::NbdUnix {
                socket: decoded(socket)?.into(),
                export: decoded(export.strip_prefix('/').unwrap_or(export))?,
            })
        }
        "http" => http("http", 80, authority),
        "https" => http("https", 443, authority),
        other => Err(UrlError::Scheme(other.to_owned())),
    }
}

fn http(scheme: &'static str, port: u16, authority: &str) -> Result<RemoteSource, UrlError> {
    let (_, port) = host_and_port(authority, port)?;
    Ok(RemoteSource::Http { scheme, port })
}

/// The host, without the brackets of an address of IPv6.
fn host_and_port(authority: &str, default: u16) -> Result<(&str, u16), UrlError> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => rest.split_once(']').ok_or(UrlError::NoHost)?,
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    if host.is_empty() {
        return Err(UrlError::NoHost);
    }
    let port = match port {
        "" => default,
        port => {
            let digits = port.strip_prefix(':').ok_or(UrlError::Port)?;
            digits.parse().map_err(|_| UrlError::Port)?
        }
    };
    Ok((host, port))
}

/// Without the escapes of a URL.
fn decoded(text: &str) -> Result<String, UrlError> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                let (high, low) = (digit(), digit());
                let value = high.zip(low).map(|(high, low)| high * 16 + low);
                value.ok_or(UrlError::Characters)? as u8
            }
            byte => byte,
        });
    }
    let text = String::from_utf8(bytes).map_err(|_| UrlError::Characters)?;
    match text.contains(char::is_control) {
        true => Err(UrlError::Characters),
        false => Ok(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parsed(text: &str) -> Result<RemoteSource, UrlError> {
        let url = RemoteUrl::parse(Path::new(text)).expect("a URL");
        url.map(|url| url.source)
    }

    fn nbd(host: &str, port: u16, export: &str) -> Result<RemoteSource, UrlError> {
        Ok(RemoteSource::Nbd {
            host: host.to_owned(),
            port,
            export: export.to_owned(),
        })
    }

    #[test]
    fn the_parts_of_each_kind_of_url_are_found() {
        assert_eq!(parsed("nbd://h"), nbd("h", 10809, ""));
        assert_eq!(parsed("nbd://h:1/a/b%20c"), nbd("h", 1, "a/b c"));
        assert_eq!(parsed("NBD://[::1]:99/x"), nbd("::1", 99, "x"));
        let unix = RemoteSource::NbdUnix {
            socket: "/run/a b".into(),
            export: "x".to_owned(),
        };
        assert_eq!(parsed("nbd+unix:///x?socket=/run/a%20b"), Ok(unix));
        let http = |scheme, port| Ok(RemoteSource::Http { scheme, port });
        assert_eq!(parsed("http://h/x.qcow2?a=b:/c"), http("http", 80));
        assert_eq!(parsed("https://h:8443"), http("https", 8443));
    }

    #[test]
    fn the_scheme_is_in_small_letters_and_the_rest_as_typed() {
        let url = RemoteUrl::parse(Path::new("HTTPS://Host/X")).unwrap();
        assert_eq!(url.unwrap().as_str(), "https://Host/X");
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for (text, error) in [
            ("ssh://h/x", UrlError::Scheme("ssh".to_owned())),
            ("file:///etc/passwd", UrlError::Scheme("file".to_owned())),
            ("nbd:///x", UrlError::NoHost),
            ("https://:80/", UrlError::NoHost),
            ("nbd://h:port/", UrlError::Port),
            ("nbd://h:65536", UrlError::Port),
            ("nbd://[::1]x", UrlError::Port),
            ("nbd://h/x?tls=1", UrlError::Options),
            ("nbd+unix:///x", UrlError::NoSocket),
            ("nbd+unix://h/x?socket=/s", UrlError::NoSocket),
            ("nbd+unix:///x?socket=/s&tls=1", UrlError::NoSocket),
            ("https://me:secret@h/x", UrlError::Credentials),
            ("nbd://h/%0a", UrlError::Characters),
            ("nbd://h/%x", UrlError::Characters),
            ("https://h/a b", UrlError::Characters),
        ] {
            assert_eq!(parsed(text), Err(error), "{text}");
        }
        for path in ["a", "/a://b", "./nbd://h", "://x", "1a://x", ""] {
            assert_eq!(RemoteUrl::parse(Path::new(path)), None, "{path}");
        }
    }

    #[test]
    fn the_name_is_the_last_part() {
        let name = |text| RemoteUrl::parse(Path::new(text)).unwrap().unwrap().name();
        assert_eq!(name("https://h/a/b.qcow2?x=/y"), Path::new("b.qcow2"));
        assert_eq!(name("nbd://h/disk.raw"), Path::new("disk.raw"));
    }

    proptest! {
        #[test]
        fn any_text_is_a_url_or_an_error(text in "[a-z][a-z+]{0,8}://[ -~]{0,40}") {
            let known = ["nbd://", "nbd+unix://", "http://", "https://"];
            let is_known = known.iter().any(|scheme| text.starts_with(scheme));
            prop_assert!(is_known || parsed(&text).is_err());
        }
    }
}
