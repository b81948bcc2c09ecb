//! `hailoctl`: the device tool. One file a command under `commands`.

fn main() {}
