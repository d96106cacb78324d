//! Programs that others wrote, and that work with bivouac.

mod autopkgtest;
mod gitlab;
mod packages;
mod python;
mod slurm;
