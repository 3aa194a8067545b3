//! f16 and bf16 in files: .npy as NumPy and ml_dtypes write it, and .safetensors; what comes out
//! where nothing is said, and what --dtype asks for.

use crate::support::{self, Outcome, Scratch, npy};
use std::path::Path;

/// 1, -2, infinity, 0.5 and the smallest subnormal number of each type, by hand.
const F16: [u16; 5] = [0x3c00, 0xc000, 0x7c00, 0x3800, 0x0001];
const BF16: [u16; 5] = [0x3f80, 0xc000, 0x7f80, 0x3f00, 0x0001];

/// Runs the program with words that are split at spaces; those with a dot are scratch files.
fn words(scratch: &Scratch, line: &str) -> Outcome {
    let named = |word: &str| match word.contains('.') {
        true => format!("{{{word}}}"),
        false => word.to_owned(),
    };
    let line: Vec<String> = line.split(' ').map(named).collect();
    support::words(scratch, &line.join(" "))
}

fn bytes(values: &[u16]) -> Vec<u8> {
    values.iter().flat_map(|x| x.to_le_bytes()).collect()
}

/// The dtype's code and the bytes of a row-major .npy file of one axis.
fn parts(path: &Path) -> (String, Vec<u8>) {
    let bytes = std::fs::read(path).unwrap();
    let length = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let text = std::str::from_utf8(&bytes[10..10 + length]).unwrap();
    let (_, code) = text.split_once("'descr': '").unwrap();
    let (code, rest) = code.split_once('\'').unwrap();
    assert!(rest.starts_with(", 'fortran_order': False"), "{text}");
    (code.to_owned(), bytes[10 + length..].to_vec())
}

/// A .safetensors file of tensors of one axis: name, dtype, bytes of an element, data.
fn tensors(all: &[(&str, &str, usize, Vec<u8>)]) -> Vec<u8> {
    let (mut entries, mut data) = (Vec::new(), Vec::<u8>::new());
    for (name, dtype, item, values) in all {
        let from = data.len();
        data.extend(values);
        entries.push(format!(
            r#""{name}":{{"dtype":"{dtype}","shape":[{}],"data_offsets":[{from},{}]}}"#,
            values.len() / item,
            data.len()
        ));
    }
    let text = format!("{{{}}}", entries.join(","));
    let mut file = (text.len() as u64).to_le_bytes().to_vec();
    file.extend(text.bytes());
    file.extend(data);
    file
}

/// The output has the input's type: relu of each by hand.
#[test]
fn numbers_of_16_bits_stay_so() {
    let scratch = Scratch::new();
    scratch.file("h.npy", &npy("<f2", false, &[5], &bytes(&F16)));
    scratch.file("b.npy", &npy("<V2", false, &[5], &bytes(&BF16)));
    // What numpy.load and numpy.save make of a bfloat16.
    scratch.file("raw.npy", &npy("|V2", false, &[5], &bytes(&BF16)));
    for (name, code, mut want) in [("h", "<f2", F16), ("b", "<V2", BF16), ("raw", "<V2", BF16)] {
        words(
            &scratch,
            &format!("run relu {name}.npy -o out.npy --backend cpu"),
        )
        .ok();
        want[1] = 0;
        assert_eq!(
            parts(&scratch.path("out.npy")),
            (code.to_owned(), bytes(&want)),
            "{name}"
        );
        let line = format!("grad relu {name}.npy -o out.npy --backend cpu --dtype f32");
        words(&scratch, &line).ok();
        let slopes = [1.0f32, 0.0, 1.0, 1.0, 1.0].map(f32::to_le_bytes).concat();
        assert_eq!(parts(&scratch.path("out.npy")), ("<f4".to_owned(), slopes));
    }
}

/// Whole arrays and those that go through in parts; rounding to nearest even, and past the end.
#[test]
fn any_type_can_be_asked_for() {
    let scratch = Scratch::new();
    let (up, even) = (1.0 + 2f32.powi(-11) + 2f32.powi(-20), 1.0 + 2f32.powi(-11));
    scratch.array("x.npy", &[4], &[up, even, 1e6, -0.0]);
    let plain = "run identity x.npy -o out.npy --backend cpu --dtype";
    words(&scratch, &format!("{plain} f16")).ok();
    let want = [0x3c01, 0x3c00, 0x7c00, 0x8000];
    assert_eq!(
        parts(&scratch.path("out.npy")),
        ("<f2".to_owned(), bytes(&want))
    );
    words(&scratch, &format!("{plain} bfloat16")).ok();
    let want = [0x3f80, 0x3f80, 0x4974, 0x8000];
    assert_eq!(
        parts(&scratch.path("out.npy")),
        ("<V2".to_owned(), bytes(&want))
    );
    // Read whole.
    let line = "run rrelu x.npy -o out.npy --backend cpu --dtype f16";
    words(&scratch, line).ok();
    assert_eq!(parts(&scratch.path("out.npy")).0, "<f2");
    let outcome = words(&scratch, &format!("{plain} f64"));
    outcome.refused(&["no type of numbers is called 'f64'"]);
}

#[test]
fn tensors_in_and_out() {
    let scratch = Scratch::new();
    let one = 1f32.to_le_bytes().to_vec();
    let all = [
        ("h", "F16", 2, bytes(&F16)),
        ("b", "BF16", 2, bytes(&BF16)),
        ("x", "F32", 4, one),
    ];
    scratch.file("t.safetensors", &tensors(&all));
    scratch.file("one.safetensors", &tensors(&all[1..2]));
    let run = |line: &str| words(&scratch, &format!("run {line} --backend cpu"));
    run("relu t.safetensors:h -o out.npy").ok();
    let mut want = F16;
    want[1] = 0;
    assert_eq!(
        parts(&scratch.path("out.npy")),
        ("<f2".to_owned(), bytes(&want))
    );
    run("relu one.safetensors -o out.safetensors").ok();
    run("identity out.safetensors:output -o out.npy").ok();
    want = BF16;
    want[1] = 0;
    assert_eq!(
        parts(&scratch.path("out.npy")),
        ("<V2".to_owned(), bytes(&want))
    );
    // A name for what is written, and the upstream gradient from such a file.
    run("identity t.safetensors:x -o named.safetensors:a.b --dtype bf16").ok();
    let file = std::fs::read(scratch.path("named.safetensors")).unwrap();
    let text = String::from_utf8_lossy(&file[8..file.len() - 2]).into_owned();
    assert!(
        text.contains(r#""a.b":{"#) && text.contains(r#""BF16""#),
        "{text}"
    );
    assert_eq!(file[file.len() - 2..], [0x80, 0x3f]);
    let line = "grad identity t.safetensors:h --upstream t.safetensors:b -o out.npy --backend cpu";
    words(&scratch, line).ok();

    run("relu t.safetensors -o no.npy").refused(&["t.safetensors", "which tensor", "b, h, x"]);
    run("relu t.safetensors:c -o no.npy").refused(&["it has no 'c'", "b, h, x"]);
    std::fs::copy(scratch.path("t.safetensors"), scratch.path("T.SAFETENSORS")).unwrap();
    run("relu T.SAFETENSORS:x -o Out.SafeTensors:y").ok();
    run("identity Out.SafeTensors:y -o out.npy").ok();
    assert_eq!(parts(&scratch.path("out.npy")).1, 1f32.to_le_bytes());
    let names = scratch.names();
    assert!(
        !names.iter().any(|name| name.starts_with("no")),
        "{names:?}"
    );
}

/// As many as a reader reads, and those first that are likely meant.
#[test]
fn few_of_many_tensors_are_listed() {
    let scratch = Scratch::new();
    let names: Vec<String> = (0..5000).map(|i| format!("layers.{i}.weight")).collect();
    let all: Vec<(&str, &str, usize, Vec<u8>)> = names
        .iter()
        .map(|name| (&**name, "F32", 4, vec![0; 4]))
        .collect();
    scratch.file("t.safetensors", &tensors(&all));
    let run = |name: &str| {
        let line = format!("run relu t.safetensors{name} -o no.npy --backend cpu");
        let outcome = words(&scratch, &line);
        assert!(outcome.stderr.len() < 6000, "{outcome:?}");
        outcome
    };
    run("").refused(&["which tensor?", "layers.0.weight", "and 4992 more"]);
    run(":LAYERS.4999").refused(&["it has no 'LAYERS.4999'", "one of: layers.4999.weight"]);
    run(":bias").refused(&["it has no 'bias'", "and 4992 more"]);
    let long = "w".repeat(100_000);
    run(&format!(":{long}")).refused(&["… (100000 bytes)", "and 4992 more"]);
    let two = [("b", "F32", 4, vec![0; 4]), (&*long, "F32", 4, vec![0; 4])];
    scratch.file("t.safetensors", &tensors(&two));
    run("").refused(&["one of: b, www", "… (100000 bytes)"]);
}

/// Cut anywhere, and with claims that do not hold, a file is refused.
#[test]
fn broken_tensors_are_refused() {
    let scratch = Scratch::new();
    let whole = tensors(&[("h", "F16", 2, bytes(&F16))]);
    let mut broken: Vec<Vec<u8>> = [0, 4, 8, 20, whole.len() - 1]
        .map(|length| whole[..length].to_vec())
        .into();
    for (from, to) in [
        ("[5]", "[6]"),
        ("[5]", "[4]"),
        ("F16", "F12"),
        ("[0,10]", "[9,10]"),
        ("[5]", "[4294967296,4294967296]"),
    ] {
        let text = String::from_utf8_lossy(&whole[8..whole.len() - 10]).replace(from, to);
        let mut file = (text.len() as u64).to_le_bytes().to_vec();
        file.extend(text.bytes());
        file.extend(bytes(&F16));
        broken.push(file);
    }
    broken.push([&u64::MAX.to_le_bytes()[..], &whole[8..]].concat());
    for file in broken {
        scratch.file("t.safetensors", &file);
        let outcome = words(&scratch, "run relu t.safetensors -o no.npy --backend cpu");
        outcome.refused(&["t.safetensors: ", "damaged"]);
        assert_eq!(scratch.names(), ["t.safetensors"]);
    }
}
