//! Programs that others wrote, and that work with bivouac.

mod autopkgtest;
mod containers;
mod gitlab;
mod kernel;
mod packages;
mod python;
mod slurm;
