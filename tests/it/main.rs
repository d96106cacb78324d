//! Every integration test, in one binary: they run the built program and real QEMU tools,
//! and fail where those are missing.

mod image;
