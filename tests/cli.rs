//! What `hailoctl` prints, to the letter: standard output, standard error and exit code.
//!
//! After a wanted change, `TRYCMD=overwrite cargo test --test cli` rewrites the expectations; the
//! difference is then reviewed like any other.

#[test]
fn hailoctl_prints_what_its_pages_say() {
    trycmd::TestCases::new()
        .env("HAILOCTL_DEVICE", "")
        .env("HAILO_FIRMWARE_DIR", "/nowhere/firmware")
        .case("tests/cli/*.trycmd")
        .case("tests/cli/machines/*.trycmd")
        .case("tests/cli/*.toml");
}
