//! Programs that others wrote, and that work with bivouac.

mod autopkgtest;
mod gitlab;
mod python;
mod slurm;
