//! A file of the real compiler, where one is at hand. It is not part of the project; without it the test says so.

use std::ops::ControlFlow;
use std::path::Path;

use hailo_vfio::hef::{DeviceArch, Hef, ModelKind, report};

#[test]
fn a_compiled_face_detector_parses_to_its_documented_values() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../shared/spec/samples/hef-real/lightface_slim.hef");
    if !path.exists() {
        eprintln!(
            "SKIPPED: no real HEF beside the checkout ({})",
            path.display()
        );
        return;
    }
    let hef = Hef::open(&path).unwrap();
    assert_eq!(hef.container().file_bytes, 630_784);
    assert_eq!(report::compatible(&hef), "HAILO15H, HAILO10H");
    let compiler = hef.compiler().unwrap();
    assert_eq!(
        (compiler.major, compiler.minor, compiler.revision),
        (5, 4, 0)
    );
    assert_eq!(hef.kind(), ModelKind::Network);
    hef.check_device(DeviceArch::Hailo10H, Some((5, 2)))
        .unwrap();
    let [group] = hef.groups() else {
        panic!("{} groups", hef.groups().len())
    };
    assert_eq!(group.name, "lightface_slim");
    assert!(!group.is_multi_context());
    assert_eq!(group.networks, ["lightface_slim/lightface_slim"]);
    let streams: Vec<String> = group
        .virtual_streams
        .iter()
        .map(report::virtual_line)
        .collect();
    let expected = [
        "input_layer1 UINT8, NHWC(240x320x3)",
        "conv23 UINT8, NHWC(30x40x12)",
        "conv22 UINT8, NHWC(30x40x6)",
        "conv13 UINT8, NHWC(15x20x8)",
        "conv12 UINT8, NHWC(15x20x4)",
        "conv18 UINT8, NHWC(8x10x8)",
        "conv17 UINT8, NHWC(8x10x4)",
        "conv21 UINT8, NHWC(4x5x12)",
        "conv20 UINT8, NHWC(4x5x6)",
    ];
    assert_eq!(
        streams,
        expected.map(|line| format!("lightface_slim/{line}"))
    );
    assert!(hef.is_description_verified());
    hef.verify(|_| ControlFlow::Continue(())).unwrap();
}
