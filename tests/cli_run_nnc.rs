//! `hailoctl run` in NNC mode: the options of the other mode, and what is saved where no server makes the outputs.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

#[test]
fn a_chip_in_nnc_mode_runs_networks_with_the_same_options() {
    let tool = |options: &[&str]| -> serde_json::Value {
        let output = Command::new(env!("CARGO_BIN_EXE_hailoctl"))
            .args([
                "-d",
                "sim:default,mode=nnc,timing=off,loaded=5.2.0",
                "--json",
                "run",
            ])
            .args(options)
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{errors}");
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let file = "tests/golden/hef/v3_single.hef";
    let one = tool(&[file, "--frames", "50", "--poll"]);
    assert_eq!(
        (&one["network"], &one["frames"]),
        (&"net_a".into(), &50.into())
    );
    // As they travel: padded, without messages.
    assert_eq!(one["link"]["to_device"]["bytes_per_frame"], 112);
    let two = tool(&[
        file,
        "tests/golden/hef/v3_quant_per_feature.hef",
        "--frames",
        "50",
    ]);
    let frames = |place: usize| two["networks"][place]["frames"].clone();
    assert_eq!((frames(0), frames(1)), (50.into(), 50.into()));
    let alone = tool(&[file, "--hw-only"]);
    assert!(
        alone["networks"][0]["cycles"].as_u64().unwrap() > 0,
        "{alone}"
    );
    let saved = tempfile::tempdir().unwrap();
    let folder = saved.path().to_str().unwrap();
    let kept = tool(&[file, "--frames", "3", "--output", folder]);
    let place = kept["outputs"][0]["file"].as_str().unwrap();
    assert!(Path::new(place).exists(), "{place}");
}

/// Shape and bytes of each array in a folder, as its header says and in its length.
fn saved(dir: &Path) -> BTreeMap<String, (String, Vec<u8>)> {
    const HEADER: usize = 192;
    let array = |entry: std::io::Result<fs::DirEntry>| {
        let path = entry.unwrap().path();
        let bytes = fs::read(&path).unwrap();
        let (header, elements) = bytes.split_at(HEADER);
        let header = String::from_utf8_lossy(header);
        let value = |key: &str| header.split_once(key).unwrap().1.trim_start();
        let (shape, _) = value("'shape': (").split_once(",)").unwrap();
        let size = if value("'descr': ").starts_with("'<f4'") {
            4
        } else {
            1
        };
        let count: usize = shape
            .split(", ")
            .map(|side| side.parse::<usize>().unwrap())
            .product();
        assert_eq!(count * size, elements.len(), "{}", path.display());
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        (name, (shape.to_owned(), elements.to_vec()))
    };
    fs::read_dir(dir).unwrap().map(array).collect()
}

#[test]
fn outputs_that_no_server_makes_are_saved_as_the_core_has_them() {
    let dir = tempfile::tempdir().unwrap();
    let frames: Vec<u8> = (0..2 * 3072)
        .map(|at: u32| (at * 7 + at / 32).to_le_bytes()[0])
        .collect();
    let raw = dir.path().join("frames.raw");
    // Rows of pixels, and the same as the core takes them: in each row a line for each feature.
    let lines = |row: &[u8]| -> Vec<u8> {
        let feature = |at: usize| row.iter().skip(at).step_by(3).copied();
        (0..3).flat_map(feature).collect()
    };
    let turned: Vec<u8> = frames.chunks(32 * 3).flat_map(lines).collect();
    let core = dir.path().join("core.raw");
    fs::write(&raw, frames).unwrap();
    fs::write(&core, turned).unwrap();
    let run = |file: &str, raw: &Path, args: &[&str], to: &str| {
        let to = dir.path().join(to);
        let output = Command::new(env!("CARGO_BIN_EXE_hailoctl"))
            .args([
                "-d",
                "sim:default,mode=nnc,timing=off,loaded=5.2.0",
                "run",
                file,
                "--input",
            ])
            .arg(raw)
            .arg("--output")
            .arg(&to)
            .args(args)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{errors}");
        saved(&to)
    };
    let shapes = |found: &BTreeMap<String, (String, Vec<u8>)>| -> Vec<(String, String)> {
        let one = |(name, (shape, _)): (&String, &(String, Vec<u8>))| (name.clone(), shape.clone());
        found.iter().map(one).collect()
    };
    let pair = |(name, shape): (&str, &str)| (format!("{name}.npy"), shape.to_owned());
    // Detections, made of the core's outputs by the chip's server in the other mode.
    let file = "tests/golden/hef/v3_flow_yolov8.hef";
    let found = run(file, &raw, &[], "boxes");
    let expected = [
        ("yolo_cls_a", "2, 4, 3, 4"),
        ("yolo_cls_b", "2, 2, 3, 2"),
        ("yolo_reg_a", "2, 4, 64, 4"),
        ("yolo_reg_b", "2, 2, 64, 2"),
    ];
    assert_eq!(shapes(&found), expected.map(pair));
    let same = run(file, &core, &["--no-post-processing"], "core");
    assert_eq!(shapes(&same), shapes(&found));
    assert!(same == found, "frames of the core differ");
    // One output that is as in the file beside one that is not.
    let found = run("tests/golden/hef/v3_flow_argmax.hef", &raw, &[], "classes");
    let expected = [("sem_aux", "2, 4"), ("sem_conv9", "2, 6, 19, 9")];
    assert_eq!(shapes(&found), expected.map(pair));
    // Several outputs in one, whose parts the file does not order; here of frames that are sixteen times as small.
    let found = run("tests/golden/hef/v3_mux.hef", &raw, &[], "mux");
    assert_eq!(shapes(&found), [("muxnet_output_mux", "32, 320")].map(pair));
}

#[test]
fn frames_of_the_core_are_filled_up_for_the_chip() {
    let dir = tempfile::tempdir().unwrap();
    let (raw, to) = (dir.path().join("frame.raw"), dir.path().join("saved"));
    fs::write(&raw, [5; 105]).unwrap();
    let run = |file: &str, from: &Path| {
        Command::new(env!("CARGO_BIN_EXE_hailoctl"))
            .args([
                "-d",
                "sim:default,mode=nnc,timing=off,loaded=5.2.0",
                "run",
                file,
            ])
            .args(["--no-post-processing", "--input"])
            .arg(from)
            .arg("--output")
            .arg(&to)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .unwrap()
    };
    let output = run("tests/golden/hef/v3_single.hef", &raw);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(saved(&to)["net_a_fc1.npy"].0, "1, 10");
    // Planes travel one by one there.
    fs::write(&raw, [5; 96]).unwrap();
    let output = run("tests/golden/hef/v3_planes_nv12.hef", &raw);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{errors}");
    assert!(errors.contains("without --no-post-processing"), "{errors}");
    assert_eq!(saved(&to).len(), 1);
}
