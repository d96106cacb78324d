//! The kernel's requests, taken by a thread and answered by the main one.

use std::ffi::OsStr;
use std::future::Future;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::pin::Pin;
use std::rc::Rc;

use fuser::{
    Config, FileHandle, Filesystem, INodeNo, InitFlags, KernelConfig, LockOwner, OpenFlags,
    ReplyAttr, ReplyData, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyOpen,
    ReplyStatfs, ReplyXattr, Request, SessionACL,
};
use tokio::sync::mpsc;

use super::replies;
use super::tree::Tree;

/// How many requests for data the kernel sends before it waits for answers.
const IN_FLIGHT: u16 = 64;

type Work = Pin<Box<dyn Future<Output = ()>>>;
type Job = Box<dyn FnOnce(Rc<Tree>) -> Work + Send>;

/// What the kernel wants, in order.
#[derive(Debug)]
pub struct Requests(mpsc::UnboundedReceiver<Job>);

impl Requests {
    /// Answers until the filesystem is unmounted. Needs a [`tokio::task::LocalSet`].
    pub async fn answer(&mut self, tree: &Rc<Tree>) {
        while let Some(job) = self.0.recv().await {
            tokio::task::spawn_local(job(Rc::clone(tree)));
        }
    }
}

/// Takes requests from a mounted device until it is unmounted.
pub fn start(device: OwnedFd) -> io::Result<Requests> {
    let (send, receive) = mpsc::unbounded_channel();
    // Whom to let in is the kernel's business, by the options of the mount.
    let (all, config) = (SessionACL::All, Config::default());
    let session = fuser::Session::from_fd(Inlet(send), device, all, config)?;
    std::thread::Builder::new().spawn(move || {
        if let Err(error) = session.run() {
            tracing::debug!("the end of the mount: {error}");
        }
    })?;
    Ok(Requests(receive))
}

struct Inlet(mpsc::UnboundedSender<Job>);

impl Inlet {
    /// Without a receiver the reply is dropped, which is an error for who waits for it.
    fn send<F: Future<Output = ()> + 'static>(
        &self,
        job: impl FnOnce(Rc<Tree>) -> F + Send + 'static,
    ) {
        let _ = self.0.send(Box::new(|tree| Box::pin(job(tree))));
    }
}

impl Filesystem for Inlet {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        for wanted in [
            InitFlags::FUSE_DO_READDIRPLUS,
            InitFlags::FUSE_PARALLEL_DIROPS,
            InitFlags::FUSE_CACHE_SYMLINKS,
            InitFlags::FUSE_ASYNC_READ,
        ] {
            // An older kernel is slower.
            let _ = config.add_capabilities(wanted);
        }
        let _ = config.set_max_background(IN_FLIGHT);
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let name = name.as_bytes().to_vec();
        self.send(move |tree| async move { replies::entry(&tree, parent, &name, reply).await });
    }

    fn forget(&self, _: &Request, number: INodeNo, count: u64) {
        self.send(move |tree| async move { tree.nodes.borrow_mut().forget(number, count) });
    }

    fn getattr(&self, _: &Request, number: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        self.send(move |tree| async move { replies::attr(&tree, number, reply) });
    }

    fn readlink(&self, _: &Request, number: INodeNo, reply: ReplyData) {
        self.send(move |tree| async move { replies::link(&tree, number, reply) });
    }

    fn open(&self, _: &Request, number: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        self.send(move |tree| async move { replies::opened(tree.open(number), false, reply) });
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        self.send(move |tree| async move {
            match tree.read(handle.0, offset, size).await {
                Ok(bytes) => reply.data(&bytes),
                Err(errno) => reply.error(errno),
            }
        });
    }

    fn release(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        self.send(move |tree| async move {
            tree.release(handle.0);
            reply.ok();
        });
    }

    fn opendir(&self, _: &Request, number: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        self.send(move |tree| async move {
            replies::opened(tree.open_directory(number).await, true, reply);
        });
    }

    fn readdir(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        reply: ReplyDirectory,
    ) {
        self.send(move |tree| async move { replies::directory(&tree, handle, offset, reply) });
    }

    fn readdirplus(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        reply: ReplyDirectoryPlus,
    ) {
        self.send(move |tree| async move { replies::directory_plus(&tree, handle, offset, reply) });
    }

    fn releasedir(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        _: OpenFlags,
        reply: ReplyEmpty,
    ) {
        self.send(move |tree| async move {
            tree.release(handle.0);
            reply.ok();
        });
    }

    fn statfs(&self, _: &Request, number: INodeNo, reply: ReplyStatfs) {
        self.send(move |tree| async move { replies::filesystem(&tree, number, reply).await });
    }

    fn getxattr(&self, _: &Request, number: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        let name = name.as_bytes().to_vec();
        self.send(move |tree| async move {
            replies::attribute(&tree, number, &name, size, reply).await
        });
    }

    fn listxattr(&self, _: &Request, number: INodeNo, size: u32, reply: ReplyXattr) {
        self.send(
            move |tree| async move { replies::attribute_names(&tree, number, size, reply).await },
        );
    }
}
