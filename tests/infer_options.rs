//! Post-processing by the chip's server: what a client may ask of detections, what is refused, and frames without any of it.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "support/mod.rs"]
mod support;

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hailo_vfio::ErrorKind;
use hailo_vfio::deadline::Deadline;
use hailo_vfio::hef::{DataType, Hef, Order};
use hailo_vfio::model::soc::output::{fill_output, frame_seed, network_key};
use hailo_vfio::soc::Soc;
use hailo_vfio::soc::infer::{
    ConfigureOptions, Configured, DetectionOptions, Frame, Model, PostProcessing, StreamFormat,
    Threshold, VdeviceOptions,
};
use hailo_vfio::soc::rpc::RpcError;
use hailo_vfio::soc::rpc::method::{Configure, CreateInferModel, CreateVdevice};
use hailo_vfio::spec::rpc::Status;
use hailo_vfio::spec::rpc::types::{
    ConfigureRequest, CreateInferModelRequest, CreateVdeviceRequest, StreamParams, VdeviceParams,
};
use hailo_vfio::spec::rpc::value::{UNIQUE_GROUP, format_order, format_type, unset};
use support::{Bench, Way};

fn with_soc(test: impl FnOnce(&Soc)) {
    let bench = Bench::new(Way::Local, "default,timing=off,loaded=5.2.0", "");
    test(&bench.open().soc().unwrap());
    bench.assert_no_complaints();
}

fn sample(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/hef/{name}.hef"))
}

const BY_CLASS: &str = "v3_flow_yolov8";
const BOXES: &str = "yolo/yolov8_nms_postprocess";
const MASKED: &str = "v3_flow_yolov5seg";
const MASKS: &str = "seg/yolov5_seg_nms";

fn load(soc: &Soc, name: &str, post_processing: PostProcessing) -> Model {
    let options = VdeviceOptions {
        post_processing,
        ..Default::default()
    };
    let hef = Hef::open(sample(name)).unwrap();
    soc.vdevice(&options).unwrap().load(&hef, "").unwrap()
}

fn asking(stream: &str, asked: DetectionOptions) -> ConfigureOptions {
    ConfigureOptions {
        detections: vec![(stream.to_owned(), asked)],
        ..Default::default()
    }
}

fn most(per_class: u32, total: u32) -> DetectionOptions {
    DetectionOptions {
        max_per_class: NonZeroU32::new(per_class),
        max_total: NonZeroU32::new(total),
        ..Default::default()
    }
}

/// Runs three frames, every byte as documented.
fn check(name: &str, model: &Model, configured: &Configured) {
    let key = network_key(&std::fs::read(sample(name)).unwrap(), model.group());
    let mut frame = configured.frame().unwrap();
    for number in 0..3 {
        for part in frame.inputs_mut() {
            part.bytes_mut().fill(number);
        }
        let inputs: Vec<Vec<u8>> = frame
            .inputs()
            .iter()
            .map(|part| part.bytes().to_vec())
            .collect();
        let seed = frame_seed(key, number.into(), inputs.iter().map(Vec::as_slice));
        let deadline = Deadline::after(Duration::from_secs(30));
        frame = configured.run(frame, &deadline).unwrap();
        for ((index, info), part) in (0..).zip(configured.outputs()).zip(frame.outputs()) {
            let mut expected = vec![0; info.frame_bytes];
            let float = info.data_type == DataType::Float32;
            fill_output(seed, index, float, &mut expected);
            assert!(part.bytes() == expected, "{}", info.name);
        }
    }
}

#[test]
fn the_most_boxes_that_are_asked_for_size_the_frames() {
    with_soc(|soc| {
        let model = load(soc, BY_CLASS, PostProcessing::Usual);
        let mut asked = most(2, 0);
        asked.score_threshold = Some(Threshold::new(0.5).unwrap());
        asked.iou_threshold = Some(Threshold::new(0.0).unwrap());
        let configured = model.configure(&asking(BOXES, asked)).unwrap();
        let boxes = &configured.outputs()[0];
        assert_eq!(boxes.frame_bytes, 3 * (1 + 5 * 2) * 4);
        assert_eq!(boxes.nms.unwrap().max_per_class, 2);
        check(BY_CLASS, &model, &configured);
    });
    with_soc(|soc| {
        let model = load(soc, MASKED, PostProcessing::Usual);
        let mut asked = most(0, 3);
        asked.mask_bytes = NonZeroU32::new(500);
        let configured = model.configure(&asking(MASKS, asked)).unwrap();
        assert_eq!(configured.outputs()[0].frame_bytes, 2 + 3 * 46 + 500);
        check(MASKED, &model, &configured);
    });
    // Boxes by score are counted in all classes.
    with_soc(|soc| {
        let model = load(soc, BY_CLASS, PostProcessing::Usual);
        let mut options = asking(BOXES, most(0, 4));
        let by_score = StreamFormat {
            order: Some(Order::NmsByScore),
            ..StreamFormat::default()
        };
        options.formats = vec![(BOXES.to_owned(), by_score)];
        let configured = model.configure(&options).unwrap();
        assert_eq!(configured.outputs()[0].frame_bytes, 2 + 4 * 22);
        check(BY_CLASS, &model, &configured);
    });
}

#[test]
fn what_an_output_does_not_take_is_refused_before_the_chip_is_asked() {
    with_soc(|soc| {
        let model = load(soc, BY_CLASS, PostProcessing::Usual);
        for (stream, asked) in [
            (BOXES, most(0, 4)),
            ("yolo/input_layer1", most(4, 0)),
            ("nowhere", most(4, 0)),
        ] {
            let error = model.configure(&asking(stream, asked)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::BadInput, "{error}");
        }
        // The model is as good as before.
        let configured = model.configure(&ConfigureOptions::default()).unwrap();
        check(BY_CLASS, &model, &configured);
    });
}

fn params(name: &str) -> StreamParams {
    StreamParams {
        name: name.to_owned(),
        format_order: format_order::AUTO,
        format_type: format_type::AUTO,
        nms_score_threshold: unset::SCORE,
        nms_iou_threshold: unset::SCORE,
        nms_max_proposals_per_class: unset::COUNT,
        nms_max_accumulated_mask_size: unset::COUNT,
        nms_max_proposals_total: unset::COUNT,
    }
}

/// The status that the chip's server gives to a stream with these parameters.
fn status(file: &str, input: bool, params: StreamParams) -> Status {
    let mut status = Status::SUCCESS;
    with_soc(|soc| {
        let connection = soc.connect().unwrap();
        let vdevice = CreateVdeviceRequest {
            params: Some(VdeviceParams {
                scheduling_algorithm: 1,
                group_id: UNIQUE_GROUP.to_owned(),
                ..VdeviceParams::default()
            }),
            without_post_processing: false,
        };
        let vdevice = connection.call::<CreateVdevice>(&vdevice).unwrap().handle;
        let hef = std::fs::read(sample(file)).unwrap();
        let len = u64::try_from(hef.len()).unwrap();
        let model = CreateInferModelRequest {
            vdevice,
            hef_size: len,
            name: String::new(),
        };
        let model = connection
            .upload::<CreateInferModel>(&model, len, &mut |offset, piece| {
                let at = usize::try_from(offset).unwrap();
                piece.copy_from_slice(&hef[at..at + piece.len()]);
                Ok(())
            })
            .unwrap();
        let (inputs, outputs) = if input {
            (vec![params], Vec::new())
        } else {
            (Vec::new(), vec![params])
        };
        let body = ConfigureRequest {
            infer_model: model.handle,
            vdevice,
            inputs,
            outputs,
            ..ConfigureRequest::default()
        };
        status = match connection.call::<Configure>(&body) {
            Ok(_) => Status::SUCCESS,
            Err(RpcError::Status { status, .. }) => status,
            Err(error) => panic!("{error}"),
        };
        connection.close().unwrap();
    });
    status
}

#[test]
fn the_server_refuses_what_an_output_does_not_take() {
    let scored = |name: &str| StreamParams {
        nms_score_threshold: 0.5,
        ..params(name)
    };
    let totalled = |name: &str| StreamParams {
        nms_max_proposals_total: 5,
        ..params(name)
    };
    let masked = |name: &str| StreamParams {
        nms_max_accumulated_mask_size: 5,
        ..params(name)
    };
    let by_score = StreamParams {
        format_order: format_order::NMS_BY_SCORE,
        nms_max_proposals_per_class: 5,
        ..params(BOXES)
    };
    let cases = [
        (BY_CLASS, false, scored(BOXES), Status::SUCCESS),
        (BY_CLASS, false, totalled(BOXES), Status::INVALID_ARGUMENT),
        (BY_CLASS, false, masked(BOXES), Status::INVALID_ARGUMENT),
        (BY_CLASS, false, by_score, Status::INVALID_ARGUMENT),
        (MASKED, false, totalled(MASKS), Status::SUCCESS),
        (MASKED, false, masked(MASKS), Status::SUCCESS),
        // The neural core makes these boxes.
        (
            "v3_nms_bbox",
            false,
            scored("det/nms1"),
            Status::INVALID_ARGUMENT,
        ),
        (
            "v3_single",
            false,
            scored("net_a/fc1"),
            Status::INVALID_ARGUMENT,
        ),
        (
            "v3_single",
            true,
            scored("net_a/input_layer1"),
            Status::INVALID_OPERATION,
        ),
        ("v3_single", false, scored("nobody"), Status::NOT_FOUND),
    ];
    for (file, input, params, expected) in cases {
        assert_eq!(status(file, input, params.clone()), expected, "{params:?}");
    }
}

#[test]
fn without_post_processing_frames_are_those_of_the_neural_core() {
    with_soc(|soc| {
        let model = load(soc, BY_CLASS, PostProcessing::Off);
        let names: Vec<_> = model.outputs().iter().map(|stream| &*stream.name).collect();
        let raw = ["yolo/reg_a", "yolo/cls_a", "yolo/reg_b", "yolo/cls_b"];
        assert_eq!(names, raw);
        let input = &model.inputs()[0];
        assert_eq!((input.order, input.frame_bytes), (Order::Nhcw, 3072));
        let configured = model.configure(&ConfigureOptions::default()).unwrap();
        check(BY_CLASS, &model, &configured);
        let options = ConfigureOptions {
            formats: vec![(raw[0].to_owned(), StreamFormat::default())],
            ..Default::default()
        };
        let error = model.configure(&options).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BadInput);
        let error = model.configure(&asking(raw[0], most(1, 0))).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BadInput);
    });
    // Padded rows stay padded.
    with_soc(|soc| {
        let model = load(soc, "v3_flow_argmax", PostProcessing::Off);
        let physical = Hef::open(sample("v3_flow_argmax")).unwrap();
        let physical = &physical.group("").unwrap().streams;
        for stream in model.inputs().iter().chain(model.outputs()) {
            let on_chip = physical
                .iter()
                .find(|found| found.name == stream.name)
                .unwrap();
            assert_eq!(stream.shape, on_chip.hw_shape);
            assert_eq!(stream.order, on_chip.order);
        }
        let configured = model.configure(&ConfigureOptions::default()).unwrap();
        check("v3_flow_argmax", &model, &configured);
    });
    // How long frames of boxes of the core are is not known.
    with_soc(|soc| {
        let options = VdeviceOptions {
            post_processing: PostProcessing::Off,
            ..Default::default()
        };
        let vdevice = soc.vdevice(&options).unwrap();
        let hef = Hef::open(sample("v3_nms_bbox")).unwrap();
        assert_eq!(
            vdevice.load(&hef, "").unwrap_err().kind(),
            ErrorKind::BadInput
        );
    });
}

#[test]
fn a_priority_that_does_not_exist_leaves_nothing_on_the_chip() {
    with_soc(|soc| {
        let model = load(soc, BY_CLASS, PostProcessing::Usual);
        let configured = model.configure(&ConfigureOptions::default()).unwrap();
        let options = ConfigureOptions {
            priority: Some(32),
            ..Default::default()
        };
        let error = model.configure(&options).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BadInput);
        assert_eq!(error.facts()[0], ("expected", "0 to 31".to_owned()));
        assert!(configured.set_priority(32).is_err());
        configured.set_priority(31).unwrap();
        check(BY_CLASS, &model, &configured);
    });
}

#[test]
fn a_run_that_fails_tells_each_reason_once() {
    with_soc(|soc| {
        let model = load(soc, BY_CLASS, PostProcessing::Usual);
        let configured = model.configure(&ConfigureOptions::default()).unwrap();
        let error = configured.submit(Frame::default()).unwrap_err();
        assert_eq!(error.to_string(), error.reason.to_string());
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        assert_ne!(cause, Some(error.to_string()));
    });
}
