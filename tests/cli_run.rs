//! `hailoctl run` with files: what goes into the software chip and what is saved, against its documented function.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use hailo_vfio::model::soc::output::{fill_output, frame_seed, network_key};

/// 5 x 7 x 3 in, scale 1/256 from 0; 10 out, scale 1/16 from 12. Both `u8`.
const SINGLE: &str = "tests/golden/hef/v3_single.hef";
const IN: usize = 105;
const OUT: usize = 10;
/// Bytes before the elements of an array that is saved.
const HEADER: usize = 192;

fn run(args: &[&str], inputs: &[&Path], saved: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hailoctl"));
    command.args(["-d", "sim:default,timing=off,loaded=5.2.0", "run"]);
    for input in inputs {
        command.arg("--input").arg(input);
    }
    command.arg("--output").arg(saved).args(args);
    command.current_dir(env!("CARGO_MANIFEST_DIR"));
    command.output().unwrap()
}

fn succeed(args: &[&str], inputs: &[&Path], saved: &Path) {
    let output = run(args, inputs, saved);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}

/// Frames without two neighbours that are the same.
fn frames(count: usize) -> Vec<u8> {
    let byte = |at: usize| (at * 37 + at / 11).to_le_bytes()[0];
    (0..count * IN).map(byte).collect()
}

/// What the chip makes of frames of one input.
fn answers(file: &str, group: &str, frames: &[u8], frame: usize, output: usize) -> Vec<u8> {
    let file = fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
    let key = network_key(&file, group);
    let answer = |(number, frame): (u64, &[u8])| {
        let mut bytes = vec![0; output];
        fill_output(frame_seed(key, number, [frame]), 0, false, &mut bytes);
        bytes
    };
    (0..).zip(frames.chunks(frame)).flat_map(answer).collect()
}

fn single(frames: &[u8]) -> Vec<u8> {
    answers(SINGLE, "net_a", frames, IN, OUT)
}

/// The elements of an array that was saved, of this type and shape.
fn elements(path: &Path, data_type: &str, shape: &str) -> Vec<u8> {
    let bytes = fs::read(path).unwrap();
    let header = String::from_utf8_lossy(&bytes[..HEADER]);
    let wanted =
        format!("{{'descr': '{data_type}', 'fortran_order': False, 'shape': ({shape},), }} ");
    assert!(header.contains(&wanted), "{header}");
    bytes[HEADER..].to_vec()
}

fn array(path: PathBuf, data_type: &str, shape: &str, elements: &[u8]) -> PathBuf {
    let text = format!("{{'descr': '{data_type}', 'fortran_order': False, 'shape': {shape}, }}\n");
    let len = u16::try_from(text.len()).unwrap().to_le_bytes();
    let file = [b"\x93NUMPY\x01\0", &len[..], text.as_bytes(), elements].concat();
    fs::write(&path, file).unwrap();
    path
}

fn image(
    path: PathBuf,
    (width, height): (u32, u32),
    color: png::ColorType,
    pixels: &[u8],
) -> PathBuf {
    let mut encoder = png::Encoder::new(fs::File::create(&path).unwrap(), width, height);
    encoder.set_color(color);
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(pixels).unwrap();
    writer.finish().unwrap();
    path
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string();
    entries.map(|entry| name(entry).unwrap()).collect()
}

#[test]
fn frames_of_raw_files_arrays_and_images_are_the_same_to_the_chip() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str| dir.path().join(name);
    let bytes = frames(6);
    let (first, rest) = bytes.split_at(IN);
    let opaque: Vec<u8> = first
        .chunks(3)
        .flat_map(|p| [p[0], p[1], p[2], 9])
        .collect();
    fs::write(file("raw.bin"), &bytes).unwrap();
    fs::write(file("rest.bin"), rest).unwrap();
    let one = array(file("one.npy"), "|u1", "(5, 7, 3)", first);
    let more = array(file("more.npy"), "|u1", "(5, 5, 7, 3)", rest);
    let rgb = image(file("rgb.png"), (7, 5), png::ColorType::Rgb, first);
    let rgba = image(file("rgba.png"), (7, 5), png::ColorType::Rgba, &opaque);
    // Floats are what the quantization makes the same bytes of.
    let floats: Vec<u8> = bytes
        .iter()
        .flat_map(|b| (f32::from(*b) / 256.0).to_le_bytes())
        .collect();
    let floats = array(file("floats.npy"), "<f4", "(6, 5, 7, 3)", &floats);
    let named = PathBuf::from(format!("input_layer1={}", file("raw.bin").display()));
    let (raw, rest) = (file("raw.bin"), file("rest.bin"));
    let ways: [&[&Path]; 6] = [
        &[&raw],
        &[&named],
        &[&one, &more],
        &[&rgb, &rest],
        &[&rgba, &more],
        &[&floats],
    ];
    for (number, way) in ways.into_iter().enumerate() {
        let saved = file(&format!("saved{number}"));
        succeed(&[SINGLE, "--raw-output"], way, &saved);
        let found = elements(&saved.join("net_a_fc1.npy"), "|u1", "6, 10");
        assert!(found == single(&bytes), "{way:?}");
    }
}

/// Images that `tests/golden/images/SOURCE.md` tells of.
fn golden(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    root.join("tests/golden/images").join(name)
}

#[test]
fn files_are_what_they_begin_as_and_a_folder_is_its_files_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str| dir.path().join("photos").join(name);
    fs::create_dir(file("")).unwrap();
    // Grey in the middle is exact in any decoder.
    let flat = vec![128; IN];
    let pixels = frames(1);
    fs::copy(golden("flat.jpg"), file("1 named.png")).unwrap();
    image(file("2.dat"), (7, 5), png::ColorType::Rgb, &pixels);
    array(file("3"), "|u1", "(5, 7, 3)", &flat);
    fs::write(file("4.raw"), [&pixels[..], &flat].concat()).unwrap();
    // Pink, as raw pixels that begin as a JPEG image does.
    let pink: Vec<u8> = [0xff, 0xd8, 0xff].repeat(IN / 3);
    fs::write(file("5.rgb"), &pink).unwrap();
    fs::write(file(".hidden"), "no frame").unwrap();
    let saved = dir.path().join("saved");
    succeed(&[SINGLE, "--raw-output"], &[&file("")], &saved);
    let found = elements(&saved.join("net_a_fc1.npy"), "|u1", "6, 10");
    let all = [&flat[..], &pixels, &flat, &pixels, &flat, &pink].concat();
    assert!(found == single(&all));
}

#[test]
fn an_image_is_turned_as_its_camera_says() {
    let dir = tempfile::tempdir().unwrap();
    let (stored, saved) = (dir.path().join("turned.png"), dir.path().join("saved"));
    let upright = frames(1);
    // Columns from the last on become rows.
    let pixel = |x: usize, y: usize| &upright[(y * 7 + x) * 3..][..3];
    let rows = (0..7).rev();
    let pixels: Vec<u8> = rows
        .flat_map(|x| (0..5).flat_map(move |y| pixel(x, y)))
        .copied()
        .collect();
    let mut info = png::Info::with_size(5, 7);
    info.color_type = png::ColorType::Rgb;
    let exif = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0";
    info.exif_metadata = Some(exif.into());
    let encoder = png::Encoder::with_info(fs::File::create(&stored).unwrap(), info).unwrap();
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(&pixels).unwrap();
    writer.finish().unwrap();
    succeed(&[SINGLE, "--raw-output"], &[&stored], &saved);
    let found = elements(&saved.join("net_a_fc1.npy"), "|u1", "1, 10");
    assert!(found == single(&upright));
    // A JPEG image lies, too, and has the size of the input only when it is turned.
    fs::remove_dir_all(&saved).unwrap();
    succeed(&[SINGLE], &[&golden("turned.jpg")], &saved);
}

/// A PNG image with a header and no pixels.
fn empty_png(path: PathBuf, width: u32, height: u32) -> PathBuf {
    let chunk = |name: &[u8], data: &[u8]| {
        let named = [name, data].concat();
        let len = u32::try_from(data.len()).unwrap().to_be_bytes();
        let crc = crc32fast::hash(&named).to_be_bytes();
        [&len[..], &named, &crc].concat()
    };
    let sides = [width.to_be_bytes(), height.to_be_bytes()].concat();
    let header = [&sides[..], &[8, 2, 0, 0, 0]].concat();
    let parts = [
        chunk(b"IHDR", &header),
        chunk(b"IDAT", &[]),
        chunk(b"IEND", &[]),
    ];
    fs::write(&path, [b"\x89PNG\r\n\x1a\n", &parts.concat()[..]].concat()).unwrap();
    path
}

#[test]
fn an_image_that_claims_to_be_huge_is_refused_before_it_takes_memory() {
    const MEMORY: u32 = 1 << 20;
    let dir = tempfile::tempdir().unwrap();
    let mut jpeg = fs::read(golden("flat.jpg")).unwrap();
    let frame = jpeg.windows(2).position(|two| two == [0xff, 0xc0]).unwrap();
    jpeg[frame + 5..][..4].fill(0xff);
    let huge = dir.path().join("huge.jpg");
    fs::write(&huge, jpeg).unwrap();
    for path in [huge, empty_png(dir.path().join("huge.png"), 65535, 65535)] {
        let limited = format!("ulimit -v {MEMORY} && exec \"$@\"");
        let output = Command::new("sh")
            .args(["-c", &limited, "sh", env!("CARGO_BIN_EXE_hailoctl")])
            .args(["-d", "sim:default,loaded=5.2.0", "run", SINGLE, "--input"])
            .arg(&path)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("65535 wide, 65535 high, RGB"), "{said}");
    }
}

/// Frames of rows of pixels as a plane for each feature.
fn planes(frames: &[u8]) -> Vec<u8> {
    let turned = |frame: &[u8]| -> Vec<u8> {
        let feature = |at: usize| frame.iter().skip(at).step_by(3).copied();
        (0..3).flat_map(feature).collect()
    };
    frames.chunks(IN).flat_map(turned).collect()
}

#[test]
fn frames_of_other_types_and_orders_are_the_same_to_the_chip() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str| dir.path().join(name);
    let bytes = frames(3);
    let real = |bytes: &[u8]| -> Vec<u8> {
        let value = |byte: &u8| (f32::from(*byte) / 256.0).to_le_bytes();
        bytes.iter().flat_map(value).collect()
    };
    let rows: Vec<u8> = bytes
        .chunks(21)
        .flat_map(|row| [row, &[7; 3]].concat())
        .collect();
    fs::write(file("real.bin"), real(&bytes)).unwrap();
    fs::write(file("rows.bin"), rows).unwrap();
    let turned = real(&planes(&bytes));
    let turned = array(file("turned.npy"), "<f4", "(3, 3, 5, 7)", &turned);
    let ways: [(PathBuf, &[&str]); 3] = [
        (file("real.bin"), &["--input-type", "f4"]),
        (turned, &["--input-order", "nchw"]),
        (file("rows.bin"), &["--input-order", "rgb4"]),
    ];
    for (number, (path, args)) in ways.iter().enumerate() {
        let saved = file(&format!("saved{number}"));
        let args = [&[SINGLE, "--raw-output"], *args].concat();
        succeed(&args, &[path], &saved);
        let found = elements(&saved.join("net_a_fc1.npy"), "|u1", "3, 10");
        assert!(found == single(&bytes), "{args:?}");
    }
}

#[test]
fn outputs_are_saved_in_the_order_that_is_asked_for() {
    const PLANES: &str = "tests/golden/hef/v3_planes_nv12.hef";
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str| dir.path().join(name);
    fs::write(file("raw.bin"), &frames(1)[..96]).unwrap();
    // As other programs hold such an image: rows of luma, then of chroma.
    let rows = array(file("rows.npy"), "|u1", "(12, 8)", &frames(1)[..96]);
    let ways: [(&Path, &[&str], &str); 2] = [
        (&file("raw.bin"), &[], "1, 4, 4, 8"),
        (&rows, &["--output-order", "nchw"], "1, 8, 4, 4"),
    ];
    let found = ways.map(|(path, args, shape)| {
        let saved = file(&shape.replace(", ", "x"));
        succeed(&[&[PLANES, "--raw-output"], args].concat(), &[path], &saved);
        elements(&saved.join("nv_conv1.npy"), "|u1", shape)
    });
    let [pixels, planes] = found;
    let plane = |at: usize| pixels.iter().skip(at).step_by(8).copied();
    assert_eq!((0..8).flat_map(plane).collect::<Vec<u8>>(), planes);
}

#[test]
fn outputs_are_saved_as_the_values_they_stand_for() {
    let dir = tempfile::tempdir().unwrap();
    let (raw, saved) = (dir.path().join("raw.bin"), dir.path().join("saved"));
    fs::write(&raw, frames(2)).unwrap();
    succeed(&[SINGLE, "--frames", "5"], &[&raw], &saved);
    let five = [frames(2), frames(2), frames(1)].concat();
    let value = |byte: &u8| ((f32::from(*byte) - 12.0) / 16.0).to_le_bytes();
    let expected: Vec<u8> = single(&five).iter().flat_map(value).collect();
    let found = elements(&saved.join("net_a_fc1.npy"), "<f4", "5, 10");
    assert!(found == expected);
    assert_eq!(names(&saved).len(), 1);
    // Nothing is overwritten.
    let again = run(&[SINGLE], &[&raw], &saved);
    assert_eq!(again.status.code(), Some(1));
    assert!(elements(&saved.join("net_a_fc1.npy"), "<f4", "5, 10") == expected);
}

#[test]
fn a_run_that_fails_leaves_no_file() {
    let dir = tempfile::tempdir().unwrap();
    let fault = ["--fault", "rpc-close@18+3", SINGLE, "--frames", "20"];
    let output = run(&fault, &[], dir.path());
    assert_eq!(output.status.code(), Some(5));
    assert_eq!(names(dir.path()), Vec::<String>::new());
}

#[test]
fn networks_run_together_each_with_its_own_frames() {
    const MINIMAL: &str = "tests/golden/hef/v3_minimal.hef";
    let dir = tempfile::tempdir().unwrap();
    let (raw, saved) = (dir.path().join("raw.bin"), dir.path().join("saved"));
    fs::write(&raw, frames(40)).unwrap();
    let named = PathBuf::from(format!("net_a/input_layer1={}", raw.display()));
    let args = [SINGLE, MINIMAL, "--raw-output", "--json"];
    let output = run(&args, &[&named], &saved);
    assert!(output.status.success());
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let networks = told["networks"].as_array().unwrap();
    assert_eq!(networks.len(), 2);
    for network in networks {
        assert_eq!(network["frames"], 40);
        for output in network["outputs"].as_array().unwrap() {
            assert!(Path::new(output["file"].as_str().unwrap()).exists());
        }
    }
    let found = elements(&saved.join("net_a_fc1.npy"), "|u1", "40, 10");
    assert!(found == single(&frames(40)));
}

#[test]
fn files_that_do_not_fit_are_refused_with_what_would() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str| dir.path().join(name);
    let bytes = frames(1);
    fs::write(file("short.bin"), &bytes[1..]).unwrap();
    fs::write(file("empty.bin"), []).unwrap();
    fs::write(file("text.png"), "text").unwrap();
    let cases = [
        (file("short.bin"), ["105 bytes a frame", "104 bytes"]),
        (file("empty.bin"), ["105 bytes a frame", "0 bytes"]),
        (file("none.bin"), ["can't be read", "none.bin"]),
        (file("text.png"), ["can't be used", "text.png"]),
        (
            array(file("turned.npy"), "|u1", "(7, 5, 3)", &bytes),
            ["5x7x3, or Nx5x7x3", "7x5x3"],
        ),
        (
            array(file("wide.npy"), "<u2", "(5, 7, 3)", &[0; 2 * IN]),
            ["can't be used", "no way from"],
        ),
        (
            image(file("turned.png"), (5, 7), png::ColorType::Rgb, &bytes),
            ["7 wide, 5 high, RGB", "5 wide, 7 high, RGB"],
        ),
        (
            image(
                file("grey.png"),
                (7, 5),
                png::ColorType::Grayscale,
                &bytes[..35],
            ),
            ["7 wide, 5 high, RGB", "7 wide, 5 high, grey"],
        ),
    ];
    let named = |name: &str, start: &[u8]| {
        fs::write(file(name), start).unwrap();
        file(name)
    };
    let short = fs::read(golden("baseline.jpg")).unwrap();
    let images = [
        (
            named("web.webp", b"RIFF\x11\0\0\0WEBPVP8 "),
            ["it holds a WebP image", "web.webp[0]' -auto"],
        ),
        (
            named("photo.raw", b"\xff\xd8\xff\xe0"),
            ["a JPEG image, but is called raw", "another name"],
        ),
        (named("many.npz", b"PK\x03\x04"), ["a ZIP archive", "*.npy"]),
        (
            named("short.jpg", &short[..short.len() - 3]),
            ["can't be used", "a part of it is missing"],
        ),
        (
            array(file("planes.npy"), "|u1", "(3, 5, 7)", &bytes),
            ["found    3x5x7", "next     add --input-order nchw"],
        ),
        (
            PathBuf::from("/dev/zero"),
            ["can't be read", "it is a device"],
        ),
    ];
    for (path, told) in cases.into_iter().chain(images) {
        let saved = file("saved");
        let output = run(&[SINGLE], &[&path], &saved);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(told.iter().all(|told| said.contains(told)), "{said}");
        assert!(!saved.exists());
    }
}

#[test]
fn what_is_wrong_with_a_file_or_a_folder_is_said_by_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let saved = dir.path().join("saved");
    // Two networks whose outputs have the same names.
    let output = run(&[SINGLE, SINGLE], &[], &saved);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("two outputs would be saved as"), "{said}");
    assert_eq!(fs::read_dir(&saved).unwrap().count(), 0);
}
