//! Every integration test, in one binary. They run the real bivouac with the real QEMU on
//! real images; what is missing is a failure, never a skip.

mod env;
mod run;
