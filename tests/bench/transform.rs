//! Frames between user and chip, beside a plain copy of the same bytes.
//!
//! `cargo bench --bench transform`. Each line takes turns with `memcpy` of as many bytes as the larger side has, so that
//! both see the same machine; the ratio is that of the fastest turns.

use std::hint::black_box;
use std::time::{Duration, Instant};

use hailo_vfio::hef::{DataType, LayerQuantization, Order, Quantization, Shape};
use hailo_vfio::transform::{Frame, Transform};

const TURNS: usize = 200;

fn frame(data_type: DataType, order: Order, (h, w, f): (u32, u32, u32)) -> Frame {
    Frame {
        data_type,
        order,
        shape: Shape::new(h, w, f),
    }
}

fn measure(name: &str, transform: &Transform) {
    let from = vec![7_u8; transform.from_bytes()];
    let mut to = vec![0_u8; transform.to_bytes()];
    let plain = vec![7_u8; from.len().max(to.len())];
    let mut copy = vec![0_u8; plain.len()];
    let (mut ours, mut memcpy) = (Duration::MAX, Duration::MAX);
    for _ in 0..TURNS {
        let started = Instant::now();
        transform
            .apply(black_box(&from), black_box(&mut to))
            .expect("the sizes are its own");
        ours = ours.min(started.elapsed());
        let started = Instant::now();
        black_box(&mut copy).copy_from_slice(black_box(&plain));
        memcpy = memcpy.min(started.elapsed());
    }
    let rate = plain.len() as f64 / ours.as_secs_f64() / 1e9;
    let ratio = memcpy.as_secs_f64() / ours.as_secs_f64();
    println!("{name:44} {rate:6.2} GB/s, {ratio:.2} of memcpy");
}

fn main() {
    use DataType::{Float32, Uint8, Uint16};
    use Order::{Nc, Nchw, Nhcw, Nhwc, Rgb888};
    let by = LayerQuantization {
        layer: Quantization {
            zero_point: 12.0,
            scale: 0.037,
            limit_min: -1.0,
            limit_max: 8.0,
        },
        ..LayerQuantization::default()
    };
    let image = (640, 636, 3);
    let padded = (640, 640, 3);
    let map = (80, 80, 255);
    let inputs = [
        (
            "u8 NHWC rows to padded rows",
            (Uint8, Nhwc, image),
            (Uint8, Nhwc, padded),
        ),
        (
            "u8 NHWC to NHCW, 3 features",
            (Uint8, Nhwc, image),
            (Uint8, Nhcw, padded),
        ),
        (
            "u8 NCHW to NHCW, 3 features",
            (Uint8, Nchw, image),
            (Uint8, Nhcw, padded),
        ),
        (
            "u8 NHWC to RGB888",
            (Uint8, Nhwc, image),
            (Uint8, Rgb888, (640, 640, 4)),
        ),
        (
            "f32 NHWC to u8 NHWC",
            (Float32, Nhwc, padded),
            (Uint8, Nhwc, padded),
        ),
        (
            "f32 NCHW to u8 NHCW",
            (Float32, Nchw, padded),
            (Uint8, Nhcw, padded),
        ),
    ];
    for (name, user, device) in inputs {
        let (user, device) = (
            frame(user.0, user.1, user.2),
            frame(device.0, device.1, device.2),
        );
        let made = Transform::to_device(user, device, false, &by);
        measure(name, &made.expect("a way there is"));
    }
    let outputs = [
        (
            "u8 padded rows to NHWC rows",
            (Uint8, Nhwc, padded),
            (Uint8, Nhwc, image),
        ),
        (
            "u8 NHCW to NHWC, 255 features",
            (Uint8, Nhcw, map),
            (Uint8, Nhwc, map),
        ),
        (
            "u8 NHWC to f32 NHWC",
            (Uint8, Nhwc, map),
            (Float32, Nhwc, map),
        ),
        (
            "u8 NHCW to f32 NHWC, 255 features",
            (Uint8, Nhcw, map),
            (Float32, Nhwc, map),
        ),
        (
            "u16 NC to f32 NC",
            (Uint16, Nc, (1, 1, 100_000)),
            (Float32, Nc, (1, 1, 100_000)),
        ),
    ];
    for (name, device, user) in outputs {
        let (user, device) = (
            frame(user.0, user.1, user.2),
            frame(device.0, device.1, device.2),
        );
        let made = Transform::from_device(device, user, false, &by);
        measure(name, &made.expect("a way back there is"));
    }
}
