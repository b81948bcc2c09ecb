//! The manifests under `firmware/` say what the tables in `spec::board` say.
//!
//! They are written from the tables: `UPDATE_MANIFESTS=1 cargo test --test manifests`.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use hailo_vfio::spec::board::{
    Board, FileKind, FileName, HAILO10H, HAILO12L, Layout, Stage, StageTransport,
};

fn manifest(board: &Board, layout: Layout, stages: &[Stage]) -> Result<String, std::fmt::Error> {
    let mut text = String::new();
    let releases = match layout {
        Layout::V4 => "4.20 to 4.23",
        Layout::V5_0 => "5.0.0 and 5.0.1",
        _ => "5.1.0 and later",
    };
    writeln!(
        text,
        "# What a firmware set of this layout holds, in the order of upload. Lengths in bytes.\n\
         # Written from src/spec/board by UPDATE_MANIFESTS=1 cargo test --test manifests\n\n\
         chip = \"{}\"\nlayout = \"{layout}\"\nreleases = \"{releases}\"\nfolder = \"{}\"",
        board.chip, board.firmware_dir
    )?;
    for stage in stages {
        let transport = match stage.transport {
            StageTransport::Window => "window",
            StageTransport::Vdma => "dma",
        };
        writeln!(
            text,
            "\n[[stage]]\nnumber = {}\ntransport = \"{transport}\"\ntimeout_seconds = {}",
            stage.number,
            stage.timeout.as_secs()
        )?;
        for file in stage.files {
            let name = match file.name {
                FileName::Fixed(name) => name,
                FileName::BySku => "u-boot-<sku>.dtb.signed",
            };
            let kind = match file.kind {
                FileKind::Raw => "raw",
                FileKind::Container => "container",
                FileKind::CoreContainer => "container-with-core",
            };
            writeln!(
                text,
                "\n[[stage.file]]\nname = \"{name}\"\nmost = {}\nmandatory = {}\nkind = \"{kind}\"",
                file.max_len, file.mandatory
            )?;
        }
    }
    Ok(text)
}

#[test]
fn the_manifests_agree_with_the_stage_tables() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("firmware/manifests");
    for board in [&HAILO10H, &HAILO12L] {
        for layout in board.layouts() {
            let stages = board.stages(layout).expect("a layout of the board");
            let path = folder.join(format!("{}-{layout}.toml", board.firmware_dir));
            let wanted = manifest(board, layout, stages).expect("text fits in memory");
            if std::env::var_os("UPDATE_MANIFESTS").is_some() {
                fs::write(&path, &wanted).expect("the manifest can be written");
            }
            let found = fs::read_to_string(&path).unwrap_or_default();
            assert_eq!(found, wanted, "{}", path.display());
        }
    }
}
