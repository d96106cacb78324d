//! The files of a system that is not mounted as a whole yet: its root, and /usr where that is a
//! filesystem of its own.

use super::super::root::RootDir;

pub(crate) struct SystemTree {
    /// `None` if the system has nothing but /usr.
    pub(crate) root: Option<RootDir>,
    /// The root directory of the filesystem that is mounted at /usr.
    pub(crate) usr: Option<RootDir>,
}

impl SystemTree {
    pub(crate) fn new(root: RootDir) -> Self {
        let root = Some(root);
        Self { root, usr: None }
    }

    /// The directory that a path is looked up in, and the path there.
    fn place<'a>(&self, path: &'a str) -> Option<(&RootDir, &'a str)> {
        match (&self.usr, path.strip_prefix("/usr")) {
            (Some(usr), Some(rest)) => Some((usr, rest)),
            _ => Some((self.root.as_ref()?, path)),
        }
    }

    pub(crate) fn text(&self, path: &str) -> Option<String> {
        let (directory, path) = self.place(path)?;
        directory.text(path)
    }

    pub(crate) fn names(&self, path: &str) -> Vec<String> {
        match self.place(path) {
            Some((directory, path)) => directory.names(path),
            None => Vec::new(),
        }
    }

    pub(crate) fn has(&self, path: &str) -> bool {
        let place = self.place(path);
        place.is_some_and(|(directory, path)| directory.has(path))
    }

    pub(crate) fn has_directory(&self, path: &str) -> bool {
        let place = self.place(path);
        place.is_some_and(|(directory, path)| directory.has_directory(path))
    }
}
