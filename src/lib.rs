//! Userspace PCIe driver for the Hailo-10H AI accelerator.

#![cfg_attr(not(test), warn(clippy::print_stdout, clippy::print_stderr))]
