//! Many arrays at once: archives, safetensors files and folders, with a function for a pattern.

use crate::support::{Outcome, Scratch, npy, read, word_command, words};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use std::fs::{self, File};
use std::io::{Read, Write};

fn bytes(data: &[f32]) -> Vec<u8> {
    data.iter().flat_map(|x| x.to_le_bytes()).collect()
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    let words = bytes.chunks_exact(4);
    words
        .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
        .collect()
}

#[test]
fn folders_get_a_function_for_each_pattern() {
    let scratch = Scratch::new();
    fs::create_dir(scratch.path("in")).unwrap();
    scratch.array("in/a1.npy", &[3], &[-1.0, 0.0, 2.0]);
    scratch.array("in/a2.npy", &[2, 1], &[-3.0, 3.0]);
    scratch.array("in/b.npy", &[2, 2], &[1.0, 1.0, 5.0, 5.0]);
    scratch.file("in/readme.txt", b"as it is");
    let strings = scratch.file("in/words.npy", &npy("<U1", false, &[2], b"a\0\0\0b\0\0\0"));
    let line = "batch {in} -o {out} --backend cpu --apply a?=leaky_relu(negative_slope=0.5) \
                --apply b=logsumexp(axis=0)";
    let outcome = words(&scratch, line).ok();
    assert!(
        outcome.stderr.contains("3 of 5 arrays computed"),
        "{outcome:?}"
    );
    assert_eq!(
        read(&scratch.path("out/a1.npy")),
        (vec![3], vec![-0.5, 0.0, 2.0])
    );
    assert_eq!(
        read(&scratch.path("out/a2.npy")),
        (vec![2, 1], vec![-1.5, 3.0])
    );
    let (shape, sums) = read(&scratch.path("out/b.npy"));
    let want = ((1f64.exp() + 5f64.exp()).ln()) as f32;
    assert_eq!((shape, sums), (vec![2], vec![want; 2]));
    assert_eq!(
        fs::read(scratch.path("out/readme.txt")).unwrap(),
        b"as it is"
    );
    assert_eq!(
        fs::read(scratch.path("out/words.npy")).unwrap(),
        fs::read(strings).unwrap()
    );

    // What is there is not written over, and what fails leaves nothing.
    words(&scratch, line).refused(&["out", "exists"]);
    let line = "batch {in} -o {new} --backend cpu --apply words=relu";
    words(&scratch, line).refused(&["words.npy", "dtype"]);
    let line = "batch {in} -o {new} --backend cpu --apply b=softmax(axis=2)";
    words(&scratch, line).refused(&["'b'", "axis"]);
    assert_eq!(scratch.names(), ["in", "out"]);
}

#[test]
fn archives_stay_archives() {
    let scratch = Scratch::new();
    let options = zip::write::SimpleFileOptions::default();
    let mut archive = zip::ZipWriter::new(File::create(scratch.path("in.npz")).unwrap());
    for (name, data) in [("x.npy", [-1.0f32, 2.0]), ("layer/y.npy", [3.0, -4.0])] {
        archive.start_file(name, options).unwrap();
        archive
            .write_all(&npy("<f4", false, &[2], &bytes(&data)))
            .unwrap();
    }
    archive.finish().unwrap();

    words(
        &scratch,
        "batch {in.npz} -o {out.npz} --backend cpu --apply layer*=relu",
    )
    .ok();
    let mut archive = zip::ZipArchive::new(File::open(scratch.path("out.npz")).unwrap()).unwrap();
    let mut member = |name: &str| {
        let mut bytes = Vec::new();
        archive
            .by_name(name)
            .unwrap()
            .read_to_end(&mut bytes)
            .unwrap();
        bytes
    };
    assert_eq!(
        member("x.npy"),
        npy("<f4", false, &[2], &bytes(&[-1.0, 2.0]))
    );
    let y = member("layer/y.npy");
    assert_eq!(floats(&y[y.len() - 8..]), [3.0, 0.0]);

    words(
        &scratch,
        "batch {in.npz} -o {out.npy} --backend cpu --apply *=relu",
    )
    .refused(&[".npz"]);
    scratch.file("bad.npz", b"PK");
    words(&scratch, "batch {bad.npz} -o {out.npz} --apply *=relu").refused(&["bad.npz"]);
    assert_eq!(scratch.names(), ["bad.npz", "in.npz", "out.npz"]);
}

/// No more is unpacked than the array has, and no more is believed than can be unpacked.
#[test]
fn archives_are_unpacked_as_far_as_their_headers_say() {
    let scratch = Scratch::new();
    let path = scratch.path("bomb.npz");
    let mut archive = zip::ZipWriter::new(File::create(&path).unwrap());
    let method = zip::CompressionMethod::Deflated;
    let options = zip::write::SimpleFileOptions::default().compression_method(method);
    archive.start_file("x.npy", options).unwrap();
    let head = npy("<f4", false, &[3], &bytes(&[-1.0, 2.0, 3.0]));
    archive.write_all(&head).unwrap();
    // Packed this is 1/2 MiB.
    let zeros = vec![0; 1 << 20];
    for _ in 0..512 {
        archive.write_all(&zeros).unwrap();
    }
    archive.start_file("y.npy", options).unwrap();
    let large = npy("<f4", false, &[1 << 29], &bytes(&[1.0; 8]));
    archive.write_all(&large).unwrap();
    archive.finish().unwrap();

    let batch = |rule: &str| -> Outcome {
        let line = format!("batch {{bomb.npz}} -o {{out.npz}} --backend cpu --apply {rule}");
        word_command(&scratch, &line).output().unwrap().into()
    };
    let outcome = batch("x=relu").ok();
    let note = format!("x.npy: {} bytes behind the array are ignored", 512 << 20);
    assert!(outcome.stderr.contains(&note), "{outcome:?}");
    batch("y=relu").refused(&["y.npy", "2147483648 bytes", "has 32 bytes"]);

    // In the directory at the end, both claim what cannot be: 2^32 - 2 bytes, and 140.
    let mut file = fs::read(&path).unwrap();
    let entries: Vec<usize> = (0..file.len() - 4)
        .filter(|&i| file[i..].starts_with(b"PK\x01\x02"))
        .collect();
    let [x, y] = entries[..] else {
        panic!("{entries:?}")
    };
    file[x + 24..x + 28].copy_from_slice(&(head.len() as u32).to_le_bytes());
    file[y + 24..y + 28].copy_from_slice(&(u32::MAX - 1).to_le_bytes());
    fs::write(&path, file).unwrap();
    batch("x=relu").refused(&["x.npy", "larger than its declared uncompressed size"]);
    batch("y=relu").refused(&["y.npy", "2147483648 bytes", "but the file has"]);
}

/// A pipe that nobody writes to would be waited for.
#[cfg(unix)]
#[test]
fn pipes_are_refused_and_not_waited_for() {
    let scratch = Scratch::new();
    for name in ["f.npz", "f.safetensors"] {
        let made = std::process::Command::new("mkfifo")
            .arg(scratch.path(name))
            .status();
        assert!(made.unwrap().success());
        let line = format!("batch {{{name}}} -o {{out}} --apply *=relu");
        words(&scratch, &line).refused(&[name, "not a regular file"]);
    }
}

#[test]
fn safetensors_keep_their_types_and_what_else_they_say() {
    let scratch = Scratch::new();
    let single = bytes(&[-1.0, 2.0, -3.0, 4.0]);
    // 1 and -1 in either type of 16 bits.
    let (half, brain) = ([0u8, 0x3c, 0, 0xbc], [0x80u8, 0x3f, 0x80, 0xbf]);
    let counts = [7u8; 8];
    let view = |dtype, shape: &[usize], data| TensorView::new(dtype, shape.to_vec(), data).unwrap();
    let tensors = [
        ("mlp.a", view(Dtype::F32, &[2, 2], &single[..])),
        ("mlp.b", view(Dtype::F16, &[2], &half)),
        ("mlp.c", view(Dtype::BF16, &[1, 2], &brain)),
        ("steps", view(Dtype::I64, &[1], &counts)),
    ];
    let said = [("format".to_owned(), "pt".to_owned())].into();
    let file = safetensors::serialize(tensors, Some(said)).unwrap();
    scratch.file("in.safetensors", &file);

    let line = "batch {in.safetensors} -o {in.safetensors} --backend cpu --apply mlp.a=logsumexp \
                --apply mlp.*=relu";
    let outcome = words(&scratch, line).ok();
    assert!(
        outcome.stderr.contains("3 of 4 arrays computed"),
        "{outcome:?}"
    );
    let file = fs::read(scratch.path("in.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&file).unwrap();
    let of = |name: &str| tensors.tensor(name).unwrap();
    assert_eq!(of("mlp.a").shape(), [2]);
    let want = [(-1.0, 2.0), (-3.0, 4.0)].map(|(a, b): (f64, f64)| (a.exp() + b.exp()).ln());
    for (got, want) in floats(of("mlp.a").data()).into_iter().zip(want) {
        assert!((f64::from(got) - want).abs() < 1e-6);
    }
    assert_eq!(
        (of("mlp.b").dtype(), of("mlp.b").data()),
        (Dtype::F16, &[0, 0x3c, 0, 0][..])
    );
    assert_eq!(
        (of("mlp.c").dtype(), of("mlp.c").data()),
        (Dtype::BF16, &[0x80, 0x3f, 0, 0][..])
    );
    assert_eq!(
        (of("steps").dtype(), of("steps").data()),
        (Dtype::I64, &counts[..])
    );
    let (_, metadata) = SafeTensors::read_metadata(&file).unwrap();
    assert_eq!(metadata.metadata().as_ref().unwrap()["format"], "pt");

    scratch.file("bad.safetensors", &file[..file.len() - 1]);
    let line = "batch {bad.safetensors} -o {out.safetensors} --apply *=relu";
    words(&scratch, line).refused(&["bad.safetensors"]);
    assert_eq!(scratch.names(), ["bad.safetensors", "in.safetensors"]);
}

/// As `run` has it, and as arrays of an archive.
#[test]
fn tensors_of_other_types_become_f32_with_a_note() {
    let scratch = Scratch::new();
    let double: Vec<u8> = [-1.5f64, 0.1]
        .iter()
        .flat_map(|x| x.to_le_bytes())
        .collect();
    let whole: Vec<u8> = [-3i64, 7].iter().flat_map(|x| x.to_le_bytes()).collect();
    let view = |dtype, data| TensorView::new(dtype, vec![2], data).unwrap();
    let tensors = [
        ("d", view(Dtype::F64, &double[..])),
        ("i", view(Dtype::I64, &whole)),
        ("kept", view(Dtype::I64, &whole)),
        (
            "odd",
            TensorView::new(Dtype::F8_E4M3, vec![2], &[0; 2]).unwrap(),
        ),
    ];
    let file = safetensors::serialize(tensors, None).unwrap();
    scratch.file("in.safetensors", &file);
    let line = "batch {in.safetensors} -o {out.safetensors} --backend cpu --apply ?=relu";
    let outcome = words(&scratch, line).ok();
    for note in [
        "in.safetensors/d: float64 converted to float32; 1 of 2 values rounded",
        "in.safetensors/i: int64 converted to float32; every value is exact",
    ] {
        assert!(outcome.stderr.contains(note), "{outcome:?}");
    }
    let file = fs::read(scratch.path("out.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&file).unwrap();
    let of = |name: &str| tensors.tensor(name).unwrap();
    assert_eq!(of("d").dtype(), Dtype::F32);
    assert_eq!(floats(of("d").data()), [0.0, 0.1]);
    assert_eq!(of("i").dtype(), Dtype::F32);
    assert_eq!(floats(of("i").data()), [0.0, 7.0]);
    assert_eq!(
        (of("kept").dtype(), of("kept").data()),
        (Dtype::I64, &whole[..])
    );

    let line = "batch {in.safetensors} -o {no.safetensors} --backend cpu --apply odd=relu";
    words(&scratch, line).refused(&["in.safetensors/odd", "F8_E4M3 is not supported"]);
}

#[test]
fn what_is_no_file_is_left_out_with_a_note() {
    let scratch = Scratch::new();
    fs::create_dir_all(scratch.path("in/deeper")).unwrap();
    scratch.array("in/a.npy", &[1], &[-1.0]);
    scratch.array("in/deeper/b.npy", &[1], &[-1.0]);
    let line = "batch {in} -o {out} --backend cpu --apply *=relu";
    let outcome = words(&scratch, line).ok();
    assert!(outcome.stderr.contains("not deeper\n"), "{outcome:?}");
    assert!(!scratch.path("out/deeper").exists());
    fs::remove_dir_all(scratch.path("in/deeper")).unwrap();
    fs::remove_dir_all(scratch.path("out")).unwrap();
    let outcome = words(&scratch, line).ok();
    assert!(!outcome.stderr.contains("only its files"), "{outcome:?}");
}

/// A file that is there when the folder is listed, and cannot be read when it is copied.
#[cfg(target_os = "linux")]
#[test]
fn an_input_that_cannot_be_copied_is_what_is_blamed() {
    let scratch = Scratch::new();
    fs::create_dir(scratch.path("in")).unwrap();
    scratch.array("in/a.npy", &[1], &[-1.0]);
    std::os::unix::fs::symlink("/proc/self/mem", scratch.path("in/odd")).unwrap();
    let line = "batch {in} -o {out} --backend cpu --apply *=relu";
    words(&scratch, line).refused(&["/in/odd: cannot read it"]);
    let line = "batch {in} -o {out} --backend cpu --apply a=relu";
    words(&scratch, line).refused(&["/in/odd: cannot read it"]);
    assert_eq!(scratch.names(), ["in"]);
}

#[test]
fn rules_that_do_nothing_or_make_no_sense_are_refused() {
    let scratch = Scratch::new();
    fs::create_dir(scratch.path("in")).unwrap();
    scratch.array("in/a.npy", &[1], &[1.0]);
    for (rules, parts) in [
        ("--apply b*=relu", &["'b*'", "none of the 1 arrays"][..]),
        ("--apply *=relu --apply a=gelu", &["'a'", "rules before it"]),
        ("--apply a=gleu", &["gleu", "gelu"]),
        ("--apply a=relu(slope=1)", &["slope"]),
        (
            "--apply a=elu(alpha=x)",
            &["elu(alpha=x)", "alpha = x must be a number"],
        ),
        (
            "--apply a=softmax(axis=x)",
            &["axis = x must be a whole number"],
        ),
        ("--apply a=softmax(dim=0)", &["dim", "axis"]),
        (
            "--apply a=cross_entropy",
            &["cross_entropy lacks the targets"],
        ),
        ("--apply a=softmax(causal=upper_left)", &["causal"]),
        ("--apply a=relu)", &["pattern=function"]),
        ("--apply =relu", &["pattern=function"]),
        ("--apply relu", &["pattern=function"]),
        ("", &["--apply"]),
    ] {
        let line = format!("batch {{in}} -o {{out}} --backend cpu {rules}");
        words(&scratch, &line).refused(parts);
    }
    words(&scratch, "batch {in/a.npy} -o {out} --apply *=relu").refused(&["use run"]);
    assert_eq!(scratch.names(), ["in"]);
}
