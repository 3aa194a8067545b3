//! .npy input: every dtype, byte order and memory order, and files that are broken or hostile.

use crate::support::{Outcome, Scratch, activations, command, header, npy, read, with_header};
use std::process::Command;
use std::time::{Duration, Instant};

/// Runs the identity on a file and returns what the program said and wrote.
fn identity(bytes: &[u8]) -> (Outcome, Vec<usize>, Vec<f32>) {
    let scratch = Scratch::new();
    let input = scratch.file("in.npy", bytes);
    let output = scratch.path("out.npy");
    let outcome = command(&["run", "identity", "--dtype", "f32", "--backend", "cpu"])
        .arg(input)
        .arg("-o")
        .arg(&output)
        .output()
        .unwrap();
    let outcome = Outcome::from(outcome).ok();
    let (shape, data) = read(&output);
    (outcome, shape, data)
}

/// Runs the identity on a file that must be refused.
#[track_caller]
fn refused(bytes: &[u8], parts: &[&str]) {
    let scratch = Scratch::new();
    let input = scratch.file("in.npy", bytes);
    let output = scratch.path("out.npy");
    let outcome: Outcome = command(&["run", "identity", "--backend", "cpu"])
        .arg(input)
        .arg("-o")
        .arg(&output)
        .output()
        .unwrap()
        .into();
    outcome.refused(&["in.npy: "]);
    outcome.refused(parts);
    assert_eq!(scratch.names(), ["in.npy"]);
}

/// The element at row-major position `k` of a [2, 3, 4] array lies here in Fortran order.
fn fortran_position(k: usize) -> usize {
    let (i, j, l) = (k / 12, k / 4 % 3, k % 4);
    i + 2 * j + 6 * l
}

/// Every byte order and memory order of one dtype.
fn all_orders(name: &str, code: &str, little: &[Vec<u8>], want: &[f32]) {
    assert_eq!((little.len(), want.len()), (24, 24));
    for big in [false, true] {
        for fortran in [false, true] {
            let mut file = vec![Vec::new(); 24];
            for (k, element) in little.iter().enumerate() {
                let mut element = element.clone();
                if big {
                    element.reverse();
                }
                file[if fortran { fortran_position(k) } else { k }] = element;
            }
            let endian = match (element_size(code), big) {
                (1, _) => '|',
                (_, false) => '<',
                (_, true) => '>',
            };
            let dtype = format!("{endian}{code}");
            let bytes = npy(&dtype, fortran, &[2, 3, 4], &file.concat());
            let (outcome, shape, data) = identity(&bytes);
            assert_eq!(shape, [2, 3, 4], "{dtype}");
            let bits = |x: &[f32]| x.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&data), bits(want), "{dtype}, fortran {fortran}");
            let noted = outcome
                .stderr
                .contains(&format!("{name} converted to float32"));
            // f32 holds what 16 bits hold.
            assert_eq!(
                noted,
                !["float32", "float16"].contains(&name),
                "{outcome:?}"
            );
        }
    }
}

fn element_size(code: &str) -> usize {
    code[1..].parse().unwrap()
}

#[test]
fn every_dtype_in_every_order() {
    macro_rules! integers {
        ($($type:ty, $name:literal, $code:literal;)*) => {$({
            // Small steps around 0, and the ends where f32 holds them.
            let mut values: Vec<$type> = (0..24).map(|k: u8| k.wrapping_mul(5) as $type).collect();
            values[3] = <$type>::MIN;
            let little: Vec<Vec<u8>> = values.iter().map(|v| v.to_le_bytes().to_vec()).collect();
            let want: Vec<f32> = values.iter().map(|&v| v as f32).collect();
            all_orders($name, $code, &little, &want);
        })*};
    }
    integers! {
        i8, "int8", "i1"; i16, "int16", "i2"; i32, "int32", "i4"; i64, "int64", "i8";
        u8, "uint8", "u1"; u16, "uint16", "u2"; u32, "uint32", "u4"; u64, "uint64", "u8";
    }

    let floats: Vec<f32> = (0..24).map(|k| (k as f32 - 12.0) * 0.375).collect();
    let mut special = floats.clone();
    special[..5].copy_from_slice(&[-0.0, f32::INFINITY, f32::NEG_INFINITY, 1e-45, f32::MAX]);
    let little: Vec<Vec<u8>> = special.iter().map(|x| x.to_le_bytes().to_vec()).collect();
    all_orders("float32", "f4", &little, &special);
    let wide = special.iter().map(|&x| f64::from(x).to_le_bytes().to_vec());
    all_orders("float64", "f8", &wide.collect::<Vec<_>>(), &special);

    // float16 by hand: sign, 5 bits of exponent with bias 15, 10 bits of fraction.
    let halves = [
        (0x0000u16, 0.0f32),
        (0x8000, -0.0),
        (0x3c00, 1.0),
        (0xc000, -2.0),
        (0x3555, 0.333_251_95),
        (0x7bff, 65504.0),
        (0x0001, 5.960_464_5e-8),
        (0x7c00, f32::INFINITY),
    ];
    let little = halves.iter().cycle().take(24);
    let little: Vec<Vec<u8>> = little.map(|(b, _)| b.to_le_bytes().to_vec()).collect();
    let want: Vec<f32> = halves.iter().cycle().take(24).map(|&(_, x)| x).collect();
    all_orders("float16", "f2", &little, &want);

    let little: Vec<Vec<u8>> = (0..24).map(|k| vec![u8::from(k % 3 == 0)]).collect();
    let want: Vec<f32> = (0..24)
        .map(|k| if k % 3 == 0 { 1.0 } else { 0.0 })
        .collect();
    all_orders("bool", "b1", &little, &want);
}

#[test]
fn conversions_say_what_they_lost() {
    let doubles = [1.0, 0.1, 1e300, f64::INFINITY, f64::NAN, -1e-300];
    let bytes: Vec<u8> = doubles.iter().flat_map(|x| x.to_le_bytes()).collect();
    let (outcome, _, data) = identity(&npy("<f8", false, &[6], &bytes));
    let note = "float64 converted to float32; 2 of 6 values rounded, 1 overflowed to an infinity";
    assert!(outcome.stderr.contains(note), "{outcome:?}");
    assert_eq!(data[..4], [1.0, 0.1, f32::INFINITY, f32::INFINITY]);
    assert!(data[4].is_nan());
    assert_eq!(data[5].to_bits(), (-0.0f32).to_bits());

    // Halfway between two f32: to the even one, as numpy's astype does.
    let longs = [16_777_217i64, 16_777_219, i64::MAX, i64::MIN];
    let bytes: Vec<u8> = longs.iter().flat_map(|x| x.to_le_bytes()).collect();
    let (outcome, _, data) = identity(&npy("<i8", false, &[4], &bytes));
    assert!(
        outcome.stderr.contains("3 of 4 values rounded"),
        "{outcome:?}"
    );
    assert_eq!(
        data,
        [16_777_216.0, 16_777_220.0, 9.223_372e18, -9.223_372e18]
    );

    let (outcome, ..) = identity(&npy("|u1", false, &[2], &[0, 255]));
    assert!(
        outcome.stderr.contains("every value is exact"),
        "{outcome:?}"
    );
}

#[test]
fn every_format_version_and_shape() {
    let two = [1.5f32.to_le_bytes(), (-2.5f32).to_le_bytes()].concat();
    for major in [1, 2, 3] {
        let file = with_header(major, &header("<f4", false, &[2]), &two);
        let (outcome, shape, data) = identity(&file);
        assert_eq!((&shape[..], &data[..]), (&[2][..], &[1.5, -2.5][..]));
        assert_eq!(outcome.stderr.lines().count(), 1, "{outcome:?}");
    }
    // A scalar, an empty array, axes of length 1, and Python 2's long integers.
    let (_, shape, data) = identity(&npy("<f4", false, &[], &two[..4]));
    assert_eq!((shape.len(), &data[..]), (0, &[1.5][..]));
    for fortran in [false, true] {
        let (_, shape, data) = identity(&npy("<f4", fortran, &[3, 0, 2], &[]));
        assert_eq!((&shape[..], data.len()), (&[3, 0, 2][..], 0));
        let (_, shape, data) = identity(&npy("<f4", fortran, &[1, 2, 1], &two));
        assert_eq!((&shape[..], &data[..]), (&[1, 2, 1][..], &[1.5, -2.5][..]));
    }
    let old = "{'descr': '<f4', 'fortran_order': False, 'shape': (1L, 2L)}";
    let (_, shape, data) = identity(&with_header(1, old, &two));
    assert_eq!((&shape[..], &data[..]), (&[1, 2][..], &[1.5, -2.5][..]));
}

#[test]
fn bytes_behind_the_array_are_noted() {
    let (outcome, _, data) = identity(&npy("<f4", false, &[1], &[0; 11]));
    assert!(
        outcome.stderr.contains("7 bytes behind the array"),
        "{outcome:?}"
    );
    assert_eq!(data, [0.0]);
}

#[test]
fn files_that_are_no_npy_are_refused() {
    refused(b"", &["not a .npy file"]);
    refused(b"\x93NUM", &["not a .npy file"]);
    refused(b"npy?", &["not a .npy file", "numpy.save"]);
    refused(
        b"PK\x03\x04 an archive of arrays",
        &["a zip archive", "`activations batch`", ".npz"],
    );
    refused(b"\x93NUMPY\x09\x01\x00\x00", &["version 9.1"]);
    refused(
        b"\x93NUMPY\x01\x00\xff\xff{}",
        &["65535 bytes", "truncated"],
    );
    refused(
        b"\x93NUMPY\x02\x00\xff\xff\xff\xff{}",
        &["4294967295 bytes", "truncated"],
    );
    refused(b"\x93NUMPY\x02\x00\x01", &["not a .npy file"]);
    let long = format!("{{{}}}", " ".repeat(20_000));
    refused(&with_header(1, &long, &[]), &["header claims", "10000"]);
}

#[test]
fn broken_headers_are_refused() {
    let array = |shape: &str| {
        let text = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}");
        with_header(1, &text, &[0; 64])
    };
    let header = |text: &str| with_header(1, text, &[0; 64]);
    let part = "the header is damaged";
    refused(&header(""), &[part]);
    refused(&header("no dictionary"), &[part]);
    refused(&header("{'descr': '<f4'"), &[part]);
    refused(&header("[]"), &[part]);
    refused(
        &header("{'descr': '<f4', 'shape': (1,)}"),
        &[part, "fortran_order"],
    );
    refused(
        &header("{'fortran_order': False, 'shape': (1,)}"),
        &[part, "descr"],
    );
    refused(
        &header("{'descr': '<f4', 'fortran_order': 1, 'shape': (1,)}"),
        &[part],
    );
    refused(&array("7"), &[part]);
    refused(&array("(-1,)"), &[part]);
    refused(&array("(1+1,)"), &[part]);
    refused(&array("(1.5,)"), &[part]);
    refused(&array("('1',)"), &[part]);
    refused(&array("(99999999999999999999,)"), &[part, "64 bits"]);
    refused(&array("(4294967296, 4294967296)"), &[part, "2^64"]);
    refused(&array("(0, 4294967296, 4294967296)"), &[part, "2^64"]);
    let invalid = [&b"\x93NUMPY\x01\x00\x02\x00"[..], b"\xff\xfe"].concat();
    refused(&invalid, &[part]);

    // Nested brackets, for which a backtracking parser takes exponential time.
    let start = Instant::now();
    for bracket in ["[", "(", "{"] {
        refused(&header(&bracket.repeat(9_000)), &[part, "nest"]);
    }
    assert!(start.elapsed() < Duration::from_secs(20));
}

#[test]
fn dtypes_without_real_numbers_are_refused() {
    for (dtype, name) in [
        ("'<c8'", "c8"),
        ("'<c16'", "c16"),
        ("'<f16'", "f16"),
        ("'|O'", "O"),
        ("'|S4'", "S4"),
        ("'<U2'", "U2"),
        ("'|V4'", "V4"),
        ("'<f1'", "'<f1'"),
        ("'|V1'", "'|V1'"),
        ("'>V2'", "'>V2'"),
        ("'bfloat16'", "'bfloat16'"),
        ("'float8_e4m3fn'", "float8_e4m3fn"),
        ("'<q9'", "q9"),
        ("''", "''"),
        ("\"<c8\"", "c8"),
        ("'<M8[s]'", "M8"),
        ("[('a', '<f4'), ('b', '<i4', (2,))]", "'a'"),
    ] {
        let text = format!("{{'descr': {dtype}, 'fortran_order': False, 'shape': (1,), }}");
        let parts = ["dtype", name, "astype('float32')"];
        refused(&with_header(1, &text, &[0; 64]), &parts);
        refused(&with_header(2, &text, &[0; 64]), &parts);
    }
    refused(&npy("|b1", false, &[2], &[0, 2]), &["damaged", "bool"]);
}

/// As numpy.load takes them: a machine's own byte order, none, and the types' names.
#[test]
fn dtypes_in_numpys_other_spellings_are_read() {
    let one = |bytes: &[u8]| bytes.to_vec();
    for (dtype, data, want) in [
        ("=f4", one(&1.5f32.to_ne_bytes()), 1.5),
        ("f4", one(&1.5f32.to_ne_bytes()), 1.5),
        ("|f4", one(&1.5f32.to_ne_bytes()), 1.5),
        ("float32", one(&1.5f32.to_ne_bytes()), 1.5),
        (">f4", one(&1.5f32.to_be_bytes()), 1.5),
        ("float64", one(&2.5f64.to_ne_bytes()), 2.5),
        ("=i2", one(&(-3i16).to_ne_bytes()), -3.0),
        ("int64", one(&7i64.to_ne_bytes()), 7.0),
        ("u1", one(&[200]), 200.0),
        ("<u1", one(&[200]), 200.0),
        ("=u1", one(&[200]), 200.0),
        ("bool", one(&[1]), 1.0),
        ("?", one(&[1]), 1.0),
        ("=f2", one(&0x3c00u16.to_ne_bytes()), 1.0),
    ] {
        for major in [1, 2, 3] {
            let file = with_header(major, &header(dtype, false, &[1]), &data);
            assert_eq!(identity(&file).2, [want], "{dtype}");
        }
        // The keys in another order, and the other quotes.
        let text = format!("{{\"shape\": (1,), \"fortran_order\": False, \"descr\":\"{dtype}\"}}");
        assert_eq!(identity(&with_header(1, &text, &data)).2, [want], "{text}");
    }
}

#[test]
fn arrays_larger_than_their_file_are_refused() {
    let claims = |dtype: &str, shape: &[usize], bytes: usize, parts: &[&str]| {
        refused(&npy(dtype, false, shape, &vec![0; bytes]), parts);
        refused(&npy(dtype, true, shape, &vec![0; bytes]), parts);
    };
    claims(
        "<f4",
        &[3],
        11,
        &["[3]", "float32", "12 bytes", "has 11 bytes", "truncated"],
    );
    claims("<f8", &[2, 2], 16, &["[2, 2]", "32 bytes", "has 16 bytes"]);
    let huge = [1_000_000_000, 1_000_000_000];
    claims(
        "<f4",
        &huge,
        64,
        &["4000000000000000000 bytes", "has 64 bytes"],
    );
    claims("|u1", &[usize::MAX], 64, &["18446744073709551615 bytes"]);
    claims("<f8", &[usize::MAX / 2], 64, &["2^64 or more"]);
}

/// The claim is refused by arithmetic, not by a failed allocation: under a limit on the address
/// space that the claimed array would break, the answer is the same.
#[cfg(target_os = "linux")]
#[test]
fn a_claim_costs_no_memory() {
    let scratch = Scratch::new();
    let input = scratch.file("in.npy", &npy("<f4", false, &[1 << 28], &[0; 64]));
    let run = |function: &str, input: &std::path::Path| -> Outcome {
        Command::new("sh")
            .args(["-c", r#"ulimit -v 1000000; exec "$0" "$@""#])
            .arg(env!("CARGO_BIN_EXE_activations"))
            .args(["run", function, "--backend", "cpu"])
            .arg(input)
            .arg("-o")
            .arg(scratch.path("out.npy"))
            .output()
            .unwrap()
            .into()
    };
    for function in ["identity", "sparsemax"] {
        run(function, &input).refused(&["1073741824 bytes", "has 64 bytes"]);
    }

    // The same limit, a file that really is that long: now it is the memory, for a function of rows
    // that have to fit.
    let file = std::fs::OpenOptions::new()
        .append(true)
        .open(&input)
        .unwrap();
    file.set_len(128 + (1 << 30)).unwrap();
    run("sparsemax", &input).refused(&["1073741824 bytes of buffers", "has to fit"]);
}

#[test]
fn only_regular_files_are_read() {
    let scratch = Scratch::new();
    let run = |input: &str| {
        let args = ["run", "relu", "--backend", "cpu", "-o", "out.npy", input];
        activations(&args)
    };
    let directory = scratch.path("");
    run(directory.to_str().unwrap()).refused(&["a folder", "`activations batch`"]);
    run("-").refused(&["standard input is not read", "./-"]);
    let missing = scratch.path("missing.npy");
    run(missing.to_str().unwrap()).refused(&["missing.npy", "No such file"]);
    #[cfg(unix)]
    {
        let pipe = scratch.path("pipe");
        let made = Command::new("mkfifo").arg(&pipe).status().unwrap();
        assert!(made.success());
        run(pipe.to_str().unwrap()).refused(&["pipe", "not a regular file"]);
        run("/dev/zero").refused(&["not a regular file"]);
    }
}
